"""Servers of six kinds, each in its own shape: who takes token ids; thoughts, ends and refusals; whose models are told apart."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that tests.peers is found however pytest was started

from harness.api import HarnessError
from harness.engines import open_engine
from harness.engines.lm import Batch, Completion, Failed, Prompt
from harness.engines.options import EngineConfig
from harness.engines.servers.identity import identity, is_name_alone
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from tests.peers.servers import ANSWER, PEERS, THOUGHTS, PeerServer, peer_serving, reply

MODEL = str(Path(__file__).parents[1] / "old_run" / "model")
#: What docs/engines.md says of them.
TAKE_IDS = {"vllm", "llama.cpp", "openai"}
TELL_MORE = {"vllm", "llama.cpp", "ollama"}


@pytest.fixture(params=sorted(PEERS))
def server(request: pytest.FixtureRequest) -> Iterator[PeerServer]:
    tokenizer = load_tokenizer(resolve(MODEL))
    with peer_serving(PEERS[request.param], lambda text: len(tokenizer(text)["input_ids"])) as running:
        yield running


def opened(server: PeerServer, api: str) -> Any:
    return open_engine(resolve(MODEL), EngineConfig("served", "auto", "cpu", 4096, url=server.url, served_api=api, concurrency=1))


def prompts(engine: Any, words: int, count: int = 2) -> list[Prompt]:
    asked = [Instance("generate_until", {}, (f"{n} " + "the " * words, {"until": [], "max_gen_toks": 3}), n) for n in range(count)]
    return [Prompt(f"e{n}", tuple(engine._backend.tok_encode(request.args[0])), request) for n, request in enumerate(asked)]


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_answers_are_read(server: PeerServer, api: str) -> None:
    engine = opened(server, api)
    found = [each for answers in engine._backend.generate(prompts(engine, 20), Batch(4096)) for each in answers.values()]
    assert [(each.text, each.ended) for each in found] == [(ANSWER, True)] * 2
    ids = [isinstance(body.get("prompt"), list) for body in server.requests]
    name = next(name for name, peer in PEERS.items() if peer is server.peer)
    expected = [] if api == "chat" else [True, True] if name in TAKE_IDS else [True, False, False]
    assert [each for each in ids if api == "completions"] == expected, f"{name}: docs/engines.md says otherwise"


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_prompt_that_is_too_long_is_refused_at_once(server: PeerServer, api: str) -> None:
    if server.peer.too_long[1] == "{}":
        pytest.skip("this one cuts prompts")
    engine = opened(server, api)
    with pytest.raises(HarnessError, match=r"refused the request with status 4|takes no token ids"):
        list(engine._backend.generate(prompts(engine, 600, 1), Batch(4096)))
    assert len(server.requests) <= 3, "ids, and their text"


@pytest.mark.parametrize("name", sorted(PEERS))
def test_ends_and_thoughts(name: str) -> None:
    peer = PEERS[name]
    with peer_serving(peer, len) as server:
        engine = opened(server, "chat")
        (prompt,) = prompts(engine, 20, 1)

        def parse(**more: Any) -> Any:
            return engine._backend._parse(reply(peer, True, 400, **more), prompt)

        assert parse(thinks=True).thoughts == (THOUGHTS if peer.thoughts else "")
        cut, withheld = parse(reason="length"), parse(reason="content_filter")
        assert isinstance(cut, Completion)
        assert not cut.ended
        assert isinstance(withheld, Failed)


def test_what_tells_its_model_from_another(server: PeerServer) -> None:
    name = next(name for name, peer in PEERS.items() if peer is server.peer)
    known = identity(EngineConfig("served", url=server.url))
    assert known["id"] == server.peer.row["id"]
    assert is_name_alone(known) == (name not in TELL_MORE)
