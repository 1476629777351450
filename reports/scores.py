"""Mean scores of one evaluation, averaged as HELMET does (:mod:`reports.bootstrap` has the hierarchy), as a terminal table."""

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from reports import categories, generations, hierarchy, samples
from reports.hierarchy import Target
from reports.tables import length_label
from tasks.thoughts import holds_thoughts


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
    about = "; ".join(filter(None, (categories.said(set(categories.counted(frame)["category"])), _unread(frame))))
    table = Table(title=Text("scores x 100" + (f"; mean of {said}" if said else "")), caption=Text(about) if about else None)
    table.add_column()
    for length in lengths:
        table.add_column(length_label(length), justify="right")
    for label in dict.fromkeys(_label(target) for target in plan.targets):
        table.add_row(Text(label), *(f"{100 * found[label, length]:.1f}" if (label, length) in found else "" for length in lengths))
    return table


def little_answered(frame: pd.DataFrame) -> str:
    """Say so if most answers of an evaluation are empty or ended with their budget, so that its scores say little; "" otherwise."""
    answers = frame.drop_duplicates(["task", "length", "example_id", *frame.columns.intersection(["generation"])])
    empty = int((answers["output"].str.strip() == "").sum())
    cut = int(((answers["finish_reason"] == "length") & (answers["output"].str.strip() != "")).sum())
    if 2 * (empty + cut) <= len(answers):
        return ""
    thinks = " They may be a reasoning model's thoughts: see --think-tokens." if _thinks(answers) else ""
    found = [
        f"{many:,} {'is' if many == 1 else 'are'} {what}" for many, what in ((empty, "empty"), (cut, "cut off at their budget")) if many
    ]
    return f"Of {len(answers):,} answers {' and '.join(found)}: the scores may say more about that than about what the model knows.{thinks}"


def _thinks(answers: pd.DataFrame) -> bool:
    return bool((answers["thinking_tokens"] > 0).any() or answers["output"].map(holds_thoughts).any())


def _unread(frame: pd.DataFrame) -> str:
    """Say how many scores are missing for want of a readable verdict."""
    many = len(samples.unreadable(frame))
    return f"without {many} score{'s' if many > 1 else ''}, as the judge's verdicts on them cannot be read" if many else ""


def _label(target: Target) -> str:
    return f"  {target.task} {target.metric}" if target.task else target.category or "overall"
