"""Mean scores of one evaluation, averaged as HELMET does: dataset-metric -> category -> overall."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Score:
    """A mean at one length."""

    label: str
    """"task metric", a category, or "overall"."""
    length: int
    mean: float
    """In [0, 1]."""


def summarize(frame: pd.DataFrame) -> list[Score]:
    """Every dataset-metric, category and the overall score of a samples table, at each length; tasks before their category."""
    means = frame.groupby(["category", "task", "metric", "length"], sort=False)["score"].mean().reset_index()
    scores: list[Score] = []
    for category, tasks in means.groupby("category", sort=False):
        scores += _scores(tasks.assign(label="  " + tasks["task"] + " " + tasks["metric"]))
        scores += _scores(_mean(tasks.assign(label=str(category))))
    return scores + _scores(_mean(_mean(means.assign(label=means["category"])).assign(label="overall")))


def _mean(labelled: pd.DataFrame) -> pd.DataFrame:
    return labelled.groupby(["label", "length"], sort=False)["score"].mean().reset_index()


def _scores(labelled: pd.DataFrame) -> list[Score]:
    return [Score(str(row["label"]), int(row["length"]), float(row["score"])) for row in labelled.to_dict("records")]
