"""Whose answers a step of a served evaluation holds: its key has what the server says of its model, so that another one starts anew.

Steps of before that was kept know nothing of their server. They are taken for this one's, which a line says.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import Json
from harness.engines.options import EngineConfig
from harness.engines.servers.client import NoAnswerError
from harness.store.steps import MANIFEST, begun

if TYPE_CHECKING:
    from harness.context import Run

_SERVER: Final = "server"


def with_server(run: "Run", step: str, inputs: Mapping[str, Json], engine: EngineConfig, version: int) -> dict[str, Json]:
    """Add to a step's inputs what the server says of its model; nothing for other engines.

    Where no server answers, a finished step that only one server's model can have made is taken. NoAnswerError if there is none.
    """
    plain = dict(inputs)
    if engine.backend != "served":
        return plain
    folders = run.relatives(step, {**plain, _SERVER: None}, apart_from=_SERVER, version=version)
    try:
        known = run.server(engine)
    except NoAnswerError as error:
        return _without_answer(run, plain, _finished(folders), error)
    if not known:  # a plan's, before the server is there
        finished = [_server(folder) for folder in _finished(folders)]
        return _joined(plain, finished[0]) if len(finished) == 1 else {**plain, _SERVER: {}}
    servers = [_server(folder) for folder in folders]
    if known in servers:
        return {**plain, _SERVER: known}
    if None in servers:
        run.say(f"the answers here were kept before a server's model was: they are taken for those of {known['id']} at {engine.url}")
        return plain
    if servers:
        before = _told(servers[-1])
        run.say(f"{engine.url} has another model now: {_told(known)}; the answers here are of {before}, so all are asked anew")
    return {**plain, _SERVER: known}


def _without_answer(run: "Run", plain: dict[str, Json], finished: list[Path], error: NoAnswerError) -> dict[str, Json]:
    if len(finished) != 1:
        raise error
    server = _server(finished[0])
    run.say(f"no server answers; what is finished here is of {_told(server)}")
    return _joined(plain, server)


def _finished(folders: Iterable[Path]) -> list[Path]:
    return [folder for folder in folders if (folder / MANIFEST).is_file()]


def _server(folder: Path) -> Json:
    inputs = begun(folder).get("inputs")
    return inputs.get(_SERVER) if isinstance(inputs, dict) else None


def _joined(plain: dict[str, Json], server: Json) -> dict[str, Json]:
    return plain if server is None else {**plain, _SERVER: server}


def _told(server: Json) -> str:
    if not isinstance(server, dict):
        return "a model that was not kept"
    more = [f"{key} {value}" for key, value in server.items() if key != "id"]
    return f"{server.get('id')}" + (f" ({', '.join(more)})" if more else "")
