"""What a model's licence is, and whose model it is, from what lies beside it: nothing is fetched."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.api import Model
from harness.models.catalogue import entries
from harness.models.lookup import BUILTIN
from tasks.files import read_text

_LARGEST_CARD: Final = 1 << 20
#: Names of licences in our catalogue -> as the Hub writes them.
_HUB_NAMES: Final = {"Apache-2.0": "apache-2.0", "Gemma Terms of Use": "gemma"}
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LINE: Final = re.compile(r"^(license|license_name|license_link): *[\"']?([\w.+/:-]{1,200})[\"']? *$", re.MULTILINE)


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, as the Hub's cards say it; empty where that is not known."""

    base_model: str = ""
    """A Hub id."""
    license: str = ""
    license_name: str = ""
    license_link: str = ""


def origin(model: Model) -> Origin:
    """Say where ``model`` comes from and what licence it has."""
    if model.name == BUILTIN:
        return Origin("", "apache-2.0")
    if (entry := entries().get(model.name)) is not None:
        return Origin(entry.source, _HUB_NAMES.get(entry.licence, "other"), "" if entry.licence in _HUB_NAMES else entry.licence)
    on_hub = bool(_HUB_ID.fullmatch(model.name)) and not Path(model.name).exists()
    found = dict(_LINE.findall(_front_matter(model.path / "README.md")))
    return Origin(model.name if on_hub else "", found.get("license", ""), found.get("license_name", ""), found.get("license_link", ""))


def _front_matter(path: Path) -> str:
    """The head of a model card between its lines of dashes; empty if there is none."""
    try:
        text = read_text(path, _LARGEST_CARD)
    except (OSError, ValueError):
        return ""
    return text[4:].partition("\n---")[0] if text.startswith("---\n") else ""
