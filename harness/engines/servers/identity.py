"""What a server says of its model, as far as it is the same after a restart and another for another model.

    vLLM, SGLang        root, the directory or Hub id; parent of an adapter
    llama.cpp           meta: the numbers of parameters, bytes, layers' width and vocabulary of the GGUF file
    ollama              created, when the model's files were pulled or made
    others              nothing beyond the name

Left out is what a restart changes: ``created`` (elsewhere the time of the request or of the start), ``permission`` with its random ids,
``max_model_len`` and ``n_ctx``, which are how the server was started.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.api import HarnessError, Json
from harness.engines.options import EngineConfig
from harness.engines.servers.client import ATTEMPTS, Client
from harness.files import digest
from harness.screen.redact import without_known
from reports.safe import encodable

#: Names that an error gives.
_NAMED: Final = 5
#: Most characters of a name in an error, and of what is kept of a server's words.
_LONGEST: Final = 256
_WORDS: Final = ("root", "parent", "owned_by")
#: Of llama.cpp's ``meta``.
_NUMBERS: Final = ("n_params", "size", "n_embd", "n_vocab", "vocab_type", "n_ctx_train")
#: Whose ``created`` is the date of the model's files.
_DATED: Final = ("library",)


def served_name(client: Client, asked: str) -> str:
    """Find what the server calls the model. HarnessError if it has not got it, or has several and none was asked for."""
    return _name(client.url, [str(row["id"]) for row in client.models()], asked)


def identity(config: EngineConfig, attempts: int = ATTEMPTS) -> dict[str, Json]:
    """Ask the server for what tells its model from another under the same address; ``id`` is its name.

    HarnessError if no server answers, or as for :func:`served_name`.
    """
    client = Client(config.url.rstrip("/"), config.timeout, attempts)
    rows = client.models()
    name = _name(client.url, [str(row["id"]) for row in rows], config.served_model)
    return _stable(next((row for row in rows if str(row["id"]) == name), {}), name)


def is_name_alone(known: Mapping[str, Json]) -> bool:
    """Say whether another model under the same name would look the same."""
    return not known.keys() - {"id", "owned_by"}


def _stable(row: Mapping[str, Any], name: str) -> dict[str, Json]:
    words = {key: row[key] for key in _WORDS if isinstance(row.get(key), str) and row[key]}
    found: dict[str, Json] = {"id": name, **words}
    meta = row.get("meta")
    numbers = {key: meta[key] for key in _NUMBERS if type(meta.get(key)) is int} if isinstance(meta, dict) else {}
    if numbers:
        found["meta"] = numbers
    if row.get("owned_by") in _DATED and type(row.get("created")) is int:
        found["created"] = row["created"]
    return {key: _kept(value) if isinstance(value, str) else value for key, value in found.items()}


def _kept(words: str) -> str:
    words = encodable(without_known(words))
    return words if len(words) <= _LONGEST else digest(words)


def _name(url: str, names: Sequence[str], asked: str) -> str:
    shown = ", ".join(name[:_LONGEST] for name in names[:_NAMED]) + (" and more" if len(names) > _NAMED else "")
    if asked:
        if names and asked not in names:
            raise HarnessError(f"{url} has no model {asked!r}; it has {shown}: choose with --served-model")
        return asked
    if len(names) != 1:
        raise HarnessError(f"{url} has {len(names)} models ({shown or 'none'}); name one with --served-model")
    return names[0]
