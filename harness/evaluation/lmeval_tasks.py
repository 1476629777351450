"""The suite as lm-eval tasks: what the harness itself runs, and what ``lm_eval --include_path "$(harness tasks path)"`` finds.

Both routes share these functions, so they ask the same examples and give the same scores.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from harness import cache
from harness.api import HarnessError
from harness.engines.framing import FRAMINGS, Frame, Framing, frame_for, is_continued, rendered_prompt
from harness.evaluation.sources import generated_info
from harness.files import digest
from tasks import plugins
from tasks.example import Example
from tasks.modes import Mode
from tasks.plugins import PluginError
from tasks.suite import EVERY, GROUPS, find

if TYPE_CHECKING:
    import datasets

#: Metric that lm-eval averages over the tasks of a category: the mean of a task's own metrics.
MEAN: Final = "helmet_score"
#: Key of an example's metadata with which a document of the YAML tasks says how it was framed.
_FRAME: Final = "frame"
_FLAG: Final = "--apply_chat_template"


def dataset(examples: Iterable[Example], render: Callable[[Example], str], **_: object) -> "datasets.DatasetDict":
    """Make what lm-eval's ``custom_dataset`` returns. An example travels as JSON text: its metadata has no common Arrow type."""
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
    framing: str = "task",
    **_: object,
) -> "datasets.DatasetDict":
    """Build the examples: ``custom_dataset`` of the YAML tasks. The model's arguments and ``--metadata`` arrive as keywords.

    Prompts come framed, chat template and all, so that tasks with different frames can be asked together; only of ``framing="chat"`` does
    lm-eval make chats itself, by ``--apply_chat_template``. Raises :class:`HarnessError` where nothing names the tokenizer that the
    prompts are to be fitted to, for an unknown framing, and where lm-eval's command line would frame a second time, or not at all.
    """
    from harness.evaluation.suite import SuiteConfig, build_examples
    from harness.models.lookup import resolve
    from harness.models.tokenizers import load_tokenizer

    name = tokenizer or pretrained
    if name is None:
        raise HarnessError('prompts are fitted to a tokenizer: name it with --metadata \'{"tokenizer": "MODEL"}\'')
    loaded = load_tokenizer(resolve(name))
    chosen = _framing(framing)
    config = SuiteConfig((helmet_task,), (helmet_length,), examples, seed, framing=chosen)
    frame = frame_for(chosen, chat=generated_info(find(helmet_task)).chat, has_template=loaded.chat_template is not None)
    by_lm_eval = framing == "chat" and frame == "chat"
    _check_command_line(by_lm_eval=by_lm_eval)

    def render(example: Example) -> str:
        return example.prompt if by_lm_eval else rendered_prompt(loaded, example.prompt, example.answer_prefix, frame=frame)

    return dataset((_framed(example, frame) for example in build_examples(config, loaded)), render)


def _framing(name: str) -> Framing:
    for each in FRAMINGS:
        if each == name:
            return each
    raise HarnessError(f"unknown framing {name!r} in --metadata; choose from {', '.join(FRAMINGS)}")


def _check_command_line(*, by_lm_eval: bool) -> None:
    """HarnessError if this is lm-eval's command, and it would put prompts into a chat template twice or never."""
    if Path(sys.argv[0]).stem not in ("lm_eval", "lm-eval"):
        return
    asked = any(argument.startswith(_FLAG) for argument in sys.argv)
    if asked and not by_lm_eval:
        raise HarnessError(f'these prompts are framed already: leave out {_FLAG}, or give --metadata \'{{"framing": "chat"}}\' too')
    if by_lm_eval and not asked:
        raise HarnessError(f'"framing": "chat" leaves the chat template to lm-eval: add {_FLAG}')


def _framed(example: Example, frame: Frame) -> Example:
    """The example as a document that :func:`score` can read: its answers go on from a prefix or not."""
    return replace(example, meta={**example.meta, _FRAME: frame})


def as_scored(example: Example, output: str, mode: Mode, frame: Frame) -> str:
    """Give what the scorers read of an output.

    Where it goes on from the answer's prefix, the prefix stands before it: in parity as HELMET puts it there, strictly so that the first
    line after it is the answer, whatever prefix a later line has. Strict sentences with citations (cite) are read without one.
    """
    if not is_continued(frame) or (mode == "strict" and example.category == "cite"):
        return output
    return example.answer_prefix.lstrip("\n") + output


