"""Suite x model -> samples table, through ``lm_eval.simple_evaluate``."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from harness.api import Artifact, HarnessError, Json, Model
from harness.suite import load
from reports import samples
from tasks.example import Example, Task
from tasks.suite import TASKS

if TYPE_CHECKING:
    import datasets

    from harness.engines import HarnessLM
    from harness.pipeline import Run

VERSION: Final = 1
_FILE: Final = "samples.parquet"


@dataclass(frozen=True)
class EngineConfig:
    """How answers are generated."""

    backend: str
    dtype: str
    device: str
    batch_tokens: int
    """Padded prompt tokens of one batch; changes speed and memory, not the key."""


def evaluate(run: "Run", model: Model, suite: Artifact, config: EngineConfig) -> Artifact:
    """The step that holds ``model``'s samples on ``suite``."""
    facts = suite.manifest["facts"]
    assert isinstance(facts, dict)
    inputs: dict[str, Json] = {
        "model": model.digest,
        "suite": facts["digest"],
        "backend": config.backend,
        "dtype": config.dtype,
        "device": config.device.partition(":")[0],
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

    from harness.engines import BACKENDS, load_hf
    from harness.journal import Journal

    if config.backend not in BACKENDS:
        raise HarnessError(f"unknown backend {config.backend!r}; choose from {', '.join(BACKENDS)}")
    lm = load_hf(model, device=config.device, dtype=config.dtype)
    lm.journal, lm.batch_tokens = Journal(journal), config.batch_tokens
    groups: dict[tuple[str, int], list[Example]] = {}
    for example in examples:
        groups.setdefault((example.task, example.length), []).append(example)

    tasks = [
        ConfigurableTask(config=_lm_eval_config(f"{name}_{length}", TASKS[name], partial(_dataset, group), templated=lm.has_chat_template))
        for (name, length), group in groups.items()
    ]
    with run.bar(f"evaluating {model.name}", len(examples)) as advance:
        lm.advance = advance
        results = simple_evaluate(
            model=lm, tasks=tasks, bootstrap_iters=0, log_samples=True, apply_chat_template=lm.has_chat_template, batch_size=1
        )
    assert results is not None
    scored = {sample["doc"]["id"]: sample for group in results["samples"].values() for sample in group}
    return pd.DataFrame.from_records(list(_rows(examples, scored, lm)))


def _dataset(examples: Sequence[Example], **_: object) -> "datasets.DatasetDict":
    """What lm-eval's ``custom_dataset`` returns. An example travels as JSON text: its metadata has no common Arrow type."""
    import datasets

    documents = [{"id": example.id, "example": json.dumps(asdict(example))} for example in examples]
    return datasets.DatasetDict({"test": datasets.Dataset.from_list(documents)})


def _lm_eval_config(name: str, task: Task, dataset: Callable[..., Any], *, templated: bool) -> dict[str, Any]:
    """An lm-eval task that asks these examples and scores them with ours. A prompt without a template ends with the answer's prefix."""

    def example(document: Mapping[str, str]) -> Example:
        return Example(**json.loads(document["example"]))

    def text(document: Mapping[str, str]) -> str:
        asked = example(document)
        return asked.prompt if templated else asked.prompt + asked.answer_prefix

    def score(document: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
        return task.score(example(document), results[0])

    return {
        "task": name,
        "custom_dataset": dataset,
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": text,
        "doc_to_target": lambda document: example(document).answer,
        "process_results": score,
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in task.metrics],
        "generation_kwargs": {"until": [], "max_gen_toks": task.max_new_tokens, "do_sample": False, "temperature": 0.0},
        "num_fewshot": 0,
        "metadata": {"version": VERSION},
    }


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
