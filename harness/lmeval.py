"""The suite as lm-eval tasks: what the harness itself runs, and what ``lm_eval --include_path "$(harness tasks path)"`` finds.

Both routes share these functions, so they ask the same examples and give the same scores.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError
from tasks.example import Example
from tasks.suite import TASKS

if TYPE_CHECKING:
    import datasets

#: Metric that lm-eval averages over the tasks of a category: the mean of a task's own metrics.
MEAN: Final = "helmet_score"


def dataset(examples: Iterable[Example], render: Callable[[Example], str], **_: object) -> "datasets.DatasetDict":
    """What lm-eval's ``custom_dataset`` returns. An example travels as JSON text: its metadata has no common Arrow type."""
    import datasets

    documents = [{"id": example.id, "text": render(example), "example": json.dumps(asdict(example))} for example in examples]
    return datasets.DatasetDict({"test": datasets.Dataset.from_list(documents)})


def generated(
    *,
    helmet_task: str,
    helmet_length: int,
    tokenizer: str | None = None,
    pretrained: str | None = None,
    examples: int = 100,
    seed: int = 42,
    **_: object,
) -> "datasets.DatasetDict":
    """``custom_dataset`` of the YAML tasks. The model's arguments and ``--metadata`` arrive as keywords.

    Raises :class:`HarnessError` where neither names the tokenizer that the prompts are to be fitted to.
    """
    from harness.models import resolve
    from harness.suite import SuiteConfig, build_examples, load_tokenizer

    name = tokenizer or pretrained
    if name is None:
        raise HarnessError('prompts are fitted to a tokenizer: name it with --metadata \'{"tokenizer": "MODEL"}\'')
    loaded = load_tokenizer(resolve(name))
    config = SuiteConfig((helmet_task,), (helmet_length,), examples, seed)
    templated = loaded.chat_template is not None  # lm-eval itself frames what `doc_to_text` gives
    return dataset(build_examples(config, loaded), lambda example: example.prompt if templated else example.prompt + example.answer_prefix)


def text(document: Mapping[str, str]) -> str:
    return document["text"]


def target(document: Mapping[str, str]) -> str:
    return _example(document).answer


def score(document: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """Every metric of the document's task, and their mean."""
    example = _example(document)
    scores = TASKS[example.task].score(example, results[0])
    return {**scores, MEAN: sum(scores.values()) / len(scores)}


def _example(document: Mapping[str, str]) -> Example:
    return Example(**json.loads(document["example"]))


def task_config(task: str, max_new_tokens: int, metrics: Iterable[str]) -> dict[str, object]:
    """What every one of our lm-eval tasks says, whatever its examples come from."""
    return {
        "task": task,
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "generation_kwargs": {"until": [], "max_gen_toks": max_new_tokens, "do_sample": False, "temperature": 0.0},
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in (*metrics, MEAN)],
    }


# ---- YAML ---------------------------------------------------------------------------------------------------------------------------

LENGTHS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
"""In thousands of 1024 tokens."""


def yaml_files() -> dict[str, str]:
    """Name -> text of every file under :func:`include_path`; ``python -m harness.lmeval`` writes them, a test compares."""
    files = {}
    for name, task in TASKS.items():
        for thousand in LENGTHS:
            config = task_config(f"helmet_{name}_{thousand}k", task.max_new_tokens, task.metrics)
            source = {"helmet_task": name, "helmet_length": thousand * 1024}
            files[f"{name}_{thousand}k.yaml"] = _yaml({**config, "dataset_kwargs": source}) + _FUNCTIONS
    categories = {task.category: [name for name, other in TASKS.items() if other.category == task.category] for task in TASKS.values()}
    for thousand in LENGTHS:
        for category, names in categories.items():
            group = f"helmet_{category}_{thousand}k"
            mean = [{"metric": MEAN, "aggregation": "mean", "weight_by_size": False}]
            members = [f"helmet_{name}_{thousand}k" for name in names]
            files[f"_{category}_{thousand}k.yaml"] = _yaml({"group": group, "task": members, "aggregate_metric_list": mean})
        members = [f"helmet_{category}_{thousand}k" for category in categories]
        files[f"_all_{thousand}k.yaml"] = _yaml({"group": f"helmet_{thousand}k", "task": members})
    for category in categories:
        members = [f"helmet_{category}_{thousand}k" for thousand in LENGTHS if thousand >= 8]
        files[f"_{category}.yaml"] = _yaml({"group": f"helmet_{category}", "task": members})
    files["_all.yaml"] = _yaml({"group": "helmet", "task": [f"helmet_{category}" for category in categories]})
    return files


_FUNCTIONS: Final = "".join(
    f"{key}: !function harness.lmeval.{function}\n"
    for key, function in (
        ("custom_dataset", "generated"),
        ("doc_to_text", "text"),
        ("doc_to_target", "target"),
        ("process_results", "score"),
    )
)


def _yaml(config: Mapping[str, object]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None, width=140))


def include_path() -> Path:
    """The directory for ``lm_eval --include_path``."""
    import tasks

    return Path(tasks.__file__).parent / "lmeval"


def write_yaml() -> None:
    """Write the YAML files anew."""
    folder = include_path()
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    for name, content in yaml_files().items():
        (folder / name).write_text(content)


if __name__ == "__main__":
    write_yaml()
