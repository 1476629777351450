"""Keys and passwords are neither printed nor stored."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.root import main
from harness.screen.redact import redacted

KEY = "sk-0123456789abcdef"
PASSWORD = "correct-horse"
SIGNATURE = "4f3c2b1a"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:pass@word@h.example/v1", "http://[redacted]@h.example/v1"),
        ("GET https://h/x?X-Amz-Signature=abc&n=1#top", "GET https://h/x?X-Amz-Signature=[redacted]&n=1#top"),
        ("/v1?n=1&access_token=abc", "/v1?n=1&access_token=[redacted]"),
        ('{"Authorization": "Bearer abcdef1"}', '{"Authorization": "[redacted]"}'),
        ("authorization: Basic YW5uOnBhc3M=", "authorization: [redacted]"),
        ("your key Bearer abcdef123 is wrong", "your key Bearer [redacted] is wrong"),
        ("token hf_abcdefghijklmnopqrstuvwx", "token [redacted]"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text", ["the bearer of certificates", "12 tokens: 3", "a@b.example", "key=value", "see https://h.example/a?n=1&m=2"]
)
def test_other_text_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_known_secret_is_hidden_however_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", 'horse "battery"\nstaple/ü')
    monkeypatch.setenv("SOME_KEY", "EMPTY")
    for form in (
        'horse "battery"\nstaple/ü',
        json.dumps('horse "battery"\nstaple/ü'),
        "horse%20%22battery%22%0Astaple%2F%C3%BC",
        "staple/ü",
    ):
        assert "staple" not in redacted(f"x {form} y")
    assert redacted("EMPTY") == "EMPTY"


class Echoing(http.server.BaseHTTPRequestHandler):
    """Refuses, and repeats what it was sent."""

    def do_GET(self) -> None:
        body = json.dumps(
            {"error": {"message": "bad key", "headers": dict(self.headers), "padding": "x" * 150, "again": self.headers["Authorization"]}}
        )
        self.send_response(401)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echoing() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echoing)
    threading.Thread(target=server.serve_forever).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def evaluate(root: Path, url: str) -> Result:
    command = ["eval", "--model", "builtin", "--tasks", "niah_mk", "--lengths", "256", "--examples", "1", "--output", str(root)]
    return CliRunner().invoke(main, [*command, "--backend", "served", "--url", url])


def everything(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


def test_a_refusal_that_repeats_the_key_does_not_show_it(tmp_path: Path, echoing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("sys.argv", ["harness", "eval", "--url", f"http://ann:{PASSWORD}@{echoing}/v1?sig={SIGNATURE}"])
    result = evaluate(tmp_path, f"http://ann:{PASSWORD}@{echoing}/v1?sig={SIGNATURE}")
    assert result.exit_code == 2
    assert "refused the request with status 401" in result.stderr
    assert (tmp_path / "command.json").exists()
    for said in (result.output, everything(tmp_path).decode(errors="replace")):
        for secret in (KEY, KEY[:12], PASSWORD, SIGNATURE):
            assert secret not in said


def test_half_a_key_is_not_left_where_an_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.engines.servers.client import excerpt

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for blanks in range(380, 405):  # which make one in the line that is shown
        assert KEY[:6] not in excerpt(b" " * blanks + KEY.encode())


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY} {KEY}", f"{KEY}\u2026"])
def test_a_key_that_cannot_be_a_header_is_one_line_without_it(
    tmp_path: Path, echoing: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    result = evaluate(tmp_path, f"http://{echoing}/v1")
    assert result.exit_code == 2
    assert result.stderr.strip().splitlines()[-1].startswith("harness: OPENAI_API_KEY holds a line end, a blank or a letter")
    assert KEY not in result.output


@pytest.mark.parametrize("url", ["http://[::1", "http://h:99999999/v1", "http://:8000"])
def test_an_address_that_is_none_is_one_line(tmp_path: Path, url: str) -> None:
    result = evaluate(tmp_path, url)
    assert (result.exit_code, "is not the address of a server" in result.stderr) == (2, True)
