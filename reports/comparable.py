"""Which evaluations may be compared: the same examples, and asked and scored in the same way unless the user allows otherwise.

Answers at another temperature measure another thing, and need leave. Another number of answers at the same temperature measures the same
thing more or less surely, and needs none: means over answers are compared, and it is said.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeAlias

import pandas as pd

from reports import samples
from reports.comparison import CompareError
from reports.generations import averaged

#: What two evaluations have to share unless the user allows otherwise -> (column, its plural for people).
MISMATCHES: Final = {
    "suite": ("suite_digest", "suites"),
    "backend": ("backend", "backends"),
    "template": ("template", "templates"),
    "scorer": ("scorer", "scorers"),
    "temperature": ("temperature", "temperatures"),
}

#: In the name of a scorer that is a model's opinion, before the model's own.
JUDGED: Final = " judged by "
_IDENTITY = list(samples.KEY)
#: These may differ between tasks: some are not framed as a chat, some are scored by a judge.
_OF_TASKS: Final = ("template", "scorer")
_SHARED = ["category", "cluster"]
_NAMED = 3


def check_comparable(baseline: pd.DataFrame, candidate: pd.DataFrame, name: str, allow: Sequence[str] = ()) -> list[str]:
    """Refuse tables that must not be compared; what was allowed comes back as notes. Rows may be in any order.

    Raises :class:`CompareError` on a mismatch of :data:`MISMATCHES` that ``allow`` does not name, and on other examples, clusters or
    categories, which cannot be allowed.
    """
    notes = check_mismatches(baseline, candidate, name, allow)
    left, right = (table.sort_values(_IDENTITY, ignore_index=True) for table in (baseline, candidate))
    if len(left) != len(right) or any((left[each] != right[each]).any() for each in _IDENTITY):
        gaps = _gaps(left, right)
        raise CompareError(f"{name}: not the same examples as the baseline: {gaps}; evaluate both on the same suite")
    for column in _SHARED:
        differs = (left[column] != right[column]).to_numpy(dtype=bool)
        if differs.any():
            row = left.iloc[int(differs.argmax())]
            where = f"example {row['example_id']!r} of task {row['task']!r} at length {row['length']}"
            raise CompareError(f"{name}: {where} has another {column} than in the baseline; evaluate both on the same suite")
    return notes


def check_mismatches(baseline: pd.DataFrame, candidate: pd.DataFrame, name: str, allow: Sequence[str]) -> list[str]:
    """List notes about allowed mismatches of :data:`MISMATCHES`; raises :class:`CompareError` for one that ``allow`` does not name."""
    return [note for what in MISMATCHES if (note := _mismatch(baseline, candidate, name, what, allow))]


def _mismatch(baseline: pd.DataFrame, candidate: pd.DataFrame, name: str, what: str, allow: Sequence[str]) -> str | None:
    """A note about an allowed mismatch, None where there is none."""
    column, plural = MISMATCHES[what]
    kinds = [of_kind(table, column) for table in (baseline, candidate)]
    if what in _OF_TASKS:
        left, right = (table.groupby("task")[column].unique().map(sorted) for table in (baseline, candidate))
        alike = all(len(left[task]) == 1 and left[task] == right[task] for task in left.index.intersection(right.index))
    else:
        alike = kinds[0] == kinds[1] and len(kinds[0]) == 1
    if alike:
        return None
    found = " and ".join("+".join(each or "unknown" for each in kind) for kind in kinds)
    if what == "suite":
        found = _suites(baseline, candidate) or f"{found}; the same examples in other words: another wording, framing, seed or tokenizer"
    if what == "scorer" and any(JUDGED in each for kind in kinds for each in kind):
        raise CompareError(f"{name}: a judge's scores are compared with the same judge's alone ({found}); have both judged by one")
    if what not in allow:
        remedy = f"evaluate both the same way, or accept it with --allow-mismatch {what}"
        raise CompareError(f"{name}: scores from different {plural} cannot be compared ({found}); {remedy}")
    return f"{name}: compared across different {plural} ({found}), as --allow-mismatch {what} asked."


def _suites(baseline: pd.DataFrame, candidate: pd.DataFrame) -> str:
    """Say in which lengths, tasks and numbers of examples two suites differ; empty where in none of them."""
    said = []
    for column, what in (("length", "lengths"), ("task", "tasks")):
        ours, theirs = (list(dict.fromkeys(table[column].sort_values())) for table in (baseline, candidate))
        if ours != theirs:
            said.append(f"{what} {_several(ours)} and {_several(theirs)}")
    if not said:
        left, right = (table[["task", "length", "example_id"]].drop_duplicates() for table in (baseline, candidate))
        if len(left) != len(right):
            said.append(f"{len(left):,} and {len(right):,} examples")
        elif len(left.merge(right)) < len(left):
            said.append("other examples, as another seed draws them")
    return "; ".join(said)


def _several(values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[: 2 * _NAMED]))
    return shown if len(values) <= 2 * _NAMED else f"{shown} and {len(values) - 2 * _NAMED} more"


def of_kind(table: pd.DataFrame, column: str) -> list[str]:
    """List what a valid table has in a column of :data:`MISMATCHES`; temperatures in words."""
    if column != "temperature":
        return sorted(map(str, table[column].unique()))
    found = sorted(table[column].unique()) if column in table.columns else [0.0]
    return [f"{each:g}" if each else "greedy" for each in found]


def distinct(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Leave out those tables that are another one again: the same model's same answers are one training seed, not two."""
    same = ["model_digest", "score", "output"]
    found: list[pd.DataFrame] = []
    for table in tables:
        if not any(len(table) == len(before) and table[same].equals(before[same]) for before in found):
            found.append(table)
    return found


