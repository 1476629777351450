"""Sampling on one running vLLM engine, whose heads are silenced and restored in place: no second engine, no copy on disk.

Each response has a seed of its own, made of the run's seed, the prompt's index and the response's number, so that neither batching nor an
interruption changes what is drawn (beyond the last bits of float arithmetic, which vLLM does not promise across batches).
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from harness.api import HarnessError, Model
from harness.engines.options import EngineConfig
from harness.screen.progress import Clock
from retmask.heads.masks import HeadMask
from retmask.model import encode, load_tokenizer, render
from retmask.pairs.responses import Begun, Response, Sampling, append_responses, resume_responses
from retmask.pairs.turns import UserTurn, user_turn

_EXTENSION: Final = "retmask.heads.vllm_mask.MaskExtension"


class VLLMSampler:
    """Implements :class:`retmask.pairs.responses.Sampler` on a vLLM engine that starts with it (about a minute) and ends with its block."""

    def __init__(self, model: Path, dtype: str, device: str, *, tensor_parallel: int = 1, pipeline_parallel: int = 1) -> None:
        from harness.engines.vllm import open_llm

        config = EngineConfig("vllm", dtype, device, 0, tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel)
        self.path = model
        self.tokenizer = load_tokenizer(model)
        found = Model(str(model), model, "")
        # vLLM rewinds a seeded request's generator where a prompt is read in parts, which generators on the CPU cannot do (vLLM 0.32)
        whole_prompts = {"enable_chunked_prefill": False} if not device.startswith("cuda") else {}
        self._llm: Any = open_llm(found, config, enforce_eager=True, worker_extension_cls=_EXTENSION, **whole_prompts)

    def __enter__(self) -> "VLLMSampler":
        return self

    def __exit__(self, *_: object) -> None:
        from harness.engines.vllm import close_llm

        close_llm(self._llm)

    def sample(
        self,
        prompts: Sequence[str],
        settings: Sampling,
        mask: HeadMask | None,
        journal: Path,
        say: Callable[[str], None] = lambda _: None,
    ) -> list[Response]:
        """Sample as :meth:`retmask.pairs.responses.Sampler.sample`."""
        return self._draw(
            lambda prompt: encode(self.tokenizer, render(self.tokenizer, prompts[prompt])), len(prompts), settings, mask, journal, say
        )

    def user_turns(
        self, count: int, settings: Sampling, journal: Path, say: Callable[[str], None] = lambda _: None, begun: Begun | None = None
    ) -> list[Response]:
        """Write turns as :meth:`retmask.pairs.responses.Sampler.user_turns`."""
        turn = user_turn(self.tokenizer, str(self.path))
        opening = encode(self.tokenizer, turn.opening)

        def encoded(number: int) -> list[int]:
            return opening if begun is None else encode(self.tokenizer, turn.opening + begun(number))

        return self._draw(encoded, count, settings, None, journal, say, turn)

    def _draw(
        self,
        encoded: Callable[[int], list[int]],
        count: int,
        settings: Sampling,
        mask: HeadMask | None,
        journal: Path,
        say: Callable[[str], None],
        turn: UserTurn | None = None,
    ) -> list[Response]:
        """``settings.n`` responses to each of ``count`` prompts, whose token ids ``encoded`` gives; they end as ``turn`` does, if given."""
        from harness.engines.vllm import completions

        done = resume_responses(journal, say)
        slots = [(prompt, number) for prompt in range(count) for number in range(settings.n)]
        waiting = [slot for slot in slots if slot not in done]
        if done:
            say(f"{len(slots) - len(waiting)} of {len(slots)} responses were already there")
        ids = {prompt: encoded(prompt) for prompt in {slot[0] for slot in waiting}}
        self._check_room(ids, settings)
        self.silence(mask)
        clock = Clock(len(slots), len(done))
        try:
            for finished in completions(
                self._llm, [ids[prompt] for prompt, _ in waiting], lambda index: _params(settings, waiting[index], turn)
            ):
                fresh = [self._response(waiting[index], outputs[0]) for index, outputs in finished.items()]
                append_responses(journal, fresh)
                before = len(done)
                done |= {(response.prompt, response.number): response for response in fresh}
                if before * 20 // len(slots) < len(done) * 20 // len(slots):
                    say(f"{len(done)} of {len(slots)} responses{clock.left(len(done))}")
        finally:
            self.silence(None)
        return [done[slot] for slot in slots]

    def silence(self, mask: HeadMask | None) -> None:
        """Silence the mask's heads, and no others, until the next call.

        HarnessError if the workers together did not silence exactly these: vLLM's own model may be built in another way.
        """
        wanted = [] if mask is None else [list(head) for head in mask.heads]
        answers = self._llm.collective_rpc("set_head_mask", args=(wanted, 0.0 if mask is None else mask.strength))
        silenced = sorted({(layer, head) for answer in answers for layer, head in answer})
        if silenced != sorted((layer, head) for layer, head in wanted):
            raise HarnessError(
                f"vLLM silenced {len(silenced)} of {len(wanted)} heads: this model's attention has no output projection where it is "
                "looked for, or the mask is another model's; sample with transformers instead"
            )
        self._llm.reset_prefix_cache()  # what was cached belongs to the other mask

    def _response(self, slot: tuple[int, int], output: Any) -> Response:
        ids = tuple(output.token_ids)
        text = str(self.tokenizer.decode(list(ids), skip_special_tokens=True))
        if isinstance(output.stop_reason, str):  # a text that ends a turn, which vLLM has cut off its own text and not off the tokens
            text = text.partition(output.stop_reason)[0]
        return Response(slot[0], text, ids, output.finish_reason == "stop", slot[1])

    def _check_room(self, ids: dict[int, list[int]], settings: Sampling) -> None:
        room = int(self._llm.llm_engine.model_config.max_model_len) - settings.max_new_tokens
        longest = max(ids, key=lambda prompt: len(ids[prompt]), default=None)
        if longest is not None and len(ids[longest]) > room:
            raise HarnessError(
                f"prompt {longest} has {len(ids[longest])} tokens and the engine takes {room} beside {settings.max_new_tokens} new ones; "
                "lower max_new_tokens or leave long prompts out"
            )


def _params(settings: Sampling, slot: tuple[int, int], turn: UserTurn | None) -> Any:
    from vllm import SamplingParams

    text = f"{settings.seed}:{slot[0]}:{slot[1]}"
    seed = int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")
    ends: dict[str, Any] = {"stop_token_ids": list(turn.stop_ids), "stop": [turn.stop_text] if turn.stop_text else []} if turn else {}
    return SamplingParams(temperature=settings.temperature, top_p=settings.top_p, max_tokens=settings.max_new_tokens, seed=seed, **ends)
