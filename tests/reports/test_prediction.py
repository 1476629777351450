"""Gains that related runs predict: by hand, outside of the runs, and from files that are no relation."""

import json
from typing import Any

import pytest

from reports.prediction import predict, read_related

XS = (0.2, 0.4, 0.6, 0.8, 0.9)


def relation(**change: Any) -> bytes:
    runs = [
        {"name": f"m{x}", "gain": 10 * x, "gain_error": 0.5, "sparsity": {"gini": x, "hoyer": 0.5}, "errors": {"gini": 0.0, "hoyer": 0.0}}
        for x in XS
    ]
    return json.dumps({"tau": 0.1, "runs": runs, "fits": {"gini": {}}, **change}).encode()


def test_a_line_through_the_runs_predicts_the_gain_within_them() -> None:
    (found,), problems = predict(read_related(relation()), {"gini": 0.5, "depth": 0.1}, {"gini": 0.0, "depth": 0.0}, "copy")
    assert found.gain.value == pytest.approx(5.0)
    assert found.gain.low < 5.0 - 1.96 * 0.2, "five runs that are unsure by half a point leave a fifth of one at least"
    assert (found.runs, found.low, found.high, found.extrapolates, problems) == (5, 0.2, 0.9, False, [])
    assert "within the 0.200 to 0.900 of 5 runs" in found.in_words()


def test_a_model_outside_of_the_runs_is_extrapolated_and_its_interval_is_wider() -> None:
    related = read_related(relation())
    (inside,), _ = predict(related, {"gini": 0.5}, {"gini": 0.0}, "copy")
    (outside,), _ = predict(related, {"gini": 0.95}, {"gini": 0.0}, "copy")
    assert outside.extrapolates
    assert outside.as_json()["extrapolates"] is True
    assert "extrapolated, outside the 0.200 to 0.900 of 5 runs" in outside.in_words()
    assert outside.gain.high - outside.gain.low > inside.gain.high - inside.gain.low


def test_what_the_models_own_trials_leave_open_widens_the_interval() -> None:
    related = read_related(relation())
    (sure,), _ = predict(related, {"gini": 0.5}, {"gini": 0.0}, "copy")
    (unsure,), _ = predict(related, {"gini": 0.5}, {"gini": 0.1}, "copy")
    assert unsure.gain.value == sure.gain.value
    assert unsure.gain.high > sure.gain.high + 0.1


def test_what_cannot_be_fitted_and_what_is_of_another_kind_is_said() -> None:
    table = json.loads(relation(fits={"gini": {}, "hoyer": {}}))
    for run in table["runs"]:
        run["detector"] = "query"
    found, problems = predict(read_related(json.dumps(table).encode()), {"gini": 0.5, "hoyer": 0.5}, {"gini": 0.0, "hoyer": 0.0}, "copy")
    assert [each.measure for each in found] == ["gini"]
    assert problems[0].startswith("no gain is predicted by hoyer: all runs are equally sparse")
    assert problems[1] == "heads of the runs were scored by query and these by copy: their sparsities are of different kinds"


@pytest.mark.parametrize(
    "text",
    [
        b'{"runs": [], "fits": {}, "tau": 0.1}', relation(fits={}), relation(tau=float("nan")),
        relation(runs=[{"name": "a", "gain": float("inf"), "gain_error": 0, "sparsity": {"gini": 1}, "errors": {"gini": 0}}]),
        relation(runs=[{"name": "a", "gain": 1, "gain_error": -1, "sparsity": {"gini": 1}, "errors": {"gini": 0}}]),
        b"", b"[]", b"{}", b'{"runs": 1, "fits": {}}', b'{"runs": [1], "fits": {}, "tau": 0.1}', relation(tau="x"),
        relation(fits={"depth": {}}), relation(runs=[{"name": "a", "gain": "1", "gain_error": 0, "sparsity": {}, "errors": {}}]),
        relation(runs=[{"name": "a", "gain": 1, "gain_error": 0, "sparsity": [], "errors": {}}]),
    ],
)  # fmt: skip
def test_a_file_that_is_no_relation_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_related(text)
