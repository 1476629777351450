"""100,000 samples in one run: time and memory of everything but the model, against the number of samples.

    python benchmarks/scale.py                       12,500 to 100,000 examples: a quarter of an hour on two cores
    python benchmarks/scale.py --largest 6000        for a look

Each size runs in a process of its own: two evaluations through lm-eval and the journal with an engine that answers at once, their scores,
the comparison with 10,000 resamples, tables and page, and the same command again, which finds everything done. The examples are real
ones of the shipped suite, repeated under new ids. Exit code 1 above 2 GiB, or where the process's own time grows faster than the samples.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from _sides import Clock, timed

from harness.api import Artifact, Json, Model, Outcome
from harness.builtin import MODEL_DIR
from harness.config import RunConfig, load_preset, override
from harness.context import Run
from harness.engines import open_engine
from harness.evaluation import evaluate as evaluation
from harness.evaluation.evaluate import scoring
from harness.evaluation.suite import asked_suite, build_examples, suite_config, write_examples
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from harness.publishing.candidates import Candidate
from harness.publishing.results import publish
from tasks.example import Example

if TYPE_CHECKING:
    from harness.engines.lm import Batch, Completion, Prompt

LARGEST = 100_000
#: Each half as large as the next.
SIZES = 4
MOST_MEBIBYTES = 2048
#: Of a straight line on logarithmic scales; 1 is linear.
MOST_EXPONENT = 1.1
#: Different examples of each task; the others repeat them.
DIFFERENT = 40


class Instant:
    """A backend that knows some of the answers and gives them at once."""

    def __init__(self, backend: Any, share: float) -> None:
        self.backend, self.share = backend, share

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def generate(self, prompts: "Sequence[Prompt]", batch: "Batch") -> "Iterator[dict[str, Completion]]":
        """Sixteen at a time, as an engine of that batch size would."""
        from harness.engines.lm import Completion

        rest = iter(prompts)
        while part := list(islice(rest, 16)):
            yield {prompt.example: Completion(self._answer(prompt), (5, 6, 7), True) for prompt in part}

    def _answer(self, prompt: "Prompt") -> str:
        draw = int.from_bytes(blake2b(f"{self.share}{prompt.example}".encode(), digest_size=4).digest(), "big") / 2**32
        return str(json.loads(prompt.request.doc["example"])["answer"]) if draw < self.share else "nothing"


def repeated(config: RunConfig, model: Model, size: int) -> Iterator[Example]:
    """So many examples; those of a task one after the other, as in any suite."""
    by_task: dict[str, list[Example]] = {}
    for example in build_examples(replace(suite_config(config), examples=DIFFERENT), load_tokenizer(model)):
        by_task.setdefault(example.task, []).append(example)
    for examples in by_task.values():
        copies = (replace(one, id=f"{one.id}-{copy}", cluster=f"{one.cluster}-{copy}") for copy in count() for one in examples)
        yield from islice(copies, size // len(by_task))


def whole(root: Path, size: int) -> dict[str, Clock]:
    """The time that every part of a run of two evaluations takes."""
    model = resolve("builtin")
    copied = root / "other"
    shutil.copytree(MODEL_DIR, copied, dirs_exist_ok=True)
    (copied / "note.json").write_text("{}")
    other = Model("other", copied, "other")
    config = override(load_preset("builtin"), {"tasks": ("recall", "rag", "icl"), "lengths": (256,), "device": "cpu"}, {})
    run = Run(root, model, config, asked_suite)
    times: dict[str, Clock] = {}

    def write(work: Path) -> dict[str, Json]:
        return {**write_examples(work / "examples.jsonl", repeated(config, model, size)), "data": "generated"}

    suite = run.step("suite", {"size": size}, write)
    samples: list[Artifact] = []
    for each, share in ((model, 0.5), (other, 0.6)):
        lm = open_engine(each, run.config)
        lm._backend = Instant(lm._backend, share)
        evaluation.open_engine = lambda *_, lm=lm: lm
        times[f"evaluate {each.name}"] = timed(
            lambda each=each: samples.append(evaluation.evaluate(run, each, suite, run.config, scoring(config)))
        )
    times["compare and report"] = timed(lambda: publish(run, suite, samples[0], [Candidate("other", Outcome(copied), samples[1])]))
    again = Run(root, model, config, asked_suite)
    times["find all done"] = timed(
        lambda: [evaluation.evaluate(again, each, suite, run.config, scoring(config)) for each in (model, other)]
    )
    return times


@click.command()
@click.option("--size", type=int, help="Measure this size in this process, and print JSON.")
@click.option("--largest", default=LARGEST, show_default=True)
def main(size: int | None, largest: int) -> None:
    """Measure each size; print seconds, peak memory, and the exponent of growth."""
    if size is not None:
        with tempfile.TemporaryDirectory() as folder:
            times = whole(Path(folder), size)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = {name: {"wall": round(each.wall, 2), "cpu": round(each.own, 2)} for name, each in times.items()}
        print(json.dumps({"samples": size, "mebibytes": round(peak), "seconds": seconds}))
        return
    points: list[dict[str, Any]] = []
    for power in reversed(range(SIZES)):
        command = [sys.executable, __file__, "--size", str(largest >> power)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        points.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(points[-1]), flush=True)
    totals = [sum(part["cpu"] for part in point["seconds"].values()) for point in points]
    exponent = float(np.polyfit(np.log([point["samples"] for point in points]), np.log(totals), 1)[0])
    peak = max(point["mebibytes"] for point in points)
    per_sample = 1000 * totals[-1] / (2 * points[-1]["samples"])
    print(
        f"scale: CPU time grows with samples to the power {exponent:.2f} (at most {MOST_EXPONENT}), {per_sample:.2f} ms a sample; ", end=""
    )
    print(f"peak {peak:.0f} MiB (at most {MOST_MEBIBYTES})")
    sys.exit(exponent > MOST_EXPONENT or peak > MOST_MEBIBYTES)


if __name__ == "__main__":
    main()
