"""From what a user says, on the command line or in Python, to the settings of a run and its directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import consent
from harness.api import HarnessError, Json
from harness.config import RunConfig, load_preset, override, preset_names
from harness.consent import Allowed
from harness.options import near, read_lengths, read_names, read_table
from harness.screen.terminal import echo
from harness.variants import parse
from reports.safe import file_name

#: Settings that a program makes by saying so, as a command line does.
_RISKS = ("allow_unsafe_weights", "trust_remote_code")


def run_config(model_name: str, preset: str | None, settings: dict[str, Any], options: Mapping[str, Json]) -> RunConfig:
    """Read the preset, with the user's choices. Which preset suits the model's size is found, and said, where none is named.

    HarnessError if a preset of somebody's asks for what ``allow`` has to allow, and for methods, tasks and options that do not exist: for
    these first, before anything is looked up that a message about them does not need.
    """
    allowed = Allowed(settings.pop("allow", ()), settings.pop("allow_url", ()))
    named = None if preset is None else load_preset(preset)
    _check_names(named or RunConfig(), settings, options)
    chosen = preset or _suitable(model_name, settings)
    config = override(named or load_preset(chosen), settings, options)
    if chosen not in preset_names():
        consent.check(config, chosen, allowed, settings, options)
    return config


def _check_names(config: RunConfig, settings: Mapping[str, Any], options: Mapping[str, Json]) -> None:
    from harness.methods import check_name, find_method

    variants = [parse(name) for name in settings.get("methods") or config.methods]
    for each in variants:
        check_name(each.method)
    if settings.get("tasks"):
        from harness.evaluation.sources import find_source

        find_source(settings.get("data") or config.data).tasks(settings["tasks"])
    for each in variants:
        if options or each.options:
            known = find_method(each.method).settings
            if known is not None:
                read_table(known, {**options, **each.options}, str(each) if each.options else "[method]")


def _suitable(model_name: str, settings: dict[str, Any]) -> str:
    from harness.models.footprint import device_of
    from harness.models.lookup import resolve
    from harness.planning.sizing import suitable

    risks = {name: bool(settings.get(name)) for name in _RISKS}
    preset, why = suitable(resolve(model_name, **risks), device_of(settings.get("device") or "auto"))
    if why:
        echo(why, err=True)
    return preset


def run_root(output: Path | None, model_name: str) -> Path:
    """Name the run directory, which is never the model's own. HarnessError for an ``output`` that is, or is in it."""
    path = Path(model_name)
    root = output or Path("runs") / file_name(path.resolve().name if path.is_dir() else path.name)
    model = path.resolve()
    if (path / "config.json").is_file() and (root.resolve() == model or model in root.resolve().parents):
        beside = Path("runs") / f"{file_name(model.name)}-run"
        if output is not None or model in beside.resolve().parents:
            raise HarnessError(f"{root} is in the model's own directory, which stays as it is; name another with --output")
        return beside
    return root


def from_python(
    settings: Mapping[str, Any], *, tasks: str | Sequence[str], lengths: str | int | Sequence[str | int], where: str
) -> dict[str, Any]:
    """Read the settings that a program made, as strictly as a preset's. HarnessError, which ``where`` opens, for one that is none."""
    given = {name: value for name, value in settings.items() if name not in ("allow", "allow_url", *_RISKS)}
    aside = {name: value for name, value in settings.items() if name not in given}
    return {
        **read_table(RunConfig, given, where, apart_from=("options", *_RISKS)),
        **aside,
        "tasks": read_names(tasks, f"{where}: tasks"),
        "lengths": read_lengths(lengths, f"{where}: lengths"),
    }


def method_names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Read the names of methods, each once; one with options of its own stands alone. HarnessError if there is none."""
    names = (value,) if isinstance(value, str) and "(" in value else tuple(dict.fromkeys(read_names(value, "run(): methods")))
    if not names:
        raise HarnessError("run(): name at least one method, such as 'retmask'")
    return names


def check_choice(value: str, known: Sequence[str], what: str) -> str:
    """Give ``value`` back. HarnessError, with the nearest known one, for another than these."""
    if value not in known:
        raise HarnessError(f"unknown {what} {value!r}; {near(value, known)}")
    return value
