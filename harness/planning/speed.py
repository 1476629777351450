"""How fast a model reads and writes on this machine, timed for some seconds with transformers, in a process of its own.

A process of its own gives all memory back, leaves the device untouched for what comes after, and can be ended when it takes too long:

    python -m harness.planning.speed '{"model": {"path": "runs/base", ...}, "device": "cpu", ...}'   prints JSON whenever it knows more
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from harness.api import HarnessError, Model
from harness.models.footprint import ModelShape

#: Tokens of the prompts that are timed.
_SHORT, _LONG = 128, 1024
#: Rows of the batches that are written: one and many after short prompts, some after long ones.
_FEW, _MANY, _SOME = 1, 32, 8
_STEPS: Final = 4
#: A prefill of fewer seconds is timed again.
_REPEATED: Final = 1.0


@dataclass(frozen=True)
class Speed:
    """What was measured, in seconds."""

    start: float
    """Importing torch and transformers."""
    load: float
    """Loading model and tokenizer."""
    per_token: float
    """Of prefill, for each token by itself."""
    per_token_squared: float
    """What attention adds for each pair of tokens."""
    step: float
    """Writing a token: what a step costs however few rows it has."""
    per_row: float
    """What each row of the batch adds to a step."""
    per_row_token: float
    """What attention to each token before adds, for each row."""

    def prefill(self, tokens: float) -> float:
        """Time the reading of one prompt."""
        return self.per_token * tokens + self.per_token_squared * tokens**2

    def decode(self, rows: float, tokens: float) -> float:
        """Time the writing of one token of each row after so many tokens."""
        return self.step + rows * (self.per_row + self.per_row_token * tokens)


@dataclass(frozen=True)
class Probed:
    """What a probe found."""

    idle: Speed
    """With nothing else on the machine, as far as processor time tells."""
    now: Speed
    """On the clock, beside what else runs."""
    timed: bool = True
    """Whether the model itself was timed; otherwise the speeds follow from its size and the machine's, and are those of no overhead."""


def probe(model: Model, shape: ModelShape, dtype: str, device: str, limit: float | None = None) -> Probed:
    """Measure how fast ``model`` is, as far as ``limit`` seconds show. HarnessError, with the reason, if they show nothing."""
    asked = {
        "model": {**asdict(model), "path": str(model.path)},
        "dtype": shape.resolved(dtype),
        "device": device,
        "vocabulary": shape.vocabulary,
        "context": shape.context,
        "parameters": shape.parameters,
    }
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-m", "harness.planning.speed", json.dumps(asked)]
    quiet: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **quiet) as child:
        try:
            output, errors = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            child.kill()
            output, errors = child.communicate()
        except BaseException:
            child.kill()
            raise
    if output.strip():
        found = json.loads(output.strip().splitlines()[-1])
        probed = Probed(Speed(**found["idle"]), Speed(**found["now"]), found["timed"])
        if probed.timed or child.returncode < 0:
            return probed
    if child.returncode < 0:
        raise HarnessError(f"the model was not read once within {limit or 0:.0f} s; `harness plan` takes its time")
    raise HarnessError(f"cannot load {model.path} for a probe: {(errors.strip().splitlines() or ['no reason given'])[-1]}")


class Times(NamedTuple):
    """Seconds of one thing."""

    wall: float
    idle: float
    """What it would take with nothing else on the machine: processor time, divided among the threads."""


