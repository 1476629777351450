"""The model card of a trained checkpoint, as the Hub reads it: where it comes from, how it was trained, what it scores, how to do it again.

Its head is made, and thereby checked, by huggingface_hub's own ``ModelCardData``. No machine's paths and no keys stand in it.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import Json, Model, Outcome
from harness.config import RunConfig
from harness.files import DamagedError, read_sealed
from harness.models.licence import Origin, origin
from harness.models.lookup import BUILTIN
from harness.screen.redact import redacted
from harness.store.steps import MANIFEST
from reports.safe import markdown
from tasks.files import read_text

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

LIBRARY: Final = "transformers"
#: A path from the root of a machine, or of somebody's home; the way to it is left out.
_MACHINE: Final = re.compile(r"(?:\bfile:/+|(?<![\w:/.<])~?/)[\w.@+~-][^\s'\",;)`|]*")
_SCOPES: Final = ("overall", "category")
#: Digits that a number has which somebody typed; computed ones have more.
_TYPED: Final = 8


def portable(text: str) -> str:
    """Take the machine out of ``text``: of its paths the last part stays; keys are redacted.

    >>> portable("harness run --model /home/ann/models/small --output runs/a")
    'harness run --model small --output runs/a'
    """
    text = redacted(text)
    for place in (Path.cwd(), Path.home()):  # which may have blanks in them
        text = text if place == Path(place.anchor) else text.replace(f"{place}/", "")
    return _MACHINE.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], text)


def card(name: str, label: str, model: Model, outcome: Outcome, config: RunConfig, run: Path | None, about: Mapping[str, Json]) -> str:
    """Write the card of the model that ``name`` trained from ``model``. ``run`` is the finished run, None where nothing is evaluated yet.

    ``about`` is what else identifies the run: its command, versions of libraries, the digest of its suite.
    """
    source, rows = origin(model), _rows(run, name)
    called = portable(_short(model.name))
    text = "\n\n".join(
        part
        for part in (
            f"# {markdown(called)}, trained by {markdown(name)}",
            _intro(name, called, source),
            _warnings(outcome),
            _section("Scores", _scores(run)),
            _section("Masked heads", _heads(outcome)),
            _section("Pairs and training", _table(_training(outcome))),
            _section("Do it again", _again(config, about)),
        )
        if part
    )
    return f"---\n{_head(f'{called}-{label}', name, source, rows, config)}\n---\n\n{portable(text)}\n"


def _head(title: str, name: str, source: Origin, rows: Sequence[Mapping[str, Any]], config: RunConfig) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        model_name=title,
        base_model=source.base_model or None,
        license=source.license or None,
        license_name=source.license_name or None,
        license_link=source.license_link or None,
        library_name=LIBRARY,
        pipeline_tag="text-generation",
        tags=["retmask-harness", "long-context", name],
        eval_results=[_result(row, config) for row in rows] or None,
    )
    return str(data.to_yaml())


def _result(row: Mapping[str, Any], config: RunConfig) -> "EvalResult":
    from huggingface_hub import EvalResult

    scope = "overall" if row["scope"] == "overall" else str(row["category"])
    lengths = ", ".join(map(str, config.lengths))
    return EvalResult(
        task_type="text-generation",
        task_name="long-context question answering",
        dataset_type=f"retmask-harness-{config.data}",
        dataset_name=f"retmask-harness, {config.data} suite, lengths {lengths}",
        metric_type=scope,
        metric_name=f"{scope}, score x 100; {100 * row['confidence']:g}% interval of the difference to the baseline",
        metric_value=_points(row["candidate"]),
        metric_args={"baseline": _points(row["baseline"]), **{key: _points(row[key]) for key in ("delta", "low", "high")},
                     "questions": row["n_clusters"], "examples": row["n_examples"], "training_seeds": row["n_seeds"]},
    )  # fmt: skip


def _points(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2)


def _rows(run: Path | None, name: str) -> list[dict[str, Any]]:
    if run is None:
        return []
    rows = json.loads(read_text(run / "comparison.json"))
    own = [row for row in rows if row["name"] == name and row["scope"] in _SCOPES and row["length"] is None]
    return [row for row in own if row["candidate"] is not None]


def _intro(name: str, called: str, source: Origin) -> str:
    based = f"[{source.base_model}](https://huggingface.co/{source.base_model})" if source.base_model else markdown(called)
    if called == BUILTIN:
        based = "The small model that ships with retmask-harness"
    known = source.license_name or source.license
    licence = f"Its licence is that model's: {known}." if known else "Nothing beside that model says what its licence is: ask whose it is."
    return f"{based}, trained on preference pairs by the method `{name}` of retmask-harness. {licence}"


def _warnings(outcome: Outcome) -> str:
    found = outcome.facts.get("warnings")
    return f"**Warning of the training:** {markdown(str(found))}" if found else ""


def _scores(run: Path | None) -> str:
    """The run's own table: every method, so that a control stands beside what it is a control of."""
    return "Not evaluated yet." if run is None else read_text(run / "comparison.md").strip()


def _heads(outcome: Outcome) -> str:
    heads = " ".join(f"{layer}-{head}" for layer, head in outcome.masked_heads)
    return f"{len(outcome.masked_heads)} heads (layer-head) were silent while rejected answers were written: {heads}" if heads else ""


def _training(outcome: Outcome) -> dict[str, Json]:
    """What the method says of itself, and what its training's step was given."""
    facts = {name: value for name, value in outcome.facts.items() if name != "warnings"}
    try:
        inputs = read_sealed(outcome.checkpoint.parent / MANIFEST).get("inputs")
    except DamagedError:
        inputs = None
    settings = inputs if isinstance(inputs, dict) else {}
    return {**facts, **{name.replace("_", " "): value for name, value in settings.items() if name not in ("version", "model", "pairs")}}


def _again(config: RunConfig, about: Mapping[str, Json]) -> str:
    options = {f"--set {name}": json.dumps(value, sort_keys=True) for name, value in sorted(config.options.items())}
    asked = {"lengths": ", ".join(map(str, config.lengths)), "seed": config.seed, **options}
    typed = about.get("command", "")
    return f"```sh\n{typed}\n```\n\n{_table({**{name: value for name, value in about.items() if name != 'command'}, **asked})}"


def command(arguments: Sequence[str]) -> str:
    """Write a command line that a shell reads again, as anybody would type it."""
    return portable(shlex.join(["harness", *map(str, arguments[1:])])).replace("`", "'")


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {markdown(str(name))} | {markdown(_words(value))} |" for name, value in values.items()]
    return "\n".join(["| | |", "|-|-|", *rows]) if rows else ""


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(_rounded(value))


def _rounded(value: Any) -> Any:
    """The value with numbers as people read them; one that somebody typed, such as 5e-05, stays as it is."""
    if isinstance(value, float):
        return value if len(repr(value)) <= _TYPED else float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def _short(name: str) -> str:
    """A model's name without the way to it."""
    return name.rstrip("/").rpartition("/")[2] or name
