"""Whatever answers at a server's address: completions, or one line, in bounded time, memory and number of requests."""

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance

from harness.api import HarnessError
from harness.commands.root import main
from harness.engines import open_engine
from harness.engines.exchange import exchange
from harness.engines.lm import Batch, HarnessLM
from harness.engines.options import EngineConfig
from harness.engines.served import Served
from harness.engines.servers import client
from harness.engines.servers.client import Client, NoAnswerError, PassingError, RefusedError
from harness.engines.servers.identity import identity
from harness.models.lookup import resolve
from harness.store.journal import Journal
from tests.fuzz.answering import Reply, Server, answering, completion, completions, replies, reply
from tests.fuzz.hostile import fuzz, seldom, small, survives, within

ROW = {"id": "m", "object": "model", "owned_by": "x", "root": "y", "max_model_len": 4096, "meta": {"size": 1}}
MODELS = {"object": "list", "data": [ROW]}
SOUND = Reply(reply(json.dumps(MODELS).encode()))
APIS = st.sampled_from(["completions", "chat"])
TIMEOUT = 0.25
#: Times that a request is sent, and those with the prompt's text where its token ids are refused.
ATTEMPTS, AS_TEXT = 5, 2


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="fuzz-served-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with answering() as running, pytest.MonkeyPatch.context() as patch:

        def counted(*arguments: Any) -> Any:
            running.sent += 1
            return exchange(*arguments)

        patch.setattr(client, "exchange", counted)
        patch.setattr(client, "_FIRST_PAUSE", 0.001)
        patch.setattr(client, "_LONGEST_PAUSE", 0.01)
        patch.setenv("OPENAI_API_KEY", "sk-this-is-the-key-0123456789")
        yield running


@cache
def engine(url: str, api: str, thinking: int) -> HarnessLM:
    """An engine at this address, opened while it was sound."""
    config = EngineConfig(
        "served", "auto", "cpu", 4096, url=url, served_api=api, served_model="m", timeout=60, concurrency=2, think_tokens=thinking
    )
    return open_engine(resolve("builtin"), config)


def opened(server: Server, api: str, thinking: int, timeout: float = TIMEOUT) -> HarnessLM:
    server.says(SOUND)
    lm = engine(server.url, api, thinking)
    backend: Any = lm._backend
    backend._client = Client(server.url, timeout)
    return lm


def request(number: int) -> Instance:
    """One of our suite's."""
    text = f"{number} the river"
    doc = {"id": f"e{number}", "text": text, "example": json.dumps({"prompt": text, "answer_prefix": ""})}
    settings = {"until": ["\n"], "max_gen_toks": 4, "do_sample": False, "temperature": 0.0}
    return Instance("generate_until", doc, (text, settings), 0)


@fuzz
@given(st.lists(replies(st.just(MODELS)), min_size=1, max_size=3), st.sampled_from(["", "m", "\x1b[31m"]))
@example([Reply(reply(b'{"data": [{"id": "' + b"x" * 100_000 + b'"}, {"id": {}}]}'))], "")
@example([Reply(reply(b'{"data": [{"id": "\\ud800"}]}'))], "")
def test_names_of_models(server: Server, found: list[Reply], asked: str) -> None:
    server.says(*found)
    asked_for = EngineConfig("served", url=server.url, served_model=asked, timeout=TIMEOUT)
    with small():
        known = survives(lambda: identity(asked_for), HarnessError, NoAnswerError, RefusedError)
    assert known is None or len(json.dumps(known).encode()) < 4096
    assert server.sent <= ATTEMPTS


def bomb(times: int) -> Reply:
    """A gigabyte and more of zeros, packed so often."""
    data = gzip.compress(bytes(1 << 20)) * 1200
    for _ in range(times - 1):
        data = gzip.compress(data)
    return Reply(reply(data, "200 OK", ("Content-Encoding", ", ".join(["gzip"] * times))))


def answers(api: str) -> st.SearchStrategy[list[Reply]]:
    return st.lists(replies(completions(api)), min_size=1, max_size=3)


