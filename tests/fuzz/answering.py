"""A server that answers with the bytes that it is told to, and what such bytes may be: statuses, headers, encodings, bodies, delays."""

import gzip
import json
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from hypothesis import strategies as st

from tests.fuzz.hostile import SNIPPETS, changed, damaged, numbers, texts


@dataclass(frozen=True)
class Reply:
    """What is sent for one request."""

    data: bytes
    pieces: int = 1
    """In how many parts."""
    pause: float = 0.0
    """Seconds before each part."""


class Server(ThreadingHTTPServer):
    """Answers each request with the next of ``replies``; the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        self.replies: Sequence[Reply] = ()
        self.answered = 0
        self.sent = 0
        """Requests that were sent, which may still be on their way when others are."""
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def says(self, *replies: Reply) -> None:
        self.replies, self.answered, self.sent = replies, 0, 0

    def next(self) -> Reply:
        with self._lock:
            self.answered += 1
            return self.replies[min(self.answered, len(self.replies)) - 1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has left."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        reply = self.server.next()
        size = max(1, -(-len(reply.data) // reply.pieces))
        for at in range(0, max(1, len(reply.data)), size):
            time.sleep(reply.pause)
            self.wfile.write(reply.data[at : at + size])
            self.wfile.flush()
        self.close_connection = True

    do_GET = _answer  # noqa: N815  # what the library calls
    do_POST = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def answering() -> Iterator[Server]:
    """Such a server, up for the length of the block."""
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def reply(body: bytes, status: str = "200 OK", *headers: tuple[str, str], length: str | None = "") -> bytes:
    """A whole answer; ``length`` is its Content-Length, where it is not the right one, and None for none."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    if length is not None:
        lines.append(f"Content-Length: {length or len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def completion(api: str, text: Any, **more: Any) -> dict[str, Any]:
    """As a sound server answers."""
    said = {"message": {"role": "assistant", "content": text, **more}} if api == "chat" else {"text": text}
    choice = {"index": 0, **said, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 512, "completion_tokens": 2, "total_tokens": 514}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


_TEXTS: Final = st.one_of(
    texts,
    st.sampled_from(
        [None, "", "\ud800", "a\udfffb", "</think>", "<think>", "<think>x</think>y", "x" * 5000, "\0", 5, [], {}, True, [{"text": "x"}]]
    ),
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=2),
)
_REASONS: Final = st.one_of(
    st.sampled_from(["stop", "length", "content_filter", "tool_calls", None, "", 5, [], {}, "eos", "\ud800"]), texts
)
_USAGES: Final = st.one_of(
    st.none(),
    st.fixed_dictionaries({"prompt_tokens": st.one_of(numbers, texts, st.booleans()), "completion_tokens": st.one_of(numbers, st.none())}),
    numbers,
)
_RETRY: Final = st.sampled_from(
    ["0", "0.001", "-1", "nan", "inf", "1e308", "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Wed, 99 Xxx 2015", "x",
     "1" * 5000, "0, 0", "٣", "Wed, 21 Oct 2015 07:28:00", "Wed, 21 Oct 2015 07:28:00 -9999", "Wed, 21 Oct 99999 07:28:00 GMT", "", " "]
)  # fmt: skip
_STATUSES: Final = st.sampled_from(
    ["200 OK"] * 8
    + ["200", "201 Created", "204 No Content", "206 Part", "304 Not Modified", "301 Moved", "307 Moved", "400 Bad", "401 Who", "404 No"]
    + [
        "408 Late",
        "413 Large",
        "429 Slow",
        "429 Slow",
        "500 Ouch",
        "503 Busy",
        "503 Busy",
        "529 Full",
        "999 x",
        "099 x",
        "2x0",
        "-200 x",
        "100 Continue",
        "101 Switch",
    ]
)
_MOVED: Final = st.sampled_from(["/", "http://127.0.0.1:1/", "file:///etc/passwd", "http://[", "\\\\x", "//169.254.169.254/"])


