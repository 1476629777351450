"""What a page says of how its numbers were made: the command, its date, versions, and what was asked."""

import json
import time
from collections.abc import Mapping
from typing import Any

from harness.api import Json
from harness.store.manifest import RunManifest

#: Settings of an evaluation that its page names, by their name in the manifest's config.
_ASKED = {
    "examples": "examples per task and length",
    "data": "data",
    "scoring": "scoring",
    "framing": "framing",
    "wording": "wording",
    "judge": "citations judged by",
    "judge_model": "prose judged by",
    "seed": "seed",
    "think_tokens": "budget for thoughts",
    "generations": "answers to each prompt",
    "temperature": "temperature",
    "resamples": "bootstrap resamples",
}


def how_made(command: str, started: float | None, versions: Mapping[str, Json]) -> dict[str, Json]:
    """Say when and with what something was made; what is not known is left out."""
    known = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
    when = "" if started is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started))
    return {name: value for name, value in (("date", when), ("command", command), ("versions", known)) if value}


def of_evaluation(manifest: RunManifest) -> dict[str, Json]:
    """Describe a single evaluation from its run's manifest, for its page: title, settings, steps."""
    config = manifest.config
    steps: list[Json] = [{"name": each.name, "seconds": each.seconds, "reused": each.reused} for each in manifest.steps]
    settings: dict[str, Any] = {
        **how_made(manifest.command, manifest.started, manifest.versions),
        "model": manifest.model.name,
        "checkpoint": manifest.model.path,
        "model digest": manifest.model.digest,
        "suite digest": manifest.suite_digest,
        "tasks": _joined(config.get("tasks")) or "all",
        "lengths": _joined(config.get("lengths")),
        "engine": ", ".join(str(config[name]) for name in ("backend", "dtype", "device") if config.get(name)),
        **{title: config.get(name) for name, title in _ASKED.items()},
    }
    shown: dict[str, Json] = {
        name: value if isinstance(value, str | int | float) else json.dumps(value) for name, value in settings.items() if value
    }
    return {"title": manifest.model.name, "settings": shown, "steps": steps}


def _joined(value: Json) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else ""
