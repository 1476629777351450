"""Several sampled answers to a prompt, in a samples table: their mean is the example's score, and they never count as questions.

Everything that compares tables works on :func:`averaged` ones. So a bootstrap draws questions, each with the mean of its answers: what
sampling adds to a score's uncertainty is in the spread of those means, as what distinguishes questions is. :mod:`reports.variance` takes
the two apart.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from reports.hierarchy import Floats
from reports.samples import KEY, READ

_EXAMPLE: Final = ["task", "length", "example_id"]


def averaged(table: pd.DataFrame) -> pd.DataFrame:
    """Average each example's generations; the other columns are its first generation's. A table of greedy answers comes back as it is."""
    if "generation" not in table.columns:
        return table
    key, attrs = list(KEY), dict(table.attrs)
    means = table.groupby(key, sort=False, observed=True)["score"].transform("mean").clip(0, 1)
    first = table.assign(score=means).sort_values("generation", kind="stable").drop_duplicates(key)
    found = first.sort_index().drop(columns=["generation", *(name for name in READ if name in first.columns)]).reset_index(drop=True)
    found.attrs = attrs  # of an evaluation that stopped early
    return found


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Average as :func:`averaged`, with all of an example's answers in ``output``, for a reader of single examples."""
    if "generation" not in table.columns:
        return table
    key = list(KEY)
    ordered = table.sort_values("generation", kind="stable")
    number = ordered.groupby(key, sort=False, observed=True).cumcount() + 1
    size = ordered.groupby(key, sort=False, observed=True)["generation"].transform("size")
    marked = "[answer " + number.astype("string") + " of " + size.astype("string") + "]\n" + ordered["output"]
    whole = marked.groupby([ordered[name] for name in key], sort=False, observed=True).agg("\n\n".join)
    found = averaged(table)
    texts = whole.reindex(pd.MultiIndex.from_frame(found[key])).to_numpy(dtype=object)
    marked_found = found.assign(output=pd.array(texts, dtype="string"))
    marked_found.attrs = dict(found.attrs)
    return marked_found


def counts(table: pd.DataFrame) -> tuple[int, int]:
    """Count the fewest and most answers to an example of a valid table."""
    if "generation" not in table.columns:
        return 1, 1
    found = table.groupby(_EXAMPLE, sort=False, observed=True)["generation"].nunique()
    return int(found.min()), int(found.max())


def temperature(table: pd.DataFrame) -> float:
    """Compute the highest temperature that answers were sampled at; 0 for greedy ones."""
    return float(table["temperature"].max()) if "temperature" in table.columns else 0.0


def answers(table: pd.DataFrame) -> str:
    """Say how many answers to a prompt a table holds, and how they were written: "3 answers to each prompt, sampled at temperature 0.7"."""
    fewest, most = counts(table)
    many = f"{most} answer{'s' if most > 1 else ''}" if fewest == most else f"{fewest} to {most} answers"
    warm = temperature(table)
    return f"{many} to each prompt, " + (f"sampled at temperature {warm:g}" if warm else "greedy")


def notes(tables: Mapping[str, Sequence[pd.DataFrame]]) -> list[str]:
    """Say what a reader has to know of evaluations, by name, if any has sampled answers."""
    said = {name: answers(each[0]) for name, each in tables.items() if each}
    if not any(temperature(table) or counts(table)[1] > 1 for each in tables.values() for table in each):
        return []
    rule = "A question's score is the mean over its answers, which never count as questions."
    if len(set(said.values())) == 1:
        return [f"{_capital(next(iter(said.values())))}. {rule}"]
    return [f"{'; '.join(f'{name}: {text}' for name, text in said.items())}. {rule}"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def stacked(tables: Sequence[pd.DataFrame], order: pd.DataFrame) -> Floats:
    """Compute every answer's score, (rows of ``order``, generations, tables), NaN where an example has fewer.

    ``order`` is an averaged table.
    """
    place = pd.MultiIndex.from_frame(order[list(KEY)])
    most = max(counts(table)[1] for table in tables)
    found = np.full((len(order), most, len(tables)), math.nan)
    for at, table in enumerate(tables):
        rows = place.get_indexer(pd.MultiIndex.from_frame(table[list(KEY)]))
        number = np.zeros(len(table), dtype=np.intp)
        if "generation" in table.columns:
            numbers = table.groupby(_EXAMPLE, observed=True)["generation"].rank(method="dense")
            number = numbers.to_numpy(dtype=np.intp) - 1
        kept = rows >= 0
        found[rows[kept], number[kept], at] = table["score"].to_numpy(dtype=np.float64)[kept]
    return found