@st.composite
def bodies(draw: st.DrawFn, valid: Any) -> bytes:
    """JSON of whatever sort, or what was JSON once."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(damaged(json.dumps(valid).encode()))
    if kind == 1:
        return draw(
            st.sampled_from([b"", b"null", b"[]", b"{}", b'"x"', b"5", b"[" * 100_000, b"\xff\xfe{\0}\0", b"data: {}\n\n", b"<html>"])
        )
    found = json.dumps(draw(changed(valid)), ensure_ascii=draw(st.booleans()))
    return found.encode(draw(st.sampled_from(["utf-8"] * 6 + ["utf-16", "utf-32"])), "surrogatepass")


@st.composite
def completions(draw: st.DrawFn, api: str) -> dict[str, Any]:
    """An answer that has the right shape, and anything in it."""
    more = draw(
        st.sampled_from([{}, {}, {"reasoning_content": "because"}, {"reasoning": "so"}, {"reasoning_content": None}, {"reasoning": 5}])
    )
    found = completion(api, draw(_TEXTS), **(more if api == "chat" else {}))
    if draw(st.booleans()):
        found["usage"] = draw(_USAGES)
    if draw(st.integers(0, 2)) == 0:
        found["choices"][0]["finish_reason"] = draw(_REASONS)
    if draw(st.integers(0, 5)) == 0:
        found["choices"] = draw(st.sampled_from([[], [None], [5], {}, "x", None, [[]], found["choices"] * 3]))
    if draw(st.integers(0, 5)) == 0:
        found["error"] = draw(st.one_of(texts, st.just({"message": "x", "code": 5})))
    return found


@st.composite
def replies(draw: st.DrawFn, valid: st.SearchStrategy[Any]) -> Reply:
    """Whatever a server, a gateway or somebody else at that port may send."""
    body = draw(bodies(draw(valid)))
    headers = [
        ("Content-Type", draw(st.sampled_from(["application/json", "application/json; charset=utf-16", "text/html; charset=x", "\0"])))
    ]
    status = draw(_STATUSES)
    if status[0] != "2" and draw(st.booleans()):
        headers.append(("Retry-After", draw(_RETRY)))
    if status[0] == "3":
        headers.append(("Location", draw(_MOVED)))
    length: str | None = ""
    match draw(st.integers(0, 11)):
        case 0:
            length = draw(
                st.sampled_from(
                    ["0", "-1", "x", "1e3", "99999999999999999999", str(len(body) + 5), str(max(0, len(body) - 5)), "5, 5", None]
                )
            )
        case 1:
            headers.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked, x", "x"]))))
            size = draw(st.sampled_from([f"{len(body):x}", "-5", "x", "f" * 30, "0", "5;x=y"]))
            body, length = f"{size}\r\n".encode() + body + draw(st.sampled_from([b"\r\n0\r\n\r\n", b"\r\n", b""])), None
        case 2:
            name, pack = draw(st.sampled_from(sorted(_PACKINGS.items())))
            headers.append(("Content-Encoding", name))
            body = draw(damaged(pack(body))) if draw(st.booleans()) else pack(body)
        case 3:
            headers += [
                (draw(st.sampled_from(["X", "Set-Cookie", "Content-Length", "", " ", "é"])), draw(st.sampled_from(SNIPPETS))[:20])
            ] * 3
        case 4:
            headers += [("X", "y" * 100)] * draw(st.sampled_from([1, 99, 101, 400])) + [("Y", "z" * draw(st.sampled_from([1, 65_537])))]
    data = reply(body, status, *headers, length=length)
    if draw(st.integers(0, 7)) == 0:
        data = draw(damaged(data))
    pieces, pause = draw(st.sampled_from([(1, 0.0)] * 12 + [(3, 0.01), (5, 0.0), (2, 0.3), (40, 0.02)]))
    return Reply(data, pieces, pause)


_PACKINGS: Final = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
    "br": bytes,
    "zstd": bytes,
    "x": bytes,
    "identity": bytes,
    ", ".join(["gzip"] * 50): gzip.compress,
}
