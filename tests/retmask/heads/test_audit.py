"""The audit: what it concludes from which curves, and what it says of models without retrieval."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from harness.builtin import MODEL_DIR
from retmask.heads.audit import AuditSettings, Point, _between, _counts, _search, audit_model, judge, sizes
from retmask.heads.lab import Interval, Lab, interval
from retmask.heads.masks import HeadMask
from retmask.heads.scores import HeadScores, TrialFacts
from retmask.model import load_model, load_tokenizer
from tests.retmask.small import random_model

SCORES = HeadScores("", np.linspace(0, 0.9, 40, dtype=np.float32).reshape(1, 5, 8), (TrialFacts(True),))
INTACT = Interval(0.9, 0.85, 0.95)
PLAN = AuditSettings()


def around(value: float, reach: float = 0.05) -> Interval:
    return Interval(value, value - reach, value + reach)


def points(accuracy: Callable[[int], float], perplexity: Callable[[int], float], control: float = 0.85) -> list[Point]:
    """Retrieval masks as given; every control keeps ``control`` of the needles at no cost in perplexity."""
    found = []
    for k in (1, 2, 4, 8, 20):
        found.append(Point("retrieval", k, around(accuracy(k)), around(perplexity(k)), None))
        for kind in ("random", "layermatched"):
            found.append(Point(kind, k, around(control), around(1.02), around(control - accuracy(k))))
    return found


def test_few_heads_that_matter_are_concentrated() -> None:
    found = judge(SCORES, INTACT, points(lambda k: 0.85 if k < 4 else 0.3, lambda k: 1 + k / 50), PLAN)
    assert (found.verdict, found.k) == ("concentrated", 4)
    assert "top 4 of 40 heads" in found.reason
    assert "from 90% to 30%, 55 points [50, 60] below the nearest control" in found.reason
    assert "too few other heads for nonretrieval" in found.reason


def test_many_heads_that_matter_are_distributed() -> None:
    found = judge(SCORES, INTACT, points(lambda k: 0.85 if k < 20 else 0.3, lambda k: 1.1), PLAN)
    assert (found.verdict, found.k) == ("distributed", 20)


def test_heads_that_matter_no_more_than_others_are_distributed() -> None:
    found = judge(SCORES, INTACT, points(lambda k: 0.8, lambda k: 1.1), PLAN)
    assert (found.verdict, found.k) == ("distributed", None)
    assert "no retrieval mask of up to 20 of 40 heads costs 10 points" in found.reason


def test_a_difference_within_its_interval_does_not_count() -> None:
    noisy = [
        Point(p.kind, p.k, p.accuracy, p.perplexity, p.excess and Interval(p.excess.value, -0.01, 0.9))
        for p in points(lambda k: 0.3, lambda k: 1.0)
    ]
    assert judge(SCORES, INTACT, noisy, PLAN).k is None


def test_one_control_that_costs_as_much_is_enough_against() -> None:
    found = points(lambda k: 0.3, lambda k: 1.0) + [
        Point("nonretrieval", k, around(0.3), around(1.0), around(0.0, 0.02)) for k in (1, 2, 4, 8, 20)
    ]
    assert judge(SCORES, INTACT, found, PLAN).verdict == "distributed"


def test_ablation_that_breaks_fluency_is_unusable() -> None:
    found = judge(SCORES, INTACT, points(lambda k: 0.85 if k < 4 else 0.1, lambda k: 1.0 if k < 4 else 30.0), PLAN)
    assert (found.verdict, found.k) == ("unusable", None)
    assert "perplexity of short texts grows x30.00 (bound x1.5)" in found.reason


def test_sizes_reach_from_one_to_half() -> None:
    assert sizes(40) == [1, 2, 3, 4, 7, 12, 20]
    assert sizes(1024)[0] == 1
    assert sizes(1024)[-1] == 512
    assert sizes(2) == [1]


def test_the_gap_below_the_first_mask_that_matters_is_halved() -> None:
    found = points(lambda k: 0.85 if k < 8 else 0.3, lambda k: 1.0)
    assert _between(found, PLAN) == [6]
    assert _between(points(lambda k: 0.3, lambda k: 1.0), PLAN) == []  # one head already does it
    assert _between(points(lambda k: 0.8, lambda k: 1.0), PLAN) == []  # none does


class ScriptedLab:
    """Twenty needles, all found; masks of ``enough`` heads and more lose them, and controls what ``control`` says."""

    def __init__(self, enough: int, control: float = 1.0) -> None:
        self.enough, self.control = enough, control
        self.found, self.loss = np.ones(20), np.zeros(48)
        self.masks: list[HeadMask] = []

    def measure(self, mask: HeadMask) -> tuple[np.ndarray, np.ndarray]:
        self.masks.append(mask)
        share = self.control if mask.name != "retrieval" else float(len(mask.heads) < self.enough)
        return (np.arange(20) < 20 * share).astype(float), self.loss

    def measured(self) -> list[tuple[str, int]]:
        return [(mask.name, len(mask.heads)) for mask in self.masks]


def test_sizes_grow_to_the_first_that_matters_and_controls_are_asked_only_there() -> None:
    lab = ScriptedLab(enough=6)
    found = _search(lab, SCORES, PLAN, lambda _: None)  # type: ignore[arg-type]
    assert judge(SCORES, INTACT, found, PLAN).k == 6
    assert [k for name, k in lab.measured() if name == "retrieval"] == [1, 2, 3, 4, 7, 5, 6]
    assert {k for name, k in lab.measured() if name != "retrieval"} == {6, 7}


def test_a_control_that_costs_as_much_spares_the_others() -> None:
    lab = ScriptedLab(enough=2, control=0.0)
    found = _search(lab, SCORES, PLAN, lambda _: None)  # type: ignore[arg-type]
    assert judge(SCORES, INTACT, found, PLAN).verdict == "distributed"
    assert len([name for name, k in lab.measured() if k == 2]) == 1 + PLAN.controls


def test_curves_have_every_size_with_its_controls() -> None:
    lab = ScriptedLab(enough=3)
    plan = replace(PLAN, curves=True)
    found = judge(SCORES, INTACT, _search(lab, SCORES, plan, lambda _: None), plan)  # type: ignore[arg-type]
    assert found.k == 3
    assert {k for k, _, _ in found.curves()["random"]} == {0, *sizes(40)}


@pytest.mark.parametrize(("found", "of", "decides"), [(3, 32, False), (4, 32, True), (4, 200, False), (3, 20, False)])
def test_too_few_needles_cannot_show_the_margin(found: int, of: int, decides: bool) -> None:
    assert _counts(interval((np.arange(of) < found).astype(float), 42), 0.1) == decides


def test_an_audit_that_cannot_decide_says_so_before_it_masks_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "measure", lambda *_: pytest.fail("nothing has to be measured"))
    tokenizer, model = load_tokenizer(MODEL_DIR), load_model(MODEL_DIR, "float32", "cpu")
    scores = HeadScores("", np.linspace(0, 0.9, 40, dtype=np.float32).reshape(1, 5, 8), (TrialFacts(True),))
    found = audit_model(model, tokenizer, "", AuditSettings(lengths=(150,), trials=2, margin=1.1), scores=scores)
    assert (found.verdict, found.k) == ("undecided", None)
    assert "found the needle in 2 of 2 trials" in found.reason


def test_random_weights_have_nothing_to_mask(tokenizer: PreTrainedTokenizerBase) -> None:
    found = audit_model(random_model("Llama"), tokenizer, "digest", AuditSettings(lengths=(150,), trials=4))
    assert (found.verdict, found.k, found.points) == ("nothing", None, ())
    assert found.in_words().startswith("nothing to mask: the model found the needle in none of 4 trials")
    assert json.loads(json.dumps(found.to_json()))["verdict"] == "nothing"


def test_scores_of_zero_leave_nothing_to_mask(tokenizer: PreTrainedTokenizerBase) -> None:
    idle = HeadScores("", np.zeros((1, 2, 4), np.float32), (TrialFacts(True),))
    assert audit_model(random_model("Llama"), tokenizer, "", AuditSettings(lengths=(150,), trials=4), scores=idle).verdict == "nothing"


@pytest.mark.slow
def test_the_shipped_model_gets_a_verdict_with_its_curves() -> None:
    tokenizer, model = load_tokenizer(MODEL_DIR), load_model(MODEL_DIR, "float32", "cpu")
    found = audit_model(model, tokenizer, "digest", AuditSettings(lengths=(256,), trials=16, controls=2, curves=True))
    assert found.verdict in ("concentrated", "distributed", "unusable")
    curves = found.curves()
    assert {"retrieval", "nonretrieval", "random", "layermatched"} == set(curves)
    half = len(found.scores.heads()) // 2
    assert [k for k, _, _ in curves["retrieval"]][-1] == half
    assert curves["retrieval"][-1][1].value < 0.5 * curves["retrieval"][0][1].value  # half the heads, the best ones: no retrieval left
    for curve in curves.values():
        for _, accuracy, perplexity in curve:
            assert 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1
            assert perplexity.low <= perplexity.value <= perplexity.high