def text(document: Mapping[str, str]) -> str:
    return document["text"]


def target(document: Mapping[str, str]) -> str:
    return _example(document).answer


def score(document: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """Score every metric of the document's task, and their mean. Lines that the harness would have stopped before are not read."""
    example = _example(document)
    frame = cast(Frame, example.meta[_FRAME])
    output = results[0]
    for stop in generated_info(find(example.task)).until if is_continued(frame) else ():
        output = output.partition(stop)[0]
    scores = find(example.task).score(example, as_scored(example, output, "strict", frame))
    return {**scores, MEAN: sum(scores.values()) / len(scores)}


def _example(document: Mapping[str, str]) -> Example:
    return Example(**json.loads(document["example"]))


def task_config(
    task: str, max_new_tokens: int, metrics: Iterable[str], until: Iterable[str] = (), temperature: float = 0.0
) -> dict[str, object]:
    """Give what every one of our lm-eval tasks says, whatever its examples come from. A ``temperature`` of 0 is greedy decoding."""
    sampling = {"do_sample": temperature > 0, "temperature": float(temperature)}
    return {
        "task": task,
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": 0,
        "generation_kwargs": {"until": list(until), "max_gen_toks": max_new_tokens, **sampling},
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in (*metrics, MEAN)],
    }


# ---- YAML ---------------------------------------------------------------------------------------------------------------------------

LENGTHS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
"""In thousands of 1024 tokens."""
#: Groups of all tasks -> the categories that they are of.
_MEANS: Final = {"helmet": "five", "helmet_seven": "seven"}


def yaml_files() -> dict[str, str]:
    """Name -> text of every file under :func:`include_path`: each task at each length, and groups of the suite's own.

    ``helmet`` is the mean over five categories, ``helmet_seven`` that over seven.
    """
    files = {}
    for name, task in {**EVERY, **{name: find(name) for name in plugins.names()}}.items():
        for thousand in LENGTHS:
            config = task_config(f"helmet_{name}_{thousand}k", task.max_new_tokens, task.metrics)
            source = {"helmet_task": name, "helmet_length": thousand * 1024}
            files[f"{name}_{thousand}k.yaml"] = _yaml({**config, "dataset_kwargs": source}) + _FUNCTIONS
    categories = {category: [name for name, task in EVERY.items() if task.category == category] for category in GROUPS["seven"]}
    for thousand in LENGTHS:
        for category, names in categories.items():
            group = f"helmet_{category}_{thousand}k"
            mean = [{"metric": MEAN, "aggregation": "mean", "weight_by_size": False}]
            members = [f"helmet_{name}_{thousand}k" for name in names]
            files[f"_{category}_{thousand}k.yaml"] = _yaml({"group": group, "task": members, "aggregate_metric_list": mean})
        for name, group in _MEANS.items():
            members = [f"helmet_{category}_{thousand}k" for category in GROUPS[group]]
            files[f"_{group}_{thousand}k.yaml"] = _yaml({"group": f"{name}_{thousand}k", "task": members})
    for category in categories:
        members = [f"helmet_{category}_{thousand}k" for thousand in LENGTHS if thousand >= 8]
        files[f"_{category}.yaml"] = _yaml({"group": f"helmet_{category}", "task": members})
    for name, group in _MEANS.items():
        files[f"_{group}.yaml"] = _yaml({"group": name, "task": [f"helmet_{category}" for category in GROUPS[group]]})
    return files


_FUNCTIONS: Final = "".join(
    f"{key}: !function harness.evaluation.lmeval_tasks.{function}\n"
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
    """Write the files into the cache, unless they are there; their directory, for ``lm_eval --include_path``.

    HarnessError if the cache cannot be written to, or a task of another package cannot be used.
    """
    try:
        files = yaml_files()
    except PluginError as error:
        raise HarnessError(str(error)) from None

    def write(work: Path) -> None:
        for name, text in files.items():
            (work / name).write_text(text, encoding="utf-8")

    return cache.store("lmeval").step("lmeval", {"files": digest(files)}, write).path
