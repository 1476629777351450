"""Which methods are compared with each other."""

import doctest

from hypothesis import given
from hypothesis import strategies as st

from reports import contrasts as contrasts_module
from reports.contrasts import contrasts


def test_the_examples_in_the_docstring() -> None:
    assert doctest.testmod(contrasts_module) == (0, 2)


def test_a_control_without_options_is_every_variants() -> None:
    labels = ["retmask(detector=copy)", "retmask(detector=query)", "layermatched"]
    assert contrasts(labels) == [(labels[0], "layermatched"), (labels[1], "layermatched"), (labels[0], labels[1])]


def test_of_several_controls_the_nearest_is_taken() -> None:
    labels = [
        "a(k=4)",
        "b(k=4)",
        "a(k=4, weights=yes)",
        "b(k=4, weights=yes)",
        "a(k=4, strength=0.5)",
        "a(contrast=0.5)",
        "c(contrast=0.5)",
    ]
    assert contrasts(labels) == [
        ("a(k=4)", "b(k=4)"),
        ("a(k=4, weights=yes)", "b(k=4, weights=yes)"),
        ("a(k=4, strength=0.5)", "b(k=4)"),
        ("a(contrast=0.5)", "c(contrast=0.5)"),
        ("a(k=4)", "a(k=4, weights=yes)"),
        ("a(k=4)", "a(k=4, strength=0.5)"),
        ("a(k=4)", "a(contrast=0.5)"),
    ]


@given(
    st.lists(st.sampled_from([f"{name}{own}" for name in "abc" for own in ("", "(k=1)", "(k=2)", "(k=1, l=2)")]), unique=True, min_size=1)
)
def test_every_method_is_compared_once_at_least_and_no_pair_twice(labels: list[str]) -> None:
    pairs = contrasts(labels)
    assert len(set(pairs)) == len(pairs)
    assert {name for pair in pairs for name in pair} == (set(labels) if len(labels) > 1 else set())
    assert all(one != other for one, other in pairs)
