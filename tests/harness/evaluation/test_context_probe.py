"""``--probe-context``: a server that cuts prompts is found out before anything is scored, whether or not it says what it reads."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that tests.harness.served is found however pytest was started

from harness.commands.root import main
from harness.engines.servers import client
from tests.harness.served import Server, serving

SMALL = ("--model", "builtin", "--preset", "builtin", "--tasks", "icl_coarse", "--lengths", "256,512", "--examples", "1", "--yes")
CODE = re.compile(r"The code for the \S+ \S+ is (\d{6})\.")


class Reader(Server):
    """Reads the last ``context`` tokens of a prompt, and finds a code in them if it is no more than ``sight`` tokens back."""

    context = sight = 1 << 20

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][0]["content"] if "messages" in body else self.tokenizer.decode(body["prompt"])
        ids = self.tokenizer(text)["input_ids"][-self.context :]
        self.answered.append({**body, "read": len(ids)})
        found = CODE.search(self.tokenizer.decode(ids[-self.sight :]).replace(" .", "."))
        said = " ".join(found[1]) if found else "It is not said."
        usage = {"usage": {"prompt_tokens": len(ids), "completion_tokens": 4}} if self.counts else {}
        choice = {"message": {"content": said}} if "messages" in body else {"text": said}
        return {"choices": [{**choice, "finish_reason": "stop"}], **usage}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.01)
    with serving(Reader) as running:
        assert isinstance(running, Reader)
        yield running


def evaluate(output: Path, url: str, api: str) -> Result:
    where = ("--backend", "served", "--url", url, "--served-api", api, "--output", str(output), "--probe-context")
    return CliRunner().invoke(main, ["eval", *SMALL, *where])


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_prompt_that_is_read_whole_is_said(tmp_path: Path, server: Reader, api: str) -> None:
    server.counts = False
    result = evaluate(tmp_path, server.url, api)
    assert result.exit_code == 0, result.output
    probe, *asked = server.answered
    assert re.search(r"--probe-context: .* gave back what stands at the start of a prompt of \d+ tokens", result.output)
    assert len(asked) == 2
    assert probe["read"] >= max(body["read"] for body in asked), "as long as the suite's longest"
    if api == "completions":
        assert 512 - 2 <= len(probe["prompt"]) + probe["max_tokens"] <= 512, "and its answer fits the length"


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_server_that_cuts_scores_nothing(tmp_path: Path, server: Reader, api: str, counts: bool) -> None:
    server.counts, server.context = counts, 256
    result = evaluate(tmp_path, server.url, api)
    assert result.exit_code == 2
    (line,) = [line for line in result.output.splitlines() if line.startswith("harness: ") and "probe" in line]
    assert "it cuts prompts" in line
    assert not list(tmp_path.glob("steps/generate-*"))


def test_a_model_that_finds_no_code_tells_nothing(tmp_path: Path, server: Reader) -> None:
    server.sight = 8
    counted = evaluate(tmp_path, server.url, "completions")
    assert counted.exit_code == 0, counted.output
    assert "counts all it was sent" in counted.output
    server.counts = False
    result = evaluate(tmp_path, server.url, "completions")
    assert result.exit_code == 2
    assert "nobody can tell" in result.output


def test_other_engines_are_not_probed(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["eval", *SMALL, "--probe-context", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "hf and vllm cut none" in result.output
