"""The judged sets of HELMET: what a judge is asked of each output, and the score that its verdicts make.

    for call in calls(dataset, example, output, words, points):     one call for NarrativeQA, three for a summary
        verdicts[call.part] = ...                                    whatever answers call.prompt
    judgement(dataset, verdicts, points)   ->   Judgement(score=0.4, ...)

Nothing here asks anything: whoever holds an engine does, and may keep verdicts by :attr:`Call.key`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tasks import judgements, parsing
from tasks.example import Example
from tasks.helmet.catalog import Dataset
from tasks.helmet.judge_words import JudgeWords
from tasks.helmet.records import DataError, json_lines
from tasks.helmet.request import locate
from tasks.helmet.wordings import fill
from tasks.judgements import Judgement

#: Set -> the metric that HELMET's tables show of it.
METRICS: Final = MappingProxyType({"narrativeqa": "judged_score", "infbench_sum_eng": "judged_f1", "multi_lexsum": "judged_f1"})
#: As HELMET asks its judge, gpt-4o-2024-05-13: how, and how many tokens its verdict may take.
TEMPERATURE: Final = 0.1
MAX_NEW_TOKENS: Final = MappingProxyType({"narrativeqa": 2_048, "infbench_sum_eng": 4_096, "multi_lexsum": 4_096})
#: Set -> its file of key points, and the field they are in.
_POINTS: Final = MappingProxyType(
    {
        "infbench_sum_eng": ("infbench/longbook_sum_eng_keypoints.jsonl", "keypoints"),
        "multi_lexsum": ("multi_lexsum/multi_lexsum_val.jsonl", "summary/short_keypoints"),
    }
)


@dataclass(frozen=True)
class Call:
    """One question to a judge."""

    example: str
    """The example's id."""
    part: str
    """What is judged: ``answer``, or ``fluency``, ``recall`` or ``precision``."""
    prompt: str
    """The user's turn; HELMET chats with its judge."""

    @property
    def key(self) -> str:
        """Name the call by its content: the same prompt is judged once."""
        return sha256(self.prompt.encode("utf-8", "surrogatepass")).hexdigest()


def points_file(dataset: Dataset) -> str | None:
    """Name the file of key points that a judge of ``dataset`` needs, by its path in a data directory; None if it needs none."""
    return _POINTS[dataset.name][0] if dataset.name in _POINTS else None


def key_points(dataset: Dataset, roots: Sequence[Path]) -> dict[str, tuple[str, ...]]:
    """Read the key points of each record of ``dataset``, by the id in its examples' ``meta``; empty for NarrativeQA, which needs none.

    Raises DataError if their file is not there, or damaged.
    """
    if dataset.name not in _POINTS:
        return {}
    name, field = _POINTS[dataset.name]
    path = locate(tuple(roots), name)
    if path is None:
        raise DataError(
            f"{name} is not in {' or '.join(map(str, roots))}: HELMET's key points, which a judge of {dataset.name} needs, come with the "
            "authors' archive; unpack them from its data.tar.gz and name their place with `harness data path DIR`"
        )
    return {record.text("id"): record.texts(field) for _, record in json_lines(path)}


def calls(dataset: Dataset, example: Example, output: str, words: JudgeWords, points: Mapping[str, Sequence[str]]) -> tuple[Call, ...]:
    """List what a judge is asked of ``output``; ``points`` are those of :func:`key_points`. Raises DataError where the record has none."""
    if dataset.name == "narrativeqa":
        values = {
            "question": str(example.meta["question"]),
            "correct_answers": str(list(example.targets)),
            "parsed_output": parsing.published_answer(output.replace("\n", " ")),
        }
        return (Call(example.id, "answer", fill(words.answer, values)),)
    kind, summary = "book" if dataset.name == "infbench_sum_eng" else "case", output.strip()
    expert = example.targets[0] if kind == "book" else str(example.meta["summary/long"])
    numbered = "\n".join(f"{number}. {point}" for number, point in enumerate(_points(dataset, example, points), 1))
    asked = {
        "fluency": {"text": summary},
        "recall": {"keypoints": numbered, "summary": summary},
        "precision": {"expert_summary": expert, "summary": summary},
    }
    return tuple(Call(example.id, part, fill(getattr(words, f"{part}_{kind}"), values)) for part, values in asked.items())


def judgement(dataset: Dataset, example: Example, verdicts: Mapping[str, str], points: Mapping[str, Sequence[str]]) -> Judgement:
    """Make of the verdicts on one output a judgement: :attr:`Call.part` -> the judge's text."""
    if dataset.name == "narrativeqa":
        return judgements.judge_story(verdicts)
    return judgements.judge_summary(verdicts, len(_points(dataset, example, points)))


def _points(dataset: Dataset, example: Example, points: Mapping[str, Sequence[str]]) -> Sequence[str]:
    name = str(example.meta["id"])
    if name not in points:
        raise DataError(f"{_POINTS[dataset.name][0]} has no key points of {name}; it is of another edition than the texts")
    return points[name]
