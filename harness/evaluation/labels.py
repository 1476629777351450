"""People's labels beside a judge's grades of the same answers."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

from harness.api import HarnessError
from harness.evaluation.judging import JUDGEMENTS
from harness.evaluation.score_files import read_json_lines
from harness.store.find import Evaluation
from reports.agreement import FEWEST, Agreement, AgreementError, Correction, agreement, corrected_mean
from reports.comparison import percent, points

SCORE: Final = "score"
#: Grade -> the highest that a person may give; the judgements hold shares of it.
_HIGHEST: Final = {SCORE: 1.0, "fluency": 1.0, "correctness": 3.0, "recall": 1.0, "precision": 1.0}
#: Grades in steps, of which a kappa can be taken.
_STEPS: Final = ("fluency", "correctness")
Labels = Mapping[str, Mapping[str, float]]
"""Grades from 0 to 1, by example id."""


@dataclass(frozen=True)
class Found:
    """What labels say of a judge on one task at one length."""

    task: str
    length: int
    grades: Mapping[str, Agreement]
    mean: Correction | None
    """Of the scores; None where labels have none."""
    confidence: float
    unreadable: int = 0
    """Labelled answers without a verdict that can be read."""

    def text(self) -> str:
        """Write a few lines for the terminal."""
        answers = max((each.answers for each in self.grades.values()), default=self.mean.labelled if self.mean else 0)
        lines = [f"{self.task} at {self.length:,} tokens: {answers} answers are labelled and judged"]
        if self.unreadable:
            lines.append(f"  the verdicts on {self.unreadable} more labelled answers cannot be read")
        for name, each in self.grades.items():
            kappa = "no kappa: one grade only" if math.isnan(each.kappa) else f"kappa {each.kappa:.2f}, linear weights {_shown(each)}"
            lines.append(f"  {name:<12} the same grade in {100 * each.alike:.0f}% of answers; {kappa}")
        if self.mean is not None:
            one = self.mean
            lines.append(f"  mean score   {points(one.judged)} by the judge, over all {one.labelled + one.unlabelled} answers")
            for words, each_mean in ((f"by the {one.labelled} labels alone", one.labels), ("corrected by the labels", one.corrected)):
                lines.append(
                    f"               {points(each_mean.value)} [{points(each_mean.low)}, {points(each_mean.high)}] {words} "
                    f"({percent(self.confidence)} interval)"
                )
        return "\n".join(lines)

    def record(self) -> dict[str, object]:
        """Give the same for programs; what is not a number is null."""
        mean = None if self.mean is None else asdict(self.mean)
        grades = {name: {key: _json(value) for key, value in asdict(each).items()} for name, each in self.grades.items()}
        about = {"task": self.task, "length": self.length, "confidence": self.confidence, "unreadable": self.unreadable}
        return {**about, "grades": grades, "mean": mean}


def _shown(each: Agreement) -> str:
    return f"{each.weighted:.2f} [{each.interval[0]:.2f}, {each.interval[1]:.2f}]"


def _json(value: object) -> object:
    if isinstance(value, tuple):
        return [_json(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def read_labels(path: Path) -> Labels:
    """Read a file of labels. HarnessError for a line that is none, a grade out of range, and an example that is labelled twice."""
    found: dict[str, Mapping[str, float]] = {}
    for record, place in read_json_lines(path):
        name = record.get("example_id")
        if not isinstance(name, str):
            raise HarnessError(f'{place}: no example_id; a label looks like {{"example_id": "...", "correctness": 2, "fluency": 1}}')
        if name in found:
            raise HarnessError(f"{place}: {name} is labelled twice; keep one of the two")
        grades = {grade: _grade(record[grade], grade, place) for grade in _HIGHEST if grade in record}
        if not grades:
            raise HarnessError(f"{place}: no grade of {', '.join(_HIGHEST)}")
        if SCORE not in grades and {"fluency", "correctness"} <= grades.keys():
            grades[SCORE] = grades["fluency"] * grades["correctness"]
        found[name] = grades
    if not found:
        raise HarnessError(f"{path} holds no labels; each is a JSON line with an example_id and a grade")
    return found


def _grade(value: object, grade: str, place: str) -> float:
    highest = _HIGHEST[grade]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        raise HarnessError(f"{place}: {grade} is {str(value)[:20]!r}, not a number from 0 to {highest:g}")
    return value / highest


def compare(evaluation: Evaluation, labels: Labels, where: str, confidence: float) -> list[Found]:
    """Hold an evaluation's judgements against labels, task by task and length by length.

    HarnessError where nobody judged, where a label's example was not judged, and for too few labels to tell anything from.
    """
    judged = _judgements(evaluation)
    known = {example for examples in judged.values() for example in examples}
    if unknown := sorted(set(labels) - known):
        raise HarnessError(
            f"{where}: {len(unknown)} labelled examples are not among the judged ones of {evaluation.name}, such as {unknown[0]}"
        )
    found = []
    try:
        for (task, length), grades in judged.items():
            if any(example in labels for example in grades):
                found.append(_compare(task, length, grades, labels, confidence))
    except AgreementError as error:
        raise HarnessError(f"{where}: {task} at {length}: {error}") from None
    return found


def _compare(task: str, length: int, judged: Labels, labels: Labels, confidence: float) -> Found:
    both = [example for example in judged if example in labels]
    lost = [example for example in both if SCORE not in judged[example]]
    if len(both) >= FEWEST > len(both) - len(lost):
        raise AgreementError(
            f"the judge's verdicts on {len(lost)} of the {len(both)} labelled answers cannot be read; choose another judge"
        )
    grades = {}
    for name in _STEPS:
        pairs = [(judged[each][name], labels[each][name]) for each in both if name in judged[each] and name in labels[each]]
        if pairs:
            grades[name] = agreement([one for one, _ in pairs], [two for _, two in pairs], confidence=confidence)
    scored = [each for each in both if SCORE in judged[each] and SCORE in labels[each]]
    mean = None
    if scored:
        taken = set(scored)
        rest = [grade[SCORE] for example, grade in judged.items() if SCORE in grade and example not in taken]
        on_labelled, said = [judged[each][SCORE] for each in scored], [labels[each][SCORE] for each in scored]
        mean = corrected_mean(rest, on_labelled, said, confidence=confidence)
    return Found(task, length, grades, mean, confidence, len(lost))


def _judgements(evaluation: Evaluation) -> dict[tuple[str, int], dict[str, dict[str, float]]]:
    """Mean grades of each example, by task and length."""
    path = evaluation.path.parent / JUDGEMENTS
    if not path.is_file():
        raise HarnessError(f"{evaluation.name}: nobody judged its answers; evaluate with --judge-model")
    made: dict[tuple[str, int], dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for record, place in read_json_lines(path):
        try:
            grades = made[str(record["task"]), int(str(record["length"]))][str(record["example_id"])]
            _take(grades, record)
        except (KeyError, ValueError, TypeError):
            raise HarnessError(f"{place}: not a judgement; evaluate again") from None
    return {key: {example: _means(each) for example, each in examples.items()} for key, examples in made.items()}


def _take(grades: dict[str, list[float]], record: Mapping[str, object]) -> None:
    parts, score = record["parts"], record["score"]
    if not isinstance(parts, dict):
        raise TypeError("parts")
    for name, value in (*parts.items(), *(() if score is None else ((SCORE, score),))):
        if not isinstance(value, int | float):
            raise TypeError(name)
        grades[str(name)].append(float(value))


def _means(grades: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Several judgements' mean; of a grade in steps, their middle one."""
    return {name: sorted(values)[(len(values) - 1) // 2] if name in _STEPS else fmean(values) for name, values in grades.items()}
