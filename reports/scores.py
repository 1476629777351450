"""Mean scores of one evaluation, averaged as HELMET does (:mod:`reports.bootstrap` has the hierarchy), as a terminal table."""

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from reports import categories, generations, hierarchy
from reports.hierarchy import Target
from reports.tables import length_label


def terminal(frame: pd.DataFrame) -> Table:
    """Make a table. Rows: dataset-metrics, categories, overall; columns: lengths.

    ``frame`` is a valid samples table; scores are shown times 100.
    """
    said = generations.answers(frame) if generations.temperature(frame) else ""
    frame = generations.averaged(frame)
    plan = hierarchy.design(frame)
    means = plan.means(frame[["score"]].to_numpy(dtype=np.float64))[:, 0]
    found = {(_label(target), target.length): mean for target, mean in zip(plan.targets, means, strict=True)}
    lengths = sorted({target.length for target in plan.targets if target.length is not None})
    about = categories.said(set(categories.counted(frame)["category"]))
    table = Table(title=Text("scores x 100" + (f"; mean of {said}" if said else "")), caption=Text(about) if about else None)
    table.add_column()
    for length in lengths:
        table.add_column(length_label(length), justify="right")
    for label in dict.fromkeys(_label(target) for target in plan.targets):
        table.add_row(Text(label), *(f"{100 * found[label, length]:.1f}" if (label, length) in found else "" for length in lengths))
    return table


def _label(target: Target) -> str:
    return f"  {target.task} {target.metric}" if target.task else target.category or "overall"
