"""Presets: readable, strict, overridable."""

from pathlib import Path

import pytest

from harness.api import HarnessError
from harness.config import RunConfig, from_manifest, load_preset, override, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_loads(name: str) -> None:
    assert load_preset(name).lengths


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\nexamlpes = 3", "did you mean 'examples'"),
        ("[runn]\n", "did you mean 'run'"),
        ("[run\n", "not TOML"),
        ("[run]\nexamples = 0", "at least 1"),
        ("[run]\nlengths = []", "at least one"),
        ("[run]\nconfidence = 95", "between 0 and 1"),
        ("[run]\nmargin = 0", "points above 0"),
        ("[run]\nedition = '2023'", "edition"),
        ("method = 3", r"method has to be a table, \[method\], or several"),
        ("method = [3]", r"method has to be a table, \[method\], or several"),
        ("[[method]]\nprompts = 3\n[[method]]\ntop_k = 3", "2 tables .* have no name"),
        ("[[method]]\nname = 'ret mask'", "write a method's name alone there"),
        ("[run]\nmethods = ['sft']\n[[method]]\nname = 'retmask'", "leave one out"),
    ],
)
def test_a_mistake_is_one_line_with_advice(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(HarnessError, match=message) as caught:
        load_preset(str(path))
    assert "\n" not in str(caught.value)


def test_a_preset_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(HarnessError, match="builtin, default"):
        load_preset("papers")


def test_the_command_line_wins_over_the_preset() -> None:
    config = override(RunConfig(examples=5, options={"a": 1, "b": 2}), {"examples": 7, "lengths": None, "tasks": ()}, {"b": 3})
    assert config.examples == 7
    assert config.lengths == RunConfig().lengths
    assert config.options == {"a": 1, "b": 3}


def test_a_run_that_names_no_edition_is_of_the_one_that_there_was() -> None:
    assert from_manifest({"examples": 3}, "manifest.json").edition == "2024-12"
    assert from_manifest({"edition": "2025-04"}, "manifest.json").edition == RunConfig().edition == "2025-04"


def test_a_preset_names_methods_and_variants(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text("[[method]]\nprompts = 9\n[[method]]\nname = 'retmask'\nthreshold = 0.05\n[[method]]\nname = 'randmask'\n")
    config = load_preset(str(path))
    assert config.methods == ("retmask(threshold=0.05)", "randmask")
    assert config.options == {"prompts": 9}
    path.write_text("[run]\nmethods = ['sft', 'retmask(top_k=3)']\n[method]\nprompts = 9\n")
    config = load_preset(str(path))
    assert config.methods == ("sft", "retmask(top_k=3)")
    assert config.options == {"prompts": 9}