def measure(model: Model, dtype: str, device: str, vocabulary: int, context: int | None, parameters: int) -> Iterator[Probed]:
    """Load the model and time prefills and steps of decoding, in this process; what is known so far, each time that more is.

    What comes first is known before the model is loaded, which may take longer than there is time for.
    """
    begun = _stamp()
    import torch

    first = _since(begun)
    rough = by_arithmetic(parameters, dtype, device)
    yield Probed(replace(rough, start=first.idle), replace(rough, start=first.wall), timed=False)
    begun = _stamp()
    from transformers import AutoTokenizer, StoppingCriteriaList

    from harness.engines.cache import RoomyCache, Stack, has_plain_cache
    from harness.engines.weights import load_network

    on_cpu = device.startswith("cpu")
    start, begun = Times(*map(sum, zip(first, _since(begun), strict=True))), _stamp()
    network = load_network(model.path, dtype=getattr(torch, dtype), trust_remote_code=model.trust_remote_code)
    network.to(device)
    AutoTokenizer.from_pretrained(model.path, trust_remote_code=model.trust_remote_code)
    load = _since(begun)
    plain = has_plain_cache(network)
    long = min(_LONG, context or _LONG) - 2 * _STEPS
    short = min(_SHORT, max(1, long // 2))

    def now() -> Times:
        if not on_cpu:
            torch.cuda.synchronize()
        return _stamp()

    def since(before: Times) -> Times:
        """On a GPU the processor's time says nothing."""
        found = _since(before, now(), torch.get_num_threads())
        return found if on_cpu else Times(found.wall, found.wall)

    def ids(rows: int, tokens: int) -> Any:
        return torch.arange(tokens, device=device).repeat(rows, 1) % vocabulary

    def read(tokens: int) -> Any:
        cache = RoomyCache() if plain else None
        return network(input_ids=ids(1, tokens), past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values

    def timed(tokens: int) -> tuple[Times, Any]:
        """A prefill, the faster of two where it is quick, and its cache."""
        begun = now()
        cache = read(tokens)
        found = since(begun)
        if found.wall < _REPEATED:
            begun = now()
            read(tokens)
            found = Times(*map(min, found, since(begun)))
        return found, cache

    def write(rows: int, tokens: int, before: Any) -> Times:
        """A step, as the engine takes it. ``before`` is the cache of as many tokens, which each row continues."""
        asked, passed = ids(rows, tokens + 1), [now()]
        options: dict[str, Any] = {}
        if plain:
            batch = Stack(rows, tokens, 2 * _STEPS)
            for row in range(rows):
                batch.put(row, before.contents())
            options["past_key_values"] = batch.cache()
        steps: list[Times] = []

        def stamp(*_: object, **__: object) -> Any:
            steps.append(since(passed[-1]))
            passed.append(now())
            return torch.zeros(rows, dtype=torch.bool, device=device)

        seen = torch.ones_like(asked)
        seen[: max(1, rows - 1), 0] = 0  # as where rows are padded: attention gets a mask
        settings = {"max_new_tokens": _STEPS + 1, "min_new_tokens": _STEPS + 1, "do_sample": False, "pad_token_id": 0}
        network.generate(asked, attention_mask=seen, stopping_criteria=StoppingCriteriaList([stamp]), **settings, **options)
        return Times(*map(median, zip(*steps[1:], strict=True)))

    def known(reads: dict[int, Times], writes: dict[tuple[int, int], Times]) -> Probed:
        def speed(which: int) -> Speed:
            prefill = fit({tokens: found[which] for tokens, found in reads.items()})
            return Speed(start[which], load[which], *prefill, *steps({each: found[which] for each, found in writes.items()}))

        return Probed(idle=speed(1), now=speed(0))

    with torch.inference_mode():
        read(short)  # the first of its kind is slower
        brief, before = timed(short)
        reads, writes = {short: brief}, {(_FEW, short): write(_FEW, short, before)}
        yield known(reads, writes)
        writes[_MANY, short] = write(_MANY, short, before)
        yield known(reads, writes)
        reads[long], before = timed(long)
        yield known(reads, writes)
        writes[_SOME, long] = write(_SOME, long, before)
        yield known(reads, writes)


def by_arithmetic(parameters: int, dtype: str, device: str) -> Speed:
    """Compute the speed of a model of so many parameters without any overhead: by the rates of a matrix product and of reading memory here.

    Every weight is multiplied with every token, and read once for every step. Attention is left out, as are experts that rest.
    """
    import torch

    side, size = (512, 1 << 24) if device.startswith("cpu") else (4096, 1 << 28)
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "device": device}
    square, array = torch.ones(side, side, **options), torch.ones(size, **options)

    def seconds(work: Callable[[], Any]) -> float:
        """The faster of two, the first of which may have to start something."""
        found = []
        for _ in range(2):
            begun = time.perf_counter()
            work().sum().item()
            found.append(time.perf_counter() - begun)
        return max(min(found), 1e-9)

    with torch.inference_mode():
        operations = 2 * side**3 / seconds(lambda: square @ square)
        numbers = size / seconds(lambda: array)
    per_token = 2 * parameters / operations
    return Speed(0.0, 0.0, per_token, 0.0, step=parameters / numbers, per_row=per_token, per_row_token=0.0)


def _stamp() -> Times:
    return Times(time.perf_counter(), time.process_time())


def _since(before: Times, now: Times | None = None, threads: int = 1) -> Times:
    wall, own = ((now or _stamp())[each] - before[each] for each in range(2))
    return Times(wall, min(wall, own / threads))


def fit(reads: Mapping[int, float]) -> tuple[float, float]:
    """Fit (a, b) of seconds = a·n + b·n² through one or two measurements (tokens -> seconds), neither negative.

    Where the longer prompt is not dearer for each token, as on a device that a short one does not fill, there is no square.
    """
    short, long = min(reads), max(reads)
    squared = 0.0 if short == long else (reads[long] / long - reads[short] / short) / (long - short)
    if squared <= 0:
        return reads[long] / long, 0.0
    per_token = reads[short] / short - squared * short
    return (per_token, squared) if per_token >= 0 else (0.0, reads[long] / long**2)


def steps(writes: Mapping[tuple[int, int], float]) -> tuple[float, float, float]:
    """Fit (a, b, c) of seconds = a + rows·(b + c·tokens) through measurements ((rows, tokens before) -> seconds), none negative.

    The first two differ in their rows, the third has more tokens before. What was not measured costs nothing.
    """
    (few, short), *others = writes
    step = writes[few, short]
    if not others:
        return step, 0.0, 0.0
    many = others[0]
    slope = max(0.0, (writes[many] - step) / (many[0] - few))
    step = max(0.0, step - slope * few)
    if len(others) == 1:
        return step, slope, 0.0
    rows, long = others[1]
    per_token = max(0.0, (writes[rows, long] - step - slope * rows) / (rows * (long - short)))
    per_row = slope - per_token * short
    return (step, per_row, per_token) if per_row >= 0 else (step, 0.0, slope / short)


def main() -> int:
    """Measure what the argument asks for and print it; a reason on standard error and exit code 1 if it cannot be."""
    from harness.screen.quiet import hush
    from harness.screen.terminal import echo

    hush()
    asked = json.loads(sys.argv[1])
    model = asked.pop("model")
    try:
        for found in measure(Model(**{**model, "path": Path(model["path"])}), **asked):
            echo(json.dumps(asdict(found)))
    except (HarnessError, OSError, ValueError, RuntimeError, AttributeError, ImportError, MemoryError) as error:
        echo(str(error).strip().split("\n", 1)[0] or type(error).__name__, err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
