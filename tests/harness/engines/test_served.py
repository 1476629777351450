"""``--backend served`` against a server on this machine that holds the shipped model, healthy and not."""

import json
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from lm_eval.api.instance import Instance

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that tests.harness.served is found however pytest was started

from harness.api import HarnessError
from harness.commands.root import main
from harness.engines import open_engine
from harness.engines.lm import Batch, Completion, Failed, Prompt
from harness.engines.options import EngineConfig
from harness.engines.servers import client as module
from harness.engines.servers.client import Client
from harness.models.lookup import resolve
from harness.store.journal import Journal
from tests.harness.served import DRIPS, Server, serving

SMALL = ("--model", "builtin", "--preset", "builtin", "--tasks", "niah_mk,icl_coarse", "--lengths", "256", "--examples", "5")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)


def evaluate(output: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["eval", *SMALL, "--output", str(output), *more])


def samples(output: Path) -> pd.DataFrame:
    (path,) = output.glob("steps/eval-*/samples.parquet")
    return pd.read_parquet(path)


@pytest.fixture(scope="module")
def by_transformers(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    output = tmp_path_factory.mktemp("hf")
    result = evaluate(output)
    assert result.exit_code == 0, result.output
    return samples(output)


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_server_answers_as_transformers_do(tmp_path: Path, server: Server, by_transformers: pd.DataFrame, api: str) -> None:
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url, "--served-api", api)
    assert result.exit_code == 0, result.output
    assert len(server.answered) == 10
    assert all(body["model"] == "shipped" and body["temperature"] == 0 for body in server.answered)
    same = ["example_id", "metric", "score", "output", "prompt_tokens", "output_tokens", "finish_reason"]
    pd.testing.assert_frame_equal(samples(tmp_path)[same], by_transformers[same])


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_server_that_penalizes_repetition_by_itself_is_told_not_to(
    tmp_path: Path, server: Server, by_transformers: pd.DataFrame, api: str
) -> None:
    """llama-cpp-python divides what was there before by 1.1 unless it is asked not to: answers were no longer the model's own."""
    server.penalty = 1.3
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url, "--served-api", api)
    assert result.exit_code == 0, result.output
    assert samples(tmp_path)["output"].tolist() == by_transformers["output"].tolist()


@pytest.mark.parametrize("takes_ids", [True, False])
def test_a_server_that_refuses_unknown_words_is_asked_in_openais(
    tmp_path: Path, server: Server, by_transformers: pd.DataFrame, takes_ids: bool
) -> None:
    server.is_strict, server.takes_ids = True, takes_ids
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert samples(tmp_path)["output"].tolist() == by_transformers["output"].tolist()
    assert "refuses presence_penalty" in result.output
    assert 0 < server.refused < 20, "once it is known, nothing is sent in vain"


def test_faults_that_pass_are_sent_again(tmp_path: Path, server: Server, by_transformers: pd.DataFrame) -> None:
    server.faults = ["503", "429", "drop", "garbage", "no choices", "stall", "trickle"]
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url, "--timeout", "1.5")
    assert result.exit_code == 0, result.output
    assert not server.faults
    assert samples(tmp_path)["output"].tolist() == by_transformers["output"].tolist()


def test_an_answer_that_trickles_is_left(server: Server) -> None:
    """Something comes all the time, and never the end of it."""
    server.faults = ["trickle"]
    with pytest.raises(HarnessError, match="the answer stalled half-way"):
        Client(server.url, timeout=0.5, attempts=1).ask("POST", "/completions", {})


@pytest.mark.parametrize("fault", DRIPS)
def test_a_deadline_holds_for_headers_too(server: Server, fault: str) -> None:
    server.faults = [fault]
    begun = time.monotonic()
    with pytest.raises(HarnessError, match=r"stalled half-way|nothing came within 0\.5 s"):
        Client(server.url, timeout=0.5, attempts=1).ask("POST", "/completions", {})
    assert time.monotonic() - begun < 2


