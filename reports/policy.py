"""What a release may cost: the policy of a check, read from TOML.

confidence = 0.95          # one-sided, of each statement

[margin]                   # points that a score may be lower, and still count as not worse
overall = 1.0
category = 3.0             # every category ...
categories = { recall = 2.0 }   # ... but this one
length = 5.0               # the overall score at every length, since a mean over lengths hides a loss at the longest
lengths = { 131072 = 3.0 }      # ... but at this one (tokens)
task = 10.0                # every metric of every task at every length
tasks = { niah = 5.0 }          # ... but of this task

[floor]                    # scores that a candidate has to reach, whatever the baseline
overall = 50.0
categories = { recall = 80.0 }

[limit]                    # shares of the examples, in percent
missing = 0.0              # without a candidate's answer; those within the limit score 0
truncated = 0.0            # prompts that lost tokens
cut_off = 100.0            # answers that used up their budget
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from reports.comparison import Comparison

_TABLES: Final = {
    "margin": ("overall", "category", "categories", "length", "lengths", "task", "tasks"),
    "floor": ("overall", "categories"),
    "limit": ("missing", "truncated", "cut_off"),
}


class PolicyError(ValueError):
    """A policy that cannot be used; one line that says where."""


@dataclass(frozen=True)
class Policy:
    """Margins, floors and shares are fractions of 1; the file gives points and percent."""

    confidence: float = 0.95
    margin_overall: float = 0.01
    margin_category: float | None = 0.03
    """Of every category; None checks only the categories in ``margins``."""
    margins: Mapping[str, float] = field(default_factory=dict)
    margin_length: float | None = None
    """Of the overall score at every length; None checks only the lengths in ``margins_length``."""
    margins_length: Mapping[str, float] = field(default_factory=dict)
    margin_task: float | None = None
    """Of every metric of a task at every length; None checks only the tasks in ``margins_task``."""
    margins_task: Mapping[str, float] = field(default_factory=dict)
    floor_overall: float | None = None
    floors: Mapping[str, float] = field(default_factory=dict)
    missing: float = 0.0
    truncated: float = 0.0
    cut_off: float = 1.0

    def margin(self, line: Comparison) -> float | None:
        """Say how much lower this line's score may be; None if it is not asked."""
        if line.scope == "task":
            return None if line.length is None else self.margins_task.get(str(line.task), self.margin_task)
        if line.length is None:
            return self.margin_overall if line.scope == "overall" else self.margins.get(str(line.category), self.margin_category)
        return self.margins_length.get(str(line.length), self.margin_length) if line.scope == "overall" else None


def parse(text: str, where: str) -> Policy:
    """Read the policy in a TOML text; raises :class:`PolicyError`. An unknown key is an error, what is left out keeps its default."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for a number of thousands of digits
        raise PolicyError(f"{where} is not TOML: {error}") from None
    _check_keys(table, ("confidence", *_TABLES), where)
    for name, keys in _TABLES.items():
        if not isinstance(table.get(name, {}), dict):
            raise PolicyError(f"{where}: {name} has to be a table, [{name}]")
        _check_keys(table.get(name, {}), keys, f"{where} [{name}]")
    margin, floor, limit = (table.get(name, {}) for name in _TABLES)
    plain = Policy()
    confidence = _number(table.get("confidence", plain.confidence), 1, f"{where}: confidence")
    if not 0.5 < confidence < 1:
        raise PolicyError(f"{where}: confidence is {confidence}; give a number between 0.5 and 1, such as 0.95")
    return Policy(
        confidence=confidence,
        margin_overall=_number(margin.get("overall", 100 * plain.margin_overall), 100, f"{where} [margin] overall"),
        margin_category=_number(margin["category"], 100, f"{where} [margin] category") if "category" in margin else plain.margin_category,
        margins=_numbers(margin.get("categories", {}), f"{where} [margin] categories"),
        margin_length=_number(margin["length"], 100, f"{where} [margin] length") if "length" in margin else None,
        margins_length=_numbers(margin.get("lengths", {}), f"{where} [margin] lengths"),
        margin_task=_number(margin["task"], 100, f"{where} [margin] task") if "task" in margin else None,
        margins_task=_numbers(margin.get("tasks", {}), f"{where} [margin] tasks"),
        floor_overall=_number(floor["overall"], 100, f"{where} [floor] overall") if "overall" in floor else None,
        floors=_numbers(floor.get("categories", {}), f"{where} [floor] categories"),
        missing=_number(limit.get("missing", 0.0), 100, f"{where} [limit] missing"),
        truncated=_number(limit.get("truncated", 0.0), 100, f"{where} [limit] truncated"),
        cut_off=_number(limit.get("cut_off", 100.0), 100, f"{where} [limit] cut_off"),
    )


def _check_keys(table: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise PolicyError(f"{where}: unknown key {key!r}; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"))


def _number(value: object, whole: float, where: str) -> float:
    """A number in [0, ``whole``] as a fraction of ``whole``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= whole:
        raise PolicyError(f"{where} is {_shown(value)}; give a number from 0 to {whole:g}")
    return float(value) / whole


def _numbers(value: object, where: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise PolicyError(f"{where} is {_shown(value)}; give a table such as {{ recall = 2.0 }}")
    return {str(name): _number(each, 100, f"{where}.{name}") for name, each in value.items()}


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no number of thousands of digits, which TOML can spell as 0xfff...
        return "a number of too many digits"
