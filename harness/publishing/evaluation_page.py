"""The page of a single evaluation: its scores with intervals, curves, depths, examples and settings, with nothing to compare them with."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.api import HarnessError, Json

if TYPE_CHECKING:
    import pandas as pd

    from reports.anchors import Anchors
    from reports.contents import ReportData
    from reports.examples import Packed
    from reports.extra_tasks import ExtraScores


def described(
    description: Mapping[str, Json],
    tables: "Sequence[pd.DataFrame]",
    examples: "Packed",
    *,
    how: Mapping[str, Any],
    anchored: "Anchors | None" = None,
    extra: "ExtraScores | None" = None,
) -> "ReportData":
    """Say what the page shows.

    ``tables`` are the evaluation's samples, one for each training seed; ``how`` the bootstrap's settings (resamples, seed, confidence).
    HarnessError for samples that cannot be trusted.
    """
    from reports import contents, depth, estimates, extra_tables, scores
    from reports.compare import CompareError
    from reports.generations import shown
    from reports.stopping import stopping_of

    known: dict[str, Any] = dict(description)
    try:
        found = estimates.estimated(tables, **how)
    except CompareError as error:
        raise HarnessError(str(error)) from None
    mark = stopping_of(tables[0])
    said = [scores.little_answered(tables[0]), "" if mark is None else mark.sentence("this evaluation")]
    return contents.ReportData(
        title=str(known.get("title", "")),
        verdict=[estimates.sentences(found)],
        scores=found,
        settings=known.get("settings", {}),
        steps=tuple(contents.Step(each["name"], each["seconds"], each["reused"]) for each in known.get("steps", [])),
        depths=depth.heat_maps({"": shown(tables[0])}).replace("<h3></h3>\n", ""),
        examples=examples,
        anchors=anchored,
        extra_rows=() if extra is None else extra_tables.own_rows(extra),
        notes=(*map(str, known.get("notes", ())), *filter(None, said)),
    )