def test_a_server_that_takes_no_request_is_left() -> None:
    """It accepts the connection and reads nothing of a body that no buffer holds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout=0.5, attempts=1)
        begun = time.monotonic()
        with pytest.raises(HarnessError, match=r"nothing came within 0\.5 s"):
            client.ask("POST", "/completions", {"prompt": "x" * (32 << 20)})
    assert time.monotonic() - begun < 3


def test_a_connection_that_is_left_is_cut(server: Server) -> None:
    """Otherwise a thread would read ``100 Continue`` for as long as the server likes."""
    server.faults = ["continue"]
    with pytest.raises(HarnessError):
        Client(server.url, timeout=0.3, attempts=1).ask("POST", "/completions", {})
    deadline = time.monotonic() + 3
    while (under_way := [each for each in threading.enumerate() if each.name == "exchange"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not under_way


def test_an_interrupted_evaluation_waits_for_no_request(server: Server) -> None:
    """As Ctrl-C, which ends the loop over :meth:`generate` while others are under way."""
    server.faults = ["503", "503", *["stall"] * 100]
    engine = open_engine(resolve("builtin"), EngineConfig("served", "auto", "cpu", 4096, url=server.url, concurrency=4, timeout=60))
    backend = engine._backend
    requests = [Instance("generate_until", {}, (f"the {n}", {"until": [], "max_gen_toks": 4}), 0) for n in range(8)]
    prompts = [Prompt(f"e{n}", (1, 2, 3 + n), request) for n, request in enumerate(requests)]
    answers = backend.generate(prompts, Batch(4096))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(answers)
        assert time.monotonic() - begun < 1.5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("text", "message"), [("x" * 100_000, "the server wrote 100000 characters where 4 tokens were asked for"), ("a\ud800b", "")]
)
def test_texts_that_no_tokenizer_takes(server: Server, text: str, message: str) -> None:
    engine = open_engine(resolve("builtin"), EngineConfig("served", "auto", "cpu", 4096, url=server.url))
    prompt = Prompt("e", (1,), Instance("generate_until", {}, ("the", {"until": [], "max_gen_toks": 4}), 0))
    answer = {"choices": [{"text": text, "finish_reason": "stop"}]}
    if message:
        with pytest.raises(HarnessError, match=message):
            engine._backend._parse(answer, prompt)  # type: ignore[attr-defined]
    else:
        assert engine._backend._parse(answer, prompt).text == "a\ufffdb"  # type: ignore[attr-defined]


def test_a_server_that_says_nothing_is_left(server: Server) -> None:
    server.faults = ["stall"]
    with pytest.raises(HarnessError, match=r"nothing came within 0\.5 s"):
        Client(server.url, timeout=0.5, attempts=1).ask("POST", "/completions", {})


def test_a_server_that_dies_loses_nothing_that_was_finished(tmp_path: Path, server: Server) -> None:
    server.good_until = 4
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 2
    assert "no usable answer" in result.output
    assert "what is finished is kept" in result.output
    (journal,) = tmp_path.glob("steps/generate-*.work/generations.journal")
    assert len(journal.read_text().splitlines()) == 4
    server.good_until = None
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert len(server.answered) == 10, "what was finished is not asked again"


def test_no_server_at_all_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    result = evaluate(tmp_path, "--backend", "served", "--url", url)
    assert result.exit_code == 2
    (line,) = [line for line in result.output.splitlines() if line.startswith("harness: ")]
    assert url in line
    assert "refused" in line
    assert "vllm serve" in line


def test_a_refusal_is_not_repeated(tmp_path: Path, server: Server) -> None:
    server.faults = ["400"] * 40
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 2
    assert "status 400" in result.output
    assert "as asked" in result.output
    assert len(server.faults) >= 40 - 16, "only what was under way at the time"


@pytest.mark.parametrize(("fault", "reason"), [("garbage", "not JSON"), ("no choices", "something else than a completion")])
def test_garbage_without_end_is_an_error(tmp_path: Path, server: Server, fault: str, reason: str) -> None:
    server.faults = [fault] * 1000
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 2
    assert reason in result.output
    assert "\x1b" not in result.output, "what a server sends does not reach the terminal as it is"


def test_a_server_that_cuts_prompts_is_found_out(tmp_path: Path, server: Server) -> None:
    server.faults = ["cut"] * 40
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 2
    assert "the server read 50 of" in result.output


def test_the_key_goes_with_the_requests_and_into_no_file(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sesame-4711")
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert set(server.keys) == {"Bearer sesame-4711"}
    assert not any(b"sesame-4711" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_model_that_the_server_has_not_got(server: Server) -> None:
    config = EngineConfig("served", "auto", "cpu", 4096, url=server.url, served_model="other")
    with pytest.raises(HarnessError, match="has no model 'other'; it has shipped"):
        open_engine(resolve("builtin"), config)


@pytest.mark.parametrize("url", ["localhost:8000", "file:///etc/passwd", "http://"])
def test_an_url_that_is_none(url: str) -> None:
    with pytest.raises(HarnessError, match="is not the address of a server"):
        Client(url, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "served"], "--url go together"),
        (["--url", "http://localhost:1/v1"], "--url go together"),
        (["--tensor-parallel", "2"], "need --backend vllm"),
    ],
)
def test_settings_that_do_not_go_together(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = evaluate(tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not list(tmp_path.glob("steps/*")), "nothing was built"


def test_a_run_with_a_method_needs_more_than_one_model(tmp_path: Path) -> None:
    arguments = ["run", *SMALL, "--method", "retmask", "--backend", "served", "--url", "http://localhost:1/v1", "--output", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "harness eval for each" in result.output


@pytest.mark.parametrize(
    ("choice", "think_tokens", "said"),
    [
        ({"message": {"content": "<think>Hm."}, "finish_reason": "length"}, 0, 1),
        ({"message": {"content": "", "reasoning_content": "Hm."}, "finish_reason": "length"}, 0, 1),
        ({"message": {"content": "Oslo"}, "finish_reason": "stop"}, 0, 0),
        ({"message": {"content": "Oslo", "reasoning_content": "Hm."}, "finish_reason": "stop"}, 64, 0),
    ],
)
def test_thoughts_without_a_budget_are_said_once_with_the_first_answers(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: dict[str, object], think_tokens: int, said: int
) -> None:
    monkeypatch.setattr(server, "complete", lambda body: {"choices": [choice], "usage": {}})
    config = EngineConfig("served", "auto", "cpu", 4096, url=server.url, served_api="chat", concurrency=1, think_tokens=think_tokens)
    engine, notices = open_engine(resolve("builtin"), config), list[str]()
    engine.journal, engine.batch, engine.notice = Journal(tmp_path / "journal"), Batch(4096), notices.append
    engine.generate_until([Instance("generate_until", {}, (f"the {n}", {"until": [], "max_gen_toks": 4}), n) for n in range(3)])
    assert len(notices) == said
    assert all("--think-tokens" in notice for notice in notices)


def test_an_answer_that_is_none_is_asked_for_as_often_as_no_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times in all, with growing pauses, whichever of the two comes."""
    server.faults = ["no choices", "503"] * 20
    engine = open_engine(resolve("builtin"), EngineConfig("served", "auto", "cpu", 4096, url=server.url))
    prompt = Prompt("e", (1,), Instance("generate_until", {}, ("the", {"until": [], "max_gen_toks": 4}), 0))
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.1)
    begun = time.monotonic()
    with pytest.raises(HarnessError, match="in 5 attempts: it was something else than a completion"):
        list(engine._backend.generate([prompt], Batch(4096)))
    assert len(server.faults) == 40 - 5
    assert time.monotonic() - begun > 0.75 * 1.5


