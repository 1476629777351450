"""Which of HELMET's categories an overall score is the mean of: five, or all seven.

LongQA and summaries were not always part of an evaluation. A table's overall scores are of one kind: over seven only where both are there
at every length that it has; where one is at some lengths alone, it keeps its own lines and the overall scores leave it out.
"""

from collections.abc import Collection
from typing import Final

import pandas as pd

FIVE: Final = ("recall", "rag", "cite", "rerank", "icl")
LONGER: Final = ("longqa", "summ")


def counted(cells: pd.DataFrame) -> pd.DataFrame:
    """Choose the cells (columns category and length) that overall scores are made of: all, or without a category that comes and goes."""
    lengths = set(cells["length"])
    partial = {name for name in LONGER if 0 < len(set(cells.loc[cells["category"] == name, "length"])) < len(lengths)}
    kept = cells[~cells["category"].isin(partial)]
    return kept if set(kept["length"]) == lengths else cells


def only_five(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave LongQA and summaries out of a samples table, for a mean that can stand beside an older one."""
    return frame[~frame["category"].isin(LONGER)]


def said(categories: Collection[str]) -> str:
    """Say what the overall score of a table with these categories is the mean of; empty where LongQA and summaries play no part."""
    if not set(LONGER) & set(categories):
        return ""
    if set(categories) == {*FIVE, *LONGER}:
        return "overall: the mean over HELMET's seven categories"
    many = len(set(categories))
    return f"overall: {'one category' if many == 1 else f'the mean over {many} categories'}, not HELMET's seven"
