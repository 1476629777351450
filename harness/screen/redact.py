"""Keys, passwords and signatures out of whatever is printed or stored.

Known are the values of environment variables that are named as secrets, and what looks like one: user and password of a URL, keys in its
query, headers with credentials, tokens of well-known forms. Everything printed goes through here (:mod:`harness.screen.terminal`), and so
do the command and the settings that a run stores.

>>> redacted("https://ann:secret@example.org/v1?api_key=1234&n=2")
'https://[redacted]@example.org/v1?api_key=[redacted]&n=2'
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from harness.api import Json

HIDDEN: Final = "[redacted]"
_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL", re.IGNORECASE)
#: Shorter values, such as EMPTY, are words, not secrets.
_SHORTEST: Final = 8
_WORD: Final = r"[\w.-]*(?:key|token|secret|sig|signature|password|passwd|pwd|auth|credential)[\w.-]*"
_PATTERNS: Final = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#\"'<>]*@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(rf"([?&;]{_WORD}=)[^&\s#\"'<>]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"(\b(?:proxy-)?authorization|\bx-api-key|\bapi-key|\bset-cookie|\bcookie)(\\?[\"']?\s*[:=]\s*\\?[\"']?)"
            r"(?:(?:bearer|basic|token)\s+)?[^\s\"'\\,;}]+",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"(\bbearer\s+)(?=[\w.~+/=-]*\d)[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:sk-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16})"), HIDDEN),
)


def redacted(text: str) -> str:
    """Take secrets out of ``text``, known ones and what looks like one."""
    text = without_known(text)
    for pattern, kept in _PATTERNS:
        text = pattern.sub(kept, text)
    return text


def without_known(text: str) -> str:
    """Take out of ``text`` the values of environment variables that are secrets; ``[NAME]`` stands in their place."""
    for form, name in _known(os.environ):
        if form in text:
            text = text.replace(form, f"[{name}]")
    return text


def plain(value: Json | Mapping[str, Json]) -> Json:
    """Redact the texts of a JSON value, as :func:`redacted` does."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def _known(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """(a way to write a secret, name of its variable), longest first."""
    found: dict[str, str] = {}
    for name, value in environment.items():
        if not _SECRET.search(name) or os.path.exists(value):  # a file's name, as of SSL_KEY_FILE, is none
            continue
        for part in {value, value.strip(), *value.split()}:
            if len(part) >= _SHORTEST:
                forms = (part, json.dumps(part)[1:-1], quote(part, safe=""), part.encode("unicode_escape").decode())
                found.update(dict.fromkeys(forms, name))
    return sorted(found.items(), key=lambda each: -len(each[0]))