def test_a_server_says_when_to_come_again() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)
    assert 50 < module._retry_after(in_a_minute) <= 60
    assert module._retry_after("7.5") == 7.5
    for nothing in (None, "", "soon", "nan", "-1", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Xxx 2015", "Wed, 21 Oct 99999 07:28:00 GMT"):
        assert module._retry_after(nothing) == 0


def parsed(server: Server, api: str, answer: dict[str, object]) -> object:
    config = EngineConfig("served", "auto", "cpu", 4096, url=server.url, served_api=api)
    example = {"prompt": "where is the river " * 20, "answer_prefix": ""}
    document = {"id": "e", "text": example["prompt"], "example": json.dumps(example)}
    request = Instance("generate_until", document, (example["prompt"], {"until": [], "max_gen_toks": 24}), 0)
    engine = open_engine(resolve("builtin"), config)
    return engine._backend._parse(answer, engine._prompt("e", request))  # type: ignore[attr-defined]


def said(api: str, reason: str, **usage: int) -> dict[str, object]:
    text = {"message": {"content": "by the door"}} if api == "chat" else {"text": "by the door"}
    return {"choices": [{**text, "finish_reason": reason}], **({"usage": usage} if usage else {})}


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_prompt_that_a_server_cuts_is_noticed_with_either_api(server: Server, api: str) -> None:
    with pytest.raises(HarnessError, match=r"the server read 10 of \d+ prompt tokens: it cuts prompts"):
        parsed(server, api, said(api, "stop", prompt_tokens=10, completion_tokens=3))
    assert isinstance(parsed(server, api, said(api, "stop", prompt_tokens=500, completion_tokens=3)), Completion)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_an_answer_that_ends_before_its_budget_is_none(server: Server, api: str) -> None:
    found = parsed(server, api, said(api, "length", prompt_tokens=500, completion_tokens=10))
    assert isinstance(found, Failed)
    assert "ended an answer after 10 of 24 tokens: its context is full" in found.reason
    assert isinstance(parsed(server, api, said(api, "length", prompt_tokens=500, completion_tokens=24)), Completion)


def test_a_server_that_does_not_say_what_it_reads_is_said_once(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    config = EngineConfig("served", "auto", "cpu", 4096, url=server.url, served_api="chat")
    backend = open_engine(resolve("builtin"), config)._backend
    prompt = Prompt("e", (1,), Instance("generate_until", {}, ("the", {"until": [], "max_gen_toks": 4}), 0))
    for _ in range(3):
        backend._parse(said("chat", "stop"), prompt)  # type: ignore[attr-defined]
    assert capsys.readouterr().err.count("does not say how much of a prompt it reads") == 1


@pytest.mark.parametrize("how", ["finish", "refusal"])
def test_an_answer_that_is_withheld_is_one_incomplete_example(
    server: Server, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, refused = server.complete, []

    def complete(body: dict[str, Any]) -> dict[str, Any]:
        with server.lock:
            refused.append(body)
            first = len(refused) == 1
        return {"choices": [{"message": {}, "finish_reason": "content_filter"}]} if first else whole(body)

    if how == "finish":
        monkeypatch.setattr(server, "complete", complete)
    else:
        server.faults = ["400 content_filter"]
    command = ["eval", "--model", "builtin", "--tasks", "niah_mk", "--lengths", "256", "--examples", "3", "--output", str(tmp_path)]
    served = ["--backend", "served", "--url", server.url, "--served-api", "chat"]
    result = CliRunner().invoke(main, [*command, *served])
    assert result.exit_code == 3, result.output
    assert "1 examples were not answered (the server withheld an answer (content_filter))" in result.output
    again = CliRunner().invoke(main, [*command, *served])
    assert again.exit_code == 0, again.output


def test_prompts_go_as_text_where_a_server_takes_no_ids(tmp_path: Path, server: Server, by_transformers: pd.DataFrame) -> None:
    server.takes_ids = False
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert result.output.count("takes no token ids: prompts go as text") == 1
    assert 1 <= server.refused <= 16, "only what was under way at the time"
    assert all(isinstance(body["prompt"], str) for body in server.answered)
    assert samples(tmp_path)["output"].tolist() == by_transformers["output"].tolist()


def test_a_text_goes_without_the_token_that_the_server_puts_before_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.takes_ids = False
    backend: Any = open_engine(resolve("builtin"), EngineConfig("served", "auto", "cpu", 4096, url=server.url))._backend
    monkeypatch.setattr(backend.tokenizer, "_bos_token", "<s>", raising=False)
    monkeypatch.setattr(type(backend.tokenizer), "bos_token", "<s>", raising=False)
    sent: list[str] = []

    def complete(body: dict[str, Any]) -> dict[str, Any]:
        sent.append(body["prompt"])
        usage = {"prompt_tokens": 1 + len(body["prompt"].split()), "completion_tokens": 1}
        return {"choices": [{"text": "a", "finish_reason": "stop"}], "usage": usage}

    monkeypatch.setattr(server, "complete", complete)
    asked = [Instance("generate_until", {}, (f"<s> the river {n}", {"until": [], "max_gen_toks": 4}), n) for n in range(2)]
    prompts = [Prompt(f"e{n}", (1, 2, 3, 4), request) for n, request in enumerate(asked)]
    list(backend.generate(prompts[:1], Batch(4096)))
    list(backend.generate(prompts[1:], Batch(4096)))
    assert sent == ["<s> the river 0", " the river 0", " the river 1"]


@pytest.mark.parametrize(
    ("counts", "more", "reason"), [(True, [5], r"counts \d+ tokens in a prompt of \d+"), (False, [], "does not say how many tokens")]
)
def test_text_whose_tokens_are_others_is_refused_at_once(
    tmp_path: Path, server: Server, counts: bool, more: list[int], reason: str
) -> None:
    server.takes_ids, server.counts, server.puts_first = False, counts, more
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 2
    assert re.search(reason, result.output), result.output
    assert "--served-api chat" in result.output
    assert server.refused <= 16, "one each, of those under way at the time"


def test_every_text_has_to_have_as_many_tokens(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.takes_ids = False
    complete = server.complete

    def later(body: dict[str, Any]) -> dict[str, Any]:
        if len(server.answered) == 5:
            server.puts_first = [5]
        return complete(body)

    monkeypatch.setattr(server, "complete", later)
    result = evaluate(tmp_path, "--backend", "served", "--url", server.url)
    assert result.exit_code == 2
    assert "--served-api chat" in result.output
