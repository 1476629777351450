"""Another model behind the same address is another evaluation; a restart is not, and directories of before are taken as they are."""

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that tests.harness.served is found however pytest was started

from harness.commands.root import main
from harness.engines.options import EngineConfig
from harness.engines.servers import client, identity
from harness.evaluation import evaluate as module
from tests.harness.served import Server, serving

SMALL = ("--model", "builtin", "--preset", "builtin", "--tasks", "icl_coarse", "--lengths", "256", "--examples", "2", "--yes")
#: A row of ``/v1/models`` as each kind of server writes it, when it was started and after a restart; and with another model in it.
VLLM = {"id": "m", "object": "model", "created": 1, "owned_by": "vllm", "root": "org/a", "parent": None, "max_model_len": 4096}
LLAMA = {"id": "m", "object": "model", "created": 1, "owned_by": "llamacpp", "meta": {"n_params": 135, "size": 270, "n_ctx": 512}}
OLLAMA = {"id": "m:latest", "object": "model", "created": 1_700_000_000, "owned_by": "library"}
TGI = {"id": "org/a", "object": "model", "created": 0, "owned_by": "org/a"}
PYTHON = {"id": "m", "object": "model", "owned_by": "me", "permissions": []}
OPENAI = {"id": "m-2026-01-01", "object": "model", "created": 1_700_000_000, "owned_by": "system"}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.01)


def evaluate(output: Path, url: str, *more: str) -> Result:
    return CliRunner().invoke(main, ["eval", *SMALL, "--backend", "served", "--url", url, "--output", str(output), *more])


def known(monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], asked: str = "") -> dict[str, Any]:
    monkeypatch.setattr(client.Client, "models", lambda self: [{"id": "other"}, row] if asked else [row])
    return identity.identity(EngineConfig("served", url="http://localhost:1/v1", served_model=asked))


@pytest.mark.parametrize(
    ("row", "restarted", "other"),
    [
        (VLLM, {"created": 9, "max_model_len": 512, "permission": [{"id": "modelperm-2"}]}, {"root": "org/b"}),
        (VLLM, {"created": 9}, {"parent": "base"}),
        (LLAMA, {"created": 9, "meta": {"n_params": 135, "size": 270, "n_ctx": 4096}}, {"meta": {"n_params": 135, "size": 140}}),
        (OLLAMA, {}, {"created": 1_800_000_000}),
        (TGI, {"created": 9}, {"id": "org/b"}),
        (PYTHON, {"permissions": [1]}, {"id": "n"}),
        (OPENAI, {"created": 9}, {"id": "m-2027-01-01"}),
    ],
)
def test_what_a_restart_leaves_and_another_model_changes(
    monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], restarted: dict[str, Any], other: dict[str, Any]
) -> None:
    before = known(monkeypatch, row)
    assert known(monkeypatch, row | restarted) == before
    assert known(monkeypatch, row | other) != before
    assert known(monkeypatch, row, row["id"]) == before, "named, among others"


def test_who_tells_no_more_than_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [identity.is_name_alone(known(monkeypatch, row)) for row in (VLLM, LLAMA, OLLAMA, TGI, PYTHON, OPENAI)]
    assert alone == [False, False, False, True, True, True]


@pytest.mark.parametrize("row", [{"id": "\ud800", "root": 7, "meta": [1]}, {"id": "m", "root": "x" * 9999, "meta": {"size": "a"}}])
def test_rows_that_nobody_would_write(monkeypatch: pytest.MonkeyPatch, row: dict[str, Any]) -> None:
    found = known(monkeypatch, row)
    assert len(json.dumps(found).encode()) < 200
    assert set(found) <= {"id", "root"}


def test_another_model_behind_the_same_address_is_asked_anew(tmp_path: Path, server: Server) -> None:
    server.about = dict(VLLM)
    first = evaluate(tmp_path, server.url)
    assert first.exit_code == 0, first.output
    assert "no more than this name" not in first.output
    server.about = {**VLLM, "created": 99, "max_model_len": 512}
    again = evaluate(tmp_path, server.url)
    assert len(server.answered) == 2, "restarted, the same model"
    assert "reused" in again.output
    server.about = {**VLLM, "root": "org/b"}
    other = evaluate(tmp_path, server.url)
    assert other.exit_code == 0, other.output
    assert len(server.answered) == 4
    assert re.search(
        r"has another model now: m \(.*root org/b.*\); the answers here are of m \(.*root org/a", " ".join(other.output.split())
    )
    server.about = dict(VLLM)
    evaluate(tmp_path, server.url)
    assert len(server.answered) == 4, "both are kept"


def test_a_name_alone_is_said_and_belongs_to_the_key(tmp_path: Path, server: Server) -> None:
    first = evaluate(tmp_path, server.url)
    assert first.output.count("no more than this name") == 1
    server.about = {"id": "another"}
    evaluate(tmp_path, server.url)
    assert len(server.answered) == 4


def test_answers_of_before_are_taken_and_said(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.about = dict(VLLM)
    with monkeypatch.context() as before:  # as steps were named when nothing of the server was kept
        before.setattr(module, "with_server", lambda run, step, inputs, engine, version: dict(inputs))
        assert evaluate(tmp_path, server.url).exit_code == 0
    result = evaluate(tmp_path, server.url)
    assert result.exit_code == 0, result.output
    assert len(server.answered) == 2
    assert "kept before a server's model was" in result.output


def test_what_is_finished_is_shown_without_its_server(tmp_path: Path, server: Server) -> None:
    server.about = dict(VLLM)
    assert evaluate(tmp_path, server.url).exit_code == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    result = evaluate(tmp_path, nobody)
    assert result.exit_code == 0, result.output
    assert re.search(r"no server answers; what is finished here is of m \(.*root org/a", result.output)
    result = evaluate(tmp_path, nobody, "--examples", "3")
    assert result.exit_code == 2
    assert "no usable answer" in result.output
    planned = CliRunner().invoke(main, ["plan", *SMALL[:-1], "--backend", "served", "--url", nobody, "--output", str(tmp_path)])
    assert planned.exit_code == 0, planned.output
