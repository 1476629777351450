"""What a report says of variants."""

from pathlib import Path

from harness.api import Artifact, Model, Outcome
from harness.methods import choose
from harness.publishing.candidates import Candidate, named, own_options, studies

SAMPLES = Artifact("eval", "0", Path(), {}, reused=False)
TRAINED = Model("m", Path(), "")


def candidates(*methods: str, **masked: int) -> list[Candidate]:
    return [
        Candidate(
            label,
            Outcome(Path(), {"masked heads": masked[method.variant.method]} if method.variant.method in masked else {}),
            SAMPLES,
            TRAINED,
            method=method,
        )
        for label, method in choose(methods, {"pairs_from": "mine.jsonl"}).items()
    ]


def test_the_one_number_that_differs_is_a_study() -> None:
    found = candidates("retmask(threshold=0.05)", "retmask", "randmask(threshold=0.05)", "randmask(threshold=0.2)", "sft", retmask=3)
    assert studies(found) == [
        {
            "option": "threshold",
            "lines": {
                "retmask": {"retmask(threshold=0.05)": 0.05, "retmask": 0.1},
                "randmask": {"randmask(threshold=0.05)": 0.05, "randmask(threshold=0.2)": 0.2},
            },
            "masked": {"retmask(threshold=0.05)": 3, "retmask": 3},
        }
    ]


def test_two_differences_or_words_are_no_study() -> None:
    assert studies(candidates("retmask(threshold=0.05, n=2)", "retmask")) == []
    assert studies(candidates("retmask(loss=ipo)", "retmask")) == []
    assert studies(candidates("retmask", "sft")) == []


def test_whole_names_and_own_options_are_told() -> None:
    plain, variant = candidates("sft", 'sft(prompts_from="some where")')
    assert named([plain]) == {}
    assert named([plain, variant]) == {variant.name: 'sft(prompts_from="some where")'}
    assert own_options(plain) == {}
    assert own_options(variant) == {"options of its own": "prompts_from = some where"}
