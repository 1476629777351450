"""What a report says of variants."""

from pathlib import Path

from harness.api import Artifact, Model, Outcome
from harness.methods import choose
from harness.publishing.candidates import Candidate, instructions, is_mapped, named, own_options, studies, unmapped

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
        for label, method in choose(methods, {}).items()
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


def test_what_is_not_of_the_first_method_is_told_apart() -> None:
    scores, others = ((0.1, 0.9),), ((0.3, 0.2),)
    outcomes = {
        "retmask": Outcome(Path(), {"masked heads": 1}, scores, masked_heads=((0, 1),), instructions=("One?",)),
        "retmask(detector=query)": Outcome(Path(), {"masked heads": 1}, others, masked_heads=((0, 0),), instructions=("One?",)),
        "retmask(components=layers)": Outcome(Path(), {"masked layers": 1}, instructions=("Two?",)),
        "sft": Outcome(Path(), {"pairs": 4}),
    }
    assert [name for name, each in outcomes.items() if is_mapped(each, scores)] == ["retmask"]
    assert unmapped(outcomes, scores) == ["retmask(detector=query)", "retmask(components=layers)"]
    assert unmapped(outcomes, None) == []
    assert instructions(outcomes) == {"instructions": ["One?"], "other_instructions": {"retmask(components=layers)": ["Two?"]}}