@fuzz
@given(APIS.flatmap(lambda api: st.tuples(st.just(api), answers(api))), st.sampled_from([0, 0, 8]))
@example(("completions", [bomb(1)]), 0)
@example(("completions", [bomb(2)]), 0)
@example(("completions", [Reply(reply(b"[" + b"[]," * (5 << 20) + b"[]]"))]), 0)
@example(("chat", [Reply(reply(json.dumps(completion("chat", "a\ud800b")).encode()))]), 8)
@example(("chat", [Reply(reply(json.dumps(completion("chat", None, reasoning_content="a\udfff")).encode()))]), 8)
@example(("completions", [Reply(reply(b'{"choices": []}')), Reply(reply(b"", "503 Busy"))] * 20), 0)
@example(("completions", [Reply(reply(b"", "503 Busy", ("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT")))]), 0)
@example(("completions", [Reply(reply(b'{"error": "Bearer sk-this-is-the-key-0123456789"}', "401 Who"))]), 0)
def test_answers(server: Server, folder: Path, found: tuple[str, list[Reply]], thinking: int) -> None:
    lm = opened(server, found[0], thinking)
    journal = folder / "generations.journal"
    journal.unlink(missing_ok=True)
    lm.journal, lm.batch, lm.failed = Journal(journal), Batch(4096), {}
    server.says(*found[1])

    said: list[str] = []

    def ask() -> list[str]:
        try:
            return lm.generate_until([request(0), request(1)])
        except HarnessError as error:
            said.append(str(error))
            raise

    with small():
        texts = survives(ask, HarnessError)
    assert "sk-this-is" not in "".join(said)
    assert server.sent <= 2 * (ATTEMPTS + AS_TEXT)
    kept = Journal(journal).finished
    assert kept == lm.journal.finished
    for each in kept.values():
        (each.output + each.thinking).encode()
        assert "sk-this-is" not in each.output + each.thinking
    if texts is not None:
        assert texts == [kept[name].output if name in kept else "" for name in ("e0", "e1")]


@fuzz
@given(APIS, st.data())
def test_answers_that_are_read(server: Server, api: str, data: st.DataObject) -> None:
    """Without a connection, so that there are more of them."""
    from harness.engines.lm import Completion, Prompt

    backend: Any = opened(server, api, 0)._backend
    assert isinstance(backend, Served)
    prompt = Prompt("e0", (1, 2), request(0))
    found = json.loads(json.dumps(data.draw(completions(api))))
    read = survives(lambda: backend._parse(found, prompt), HarnessError, PassingError)
    if isinstance(read, Completion):
        (read.text + read.thoughts).encode()
        assert all(type(token) is int for token in read.ids)


@seldom
@given(APIS, st.lists(replies(completions("chat")), min_size=1, max_size=6), st.integers(0, 9))
def test_evaluations(server: Server, folder: Path, api: str, found: list[Reply], sound: int) -> None:
    """From the command line; the first answers are sound."""
    good = Reply(reply(json.dumps(completion(api, "Rome")).encode()))
    server.says(SOUND, *[good] * sound, *found)
    shutil.rmtree(folder / "run", ignore_errors=True)
    asked = ["--model", "builtin", "--preset", "builtin", "--tasks", "niah_mk", "--lengths", "256", "--examples", "4", "--yes"]
    where = ["--backend", "served", "--url", server.url, "--served-api", api, "--timeout", str(TIMEOUT), "--output", str(folder / "run")]
    with within(60), small():
        result = CliRunner().invoke(main, ["eval", *asked, *where])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 2, 3), (result.exit_code, result.stderr)
    assert "sk-this-is" not in result.output
    if result.exit_code:
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("harness: ")]
        assert "nobody foresaw" not in line


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_sound_answers_are_taken(server: Server, folder: Path, api: str) -> None:
    """So that the other tests do not all end at the first refusal."""
    lm = opened(server, api, 0, timeout=60)
    (folder / "sound.journal").unlink(missing_ok=True)
    lm.journal, lm.batch = Journal(folder / "sound.journal"), Batch(4096)
    server.says(Reply(reply(json.dumps(completion(api, "the Po")).encode())))
    assert lm.generate_until([request(0), request(1)]) == ["the Po", "the Po"]
