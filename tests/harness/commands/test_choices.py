"""What there is to choose from, every option in a line, one name for one thing, and a help that can be read."""

import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from harness import plugins
from harness.commands import choices
from harness.commands.root import main
from harness.config import RunConfig, preset_names
from harness.engines.options import BACKENDS, EngineConfig
from retmask.options import Options
from retmask.training import launch


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the entry points of an installed project add them."""
    for command in (choices.methods, choices.presets, choices.detectors, choices.engines):
        monkeypatch.setitem(main.commands, str(command.name), command)


def harness(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_methods_are_listed_with_a_line_each() -> None:
    listed = json.loads(harness("methods", "--json").stdout)["methods"]
    assert [each["name"] for each in listed] == sorted({point.name for point in entry_points(group="harness.methods")})
    lines = {each["name"]: each["line"] for each in listed}
    assert lines["retmask"] == "Mask the retrieval heads."
    assert "randmask" in harness("methods").stdout


def test_every_key_of_set_has_type_default_and_a_line() -> None:
    keys = {each["name"]: each for each in json.loads(harness("methods", "retmask", "--json").stdout)["keys"]}
    assert set(keys) == set(Options.__dataclass_fields__)
    assert [name for name, key in keys.items() if not key["line"] or not key["type"]] == []
    assert keys["detection_lengths"]["default"] == [512, 1024, 2048, 4096]
    assert keys["learning_rate"]["line"] == "Its highest, after the warm-up."
    text = harness("methods", "retmask").stdout
    assert "--set detection_lengths=[512, 1024, 2048, 4096]\n    a list, each a whole number, such as [512, 1024]. Prompt lengths" in text
    unknown = harness("methods", "retmsk")
    assert (unknown.exit_code, "retmask" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("table", [Options, EngineConfig, launch.TrainConfig])
def test_every_option_of_a_table_is_explained(table: type[Any]) -> None:
    assert [key.name for key in plugins.keys(table) if not key.line] == []


def test_a_dataclass_tells_its_bases_options_too() -> None:
    assert {key.name for key in plugins.keys(RunConfig)} > {key.name for key in plugins.keys(EngineConfig)}


def test_presets_are_listed_and_shown() -> None:
    assert [line.split()[0] for line in harness("presets").stdout.splitlines()] == preset_names()
    assert "[method]" in harness("presets", "small").stdout
    typo = harness("presets", "smal")
    assert (typo.exit_code, "did you mean 'small'?" in typo.stderr) == (2, True)


def test_detectors_are_listed_without_loading_them() -> None:
    assert [line.split()[0] for line in harness("detectors").stdout.splitlines()] == ["attribution", "causal", "copy", "greedy", "query"]
    assert harness("detectors", "query").stdout.startswith("query")
    assert harness("detectors", "none").exit_code == 2


def test_engines_are_listed_with_their_own_settings() -> None:
    assert [line.split()[0] for line in harness("engines").stdout.splitlines()] == list(BACKENDS)
    served = {key["name"] for key in json.loads(harness("engines", "served", "--json").stdout)["keys"]}
    assert {"url", "concurrency", "dtype"} <= served
    assert "memory_share" not in served
    assert 'dtype = "auto"' in harness("engines", "hf").stdout


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("prompts=-1", "prompts = -1; give a number of instructions"),
        ("prompts_top_p=2", "prompts_top_p = 2.0; give a share"),
        ("batch_size=0", "batch_size is 0; give"),
        ("detection_lengths=512,1024", "a list, each a whole number, such as [512, 1024]: '512,1024'"),
        ("report_to=wnadb", "unknown 'wnadb'; did you mean 'wandb'?"),
        ("report_to=neptune", "neptune is not installed; pip install neptune"),
    ],
)
def test_a_value_that_cannot_be_is_named_before_anything_is_computed(setting: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda _: None)
    done = harness("run", "--model", "builtin", "--method", "retmask", "--set", setting, "--output", "/dev/null/never")
    assert done.exit_code == 2
    assert words in done.stderr


def test_every_place_for_curves_that_transformers_knows_is_known() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    assert set(launch.REPORTS) == {"none", "all", *INTEGRATION_TO_CALLBACK}


def commands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield found
        if isinstance(found, click.Group):
            yield from commands(found)


def test_one_thing_has_one_name_everywhere() -> None:
    """The other name still works; the first is what help and messages call it."""
    first = {option: parameter.opts[0] for each in commands(main) for parameter in each.params for option in parameter.opts}
    assert first["--mode"] == "--scoring"
    named = {parameter.opts[0] for each in commands(main) for parameter in each.params if "--out" in parameter.opts}
    assert named == {"--output", "--prompts-to"}


def test_help_comes_in_groups_and_says_defaults() -> None:
    help_text = " ".join(harness("eval", "--help").stdout.split())
    order = ["What is evaluated:", "Questions:", "Answers:", "Engine and machine:", "What may be trusted:"]
    assert sorted(order, key=help_text.index) == order
    evaluate = main.get_command(click.Context(main), "eval")
    assert evaluate is not None
    silent = {"model_name", "url", "judge_url", "include_path", "against", "allow", "allow_url"}  # required, or nothing by themselves
    options = [each for each in evaluate.params if isinstance(each, click.Option) and not each.is_flag and each.name not in silent]
    assert [each.name for each in options if "[default" not in (each.help or "") and not each.show_default] == []