def alike(tables: Mapping[str, Sequence[pd.DataFrame]]) -> tuple[dict[str, list[pd.DataFrame]], list[str]]:
    """Leave out of every table the examples that a judge's verdicts left without a score in any of them, and say how many.

    A score that is missing on one side only would make two means over different questions. The baseline may be called "". Raises
    :class:`CompareError` where nothing is left of a task at some length.
    """
    missing = {name: [_lacking(table) for table in each] for name, each in tables.items()}
    lacking = {row for each in missing.values() for rows in each for row in rows}
    if not lacking:
        return {name: list(each) for name, each in tables.items()}, []
    found = {name: [_without(table, lacking, name or "baseline") for table in each] for name, each in tables.items()}
    counts = [f"{name or 'baseline'}: {sum(map(len, rows))}" for name, rows in missing.items()]
    many = len({(suite, task, length, example) for suite, task, length, _, example in lacking})
    what = "1 example is" if many == 1 else f"{many} examples are"
    return found, [f"{what} left out on all sides, because a judge's verdict on one side cannot be read ({', '.join(counts)})."]


_Row: TypeAlias = tuple[str, str, int, str, str]
"""Suite, task, length, metric and example."""


def _lacking(table: pd.DataFrame) -> set[_Row]:
    """The rows of which no answer has a readable verdict."""
    unread = set(samples.unreadable(table))
    if not unread:
        return set()
    read = set(table[_IDENTITY].itertuples(index=False, name=None))
    return {(str(suite), *key) for suite in table["suite_digest"].unique() for key in unread - read}


def _without(table: pd.DataFrame, lacking: Collection[_Row], name: str) -> pd.DataFrame:
    rows = pd.MultiIndex.from_frame(table[["suite_digest", *_IDENTITY]])
    kept = table[~rows.isin(list(lacking))].reset_index(drop=True)
    kept.attrs = {key: value for key, value in table.attrs.items() if key != samples.UNREADABLE}
    asked = {*table[["task", "length"]].itertuples(index=False, name=None), *((task, length) for _, task, length, _, _ in lacking)}
    if gone := sorted(asked - {*kept[["task", "length"]].itertuples(index=False, name=None)}):
        raise CompareError(f"{name}: no verdict on {gone[0][0]} at length {gone[0][1]} can be read on all sides; choose another judge")
    return kept


def valid(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Validate a samples table; raises :class:`CompareError` for one that cannot be trusted."""
    try:
        return samples.validate(frame)
    except samples.SamplesError as error:
        raise CompareError(f"{name}: {error}") from error


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Sort a valid table by its examples, each with the mean of its generations."""
    return averaged(table).sort_values(_IDENTITY, ignore_index=True)


def _gaps(baseline: pd.DataFrame, candidate: pd.DataFrame) -> str:
    keys = [set(table[_IDENTITY].itertuples(index=False, name=None)) for table in (baseline, candidate)]
    gaps = {"missing": keys[0] - keys[1], "extra": keys[1] - keys[0]}
    return "; ".join(f"{len(gap):,} {what} ({_name_some(gap)})" for what, gap in gaps.items() if gap)


def _name_some(keys: set[tuple[object, ...]]) -> str:
    named = ["/".join(str(part) for part in key) for key in sorted(keys, key=str)[:_NAMED]]
    return ", ".join(named) + (", …" if len(keys) > _NAMED else "")
