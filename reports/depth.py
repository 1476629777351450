"""Success by depth and length: where in the context a gold passage is found, and where it is lost."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from reports.safe import escape
from reports.tables import length_label

_BINS = 5


def heat_maps(tables: Mapping[str, pd.DataFrame]) -> str:
    """Make one HTML table for each evaluation, depth by length; "" if no example has a depth.

    A cell is the mean score, times 100, of the examples whose gold stands at one known depth; the shade follows the number.
    """
    parts = []
    for name, table in tables.items():
        known = table[table["depth"].notna()]
        if len(known):
            parts.append(f"<div><h3>{escape(name)}</h3>\n{_map(known)}</div>")
    return f'<div class="maps">{"".join(parts)}</div>' if parts else ""


def grid(known: pd.DataFrame) -> pd.DataFrame:
    """Average the scores, depth bin x length; NaN where no example falls. ``known`` holds rows with a depth."""
    bins = np.minimum((known["depth"] * _BINS).astype(int), _BINS - 1)
    return known.assign(bin=bins).pivot_table(index="bin", columns="length", values="score", aggfunc="mean").reindex(range(_BINS))


def _map(known: pd.DataFrame) -> str:
    found = grid(known)
    lengths = [int(length) for length in found.columns]
    head = "".join(f'<th scope="col">{length_label(length)}</th>' for length in lengths)
    rows = []
    for number, scores in zip(range(_BINS), found.to_numpy(), strict=True):
        label = f"{100 * number // _BINS}–{100 * (number + 1) // _BINS}%"
        rows.append(f'<tr><th scope="row">{label}</th>{"".join(map(_cell, scores))}</tr>')
    return f'<table class="heat"><thead><tr><th>depth</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _cell(score: float) -> str:
    return "<td></td>" if np.isnan(score) else f'<td style="--score:{score:.3f}">{100 * score:.0f}</td>'
