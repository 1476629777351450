"""Which methods a run tries, and with which options."""

import pytest

from harness.api import HarnessError
from harness.methods import choose


def test_a_variants_own_options_come_before_those_of_all() -> None:
    found = choose(["retmask", "retmask(top_k=3)"], {"top_k": 2, "prompts": 5})
    assert list(found) == ["retmask", "retmask(top_k=3)"]
    assert found["retmask"].options == {"top_k": 2, "prompts": 5}
    assert found["retmask(top_k=3)"].options == {"top_k": 3, "prompts": 5}


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["retmusk"], "unknown method 'retmusk'; did you mean 'retmask'?"),
        (["nothing-like-it"], "unknown method 'nothing-like-it'; installed: layermatched, nonretmask"),
        (["retmask(treshold=0.1)"], "retmask(treshold=0.1): [method]: unknown key 'treshold'; did you mean 'threshold'?"),
        (["retmask(top_k=many)"], "retmask(top_k=many): [method]: top_k holds something else than a whole number: 'many'"),
        (["smaller-model(top_k=3)"], "smaller-model(top_k=3): smaller-model: name the model"),
        (["retmask", "retmask"], "retmask is asked for twice"),
        (["retmask", "retmask(threshold=0.1)"], "retmask and retmask(threshold=0.1) have the same options"),
        (["retmask(top_k=3, n=1)", "retmask(top_k=3)"], "retmask(n=1, top_k=3) and retmask(top_k=3) have the same options"),
    ],
)
def test_mistakes_are_one_line(methods: list[str], message: str) -> None:
    with pytest.raises(HarnessError) as error:
        choose(methods, {})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_other_methods_may_have_the_same_options() -> None:
    assert list(choose(["retmask(top_k=3)", "randmask(top_k=3)"], {})) == ["retmask(top_k=3)", "randmask(top_k=3)"]
