"""pass@k: the chance that at least one of k answers is right, where a metric is 0 or 1.

Of n answers to an example c are right. The share of its k-subsets that hold a right one, 1 - C(n - c, k) / C(n, k), is unbiased for every
k up to n (Chen et al. 2021, arXiv 2107.03374, section 2.1); 1 - (1 - c / n)**k is not.
"""

from collections.abc import Sequence
from math import comb

import pandas as pd
from rich.table import Table
from rich.text import Text

from reports import samples
from reports.generations import averaged, counts
from reports.hierarchy import design
from reports.tables import length_label


class PassError(ValueError):
    """A table without pass@k; one line that says why."""


def pass_at(answers: int, right: int, k: int) -> float:
    """Estimate pass@k from ``right`` of ``answers`` answers. ValueError for a ``k`` that they cannot tell of."""
    if not 1 <= k <= answers or not 0 <= right <= answers:
        raise ValueError(f"pass@{k} takes {k} answers or more, at least 1, and {right} of {answers} are right")
    return 1 - comb(answers - right, k) / comb(answers, k)


def binary(tables: Sequence[pd.DataFrame]) -> pd.MultiIndex:
    """Find the (task, metric) pairs whose every score is 0 or 1 in all tables."""
    found: pd.MultiIndex | None = None
    for table in tables:
        whole = table["score"].isin((0, 1)).groupby([table["task"], table["metric"]]).all()
        mine = pd.MultiIndex.from_tuples(list(whole.index[whole.to_numpy(dtype=bool)]), names=("task", "metric"))
        found = mine if found is None else found.intersection(mine)
    assert found is not None, "needs a table"
    return found


def at(tables: Sequence[pd.DataFrame], k: int) -> tuple[list[pd.DataFrame], list[str]]:
    """Make each example's score its pass@k, where the metric is 0 or 1 in all valid ``tables``; and name the metrics left out.

    Raises :class:`PassError` where no metric is, or where an example has fewer than ``k`` answers.
    """
    fewest = min(counts(table)[0] for table in tables)
    if not 1 <= k <= fewest:
        raise PassError(f"pass@{k} takes {k} answers to each prompt, and some have {fewest}; evaluate with more --generations")
    kept = binary(tables)
    if not len(kept):
        raise PassError(f"pass@{k} is of metrics that are 0 or 1, and none here is")
    pairs = pd.MultiIndex.from_frame(tables[0][["task", "metric"]].drop_duplicates())
    left = sorted(f"{task} {metric}" for task, metric in pairs.difference(kept))
    return [_passed(table[pd.MultiIndex.from_frame(table[["task", "metric"]]).isin(kept)], k) for table in tables], left


def sentence(tables: Sequence[pd.DataFrame], k: int, left: Sequence[str]) -> str:
    """Say what the scores are, and which metrics are ``left`` out."""
    fewest = min(counts(table)[0] for table in tables)
    out = f" Left out, since not every score is 0 or 1: {', '.join(left)}." if left else ""
    return (
        f"Scores are pass@{k}: the chance that at least one of {k} sampled answers is right, estimated without bias from {fewest} or more "
        f"answers to each prompt.{out}"
    )


def _passed(table: pd.DataFrame, k: int) -> pd.DataFrame:
    if "generation" not in table.columns:
        return table.reset_index(drop=True)
    found = averaged(table.reset_index(drop=True))
    grouped = table.groupby(list(samples.KEY), sort=False, observed=True)["score"]
    right, size = grouped.sum(), grouped.size()
    known = pd.Series([pass_at(int(n), int(c), k) for n, c in zip(size, right, strict=True)], index=right.index)
    place = pd.MultiIndex.from_frame(found[list(samples.KEY)])
    scored = found.assign(score=known.reindex(place).to_numpy(dtype="float64"))
    scored.attrs = dict(found.attrs)
    return scored


def shown(most: int) -> list[int]:
    """Choose the k to show for so many answers: powers of two, and all of them."""
    return sorted({*(2**power for power in range(most.bit_length()) if 2**power <= most), most})


def terminal(frame: pd.DataFrame) -> Table | None:
    """Tabulate pass@k of each 0/1 metric, k by length; None where there is one answer to a prompt, or no such metric."""
    table = samples.validate(frame)
    fewest = counts(table)[0]
    if fewest < 2 or not len(binary([table])):
        return None
    columns = {k: at([table], k)[0][0] for k in shown(fewest)}
    plan = design(columns[1])
    lengths = sorted({each.length for each in plan.targets if each.length is not None})
    title = Text("pass@k x 100: the chance that one of k answers is right")
    drawn = Table(title=title)
    for name in ("", "k", *map(length_label, lengths)):
        drawn.add_column(name, justify="right" if name else "left")
    means = {k: plan.means(scored[["score"]].to_numpy(dtype="float64"))[:, 0] for k, scored in columns.items()}
    for task, metric in dict.fromkeys((each.task, each.metric) for each in plan.targets if each.scope == "task"):
        for k, values in means.items():
            mine = {t.length: values[at] for at, t in enumerate(plan.targets) if (t.scope, t.task, t.metric) == ("task", task, metric)}
            cells = [f"{100 * mine[length]:.1f}" if length in mine else "" for length in lengths]
            drawn.add_row(Text(f"{task} {metric}" if k == 1 else ""), str(k), *cells)
    return drawn
