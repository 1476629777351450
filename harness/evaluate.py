"""Suite x model -> samples table, through ``lm_eval.simple_evaluate``."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from harness import lmeval
from harness.api import Artifact, Json, Model
from harness.engines import EngineConfig, open_engine
from harness.suite import load
from reports import samples
from tasks.example import Example
from tasks.suite import TASKS

if TYPE_CHECKING:
    import datasets

    from harness.engines.lm import HarnessLM
    from harness.pipeline import Run

VERSION: Final = 1
_FILE: Final = "samples.parquet"


def evaluate(run: "Run", model: Model, suite: Artifact, config: EngineConfig) -> Artifact:
    """The step that holds ``model``'s samples on ``suite``."""
    facts = suite.manifest["facts"]
    assert isinstance(facts, dict)
    inputs: dict[str, Json] = {
        "model": model.digest,
        "suite": facts["digest"],
        **config.inputs(),
    }

    def build(work: Path) -> dict[str, Json]:
        examples = list(load(suite))
        frame = _evaluate(run, model, examples, config, work / "generations.journal")
        frame = frame.assign(model_digest=model.digest, suite_digest=str(facts["digest"]), backend=config.backend)
        samples.write(frame[list(samples.COLUMNS)], work / _FILE)
        return {"examples": len(examples), "prompt_tokens": int(frame.drop_duplicates("example_id")["prompt_tokens"].sum())}

    return run.step("eval", inputs, build, version=VERSION)


def read_samples(artifact: Artifact, name: str) -> pd.DataFrame:
    """The samples of a finished evaluation, labelled with the name this run gives it."""
    return samples.read(artifact.path / _FILE).assign(run=name)


def _evaluate(run: "Run", model: Model, examples: Sequence[Example], config: EngineConfig, journal: Path) -> pd.DataFrame:
    from lm_eval import simple_evaluate
    from lm_eval.api.task import ConfigurableTask

    from harness.journal import Journal

    groups: dict[tuple[str, int], list[Example]] = {}
    for example in examples:
        groups.setdefault((example.task, example.length), []).append(example)

    with closing(open_engine(model, config)) as lm, run.bar(f"evaluating {model.name}", len(examples)) as advance:
        lm.journal, lm.batch_tokens, lm.advance = Journal(journal), config.batch_tokens, advance
        tasks = [
            ConfigurableTask(config=_task_config(name, length, partial(_dataset, group, templated=lm.has_chat_template)))
            for (name, length), group in groups.items()
        ]
        results = simple_evaluate(
            model=lm, tasks=tasks, bootstrap_iters=0, log_samples=True, apply_chat_template=lm.has_chat_template, batch_size=1
        )
    assert results is not None
    scored = {sample["doc"]["id"]: sample for group in results["samples"].values() for sample in group}
    return pd.DataFrame.from_records(list(_rows(examples, scored, lm)))


def _task_config(name: str, length: int, custom_dataset: Callable[..., object]) -> dict[str, object]:
    task = TASKS[name]
    return {
        **lmeval.task_config(f"{name}_{length}", task.max_new_tokens, task.metrics),
        "custom_dataset": custom_dataset,
        "doc_to_text": lmeval.text,
        "doc_to_target": lmeval.target,
        "process_results": lmeval.score,
        "metadata": {"version": VERSION},
    }


def _dataset(examples: Sequence[Example], *, templated: bool, **_: object) -> "datasets.DatasetDict":
    return lmeval.dataset(examples, templated=templated)


def _rows(examples: Sequence[Example], scored: Mapping[str, Mapping[str, Any]], lm: "HarnessLM") -> Iterator[dict[str, object]]:
    for example in examples:
        generation = lm.journal.finished[example.id]
        for metric in TASKS[example.task].metrics:
            yield {
                "run": "",
                "task": example.task,
                "category": example.category,
                "length": example.length,
                "example_id": example.id,
                "cluster": example.cluster,
                "depth": example.depth,
                "metric": metric,
                "score": scored[example.id][metric],
                "output": generation.output,
                "targets": json.dumps(example.targets),
                "prompt_tokens": generation.prompt_tokens,
                "output_tokens": generation.output_tokens,
                "finish_reason": generation.finish_reason,
                "truncated_tokens": 0,
            }
