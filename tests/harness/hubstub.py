"""A Hub on this machine: the few calls of the Hub's API that a fetch makes, with connections that can be cut and files that can lie."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Stub:
    """What the stub serves and what it was asked."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository, with ``@revision`` where it is not main -> path -> content."""
    closed: set[str] = field(default_factory=set)
    """Repositories that answer 401."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which one transfer after the other breaks off; the last holds for all that follow. Empty: none does."""
    lie: bool = False
    """Whether transfers carry other bytes than the digests say."""
    plain: set[str] = field(default_factory=set)
    """Paths outside large-file storage."""
    no_ranges: bool = False
    transfers: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, Range header) of every transfer."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(repository, revision) of every question about a repository."""
    endpoint: str = ""


@contextmanager
def serve() -> Iterator[Stub]:
    """A running stub."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content if cut is None else content[:cut])
            if cut is not None and cut < len(content):
                self.wfile.flush()
                self.close_connection = True

        def _json(self, value: object) -> None:
            self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _repo(self, repo: str, revision: str) -> dict[str, bytes] | None:
            if repo in stub.closed:
                self._answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
                return None
            key = repo if revision in ("main", COMMIT) and repo in stub.files else f"{repo}@{revision}"
            if revision == COMMIT and key not in stub.files:
                key = next((name for name in stub.files if name.startswith(f"{repo}@")), key)
            if key not in stub.files:
                self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return None
            return stub.files[key]

        def do_GET(self) -> None:
            route = unquote(urlsplit(self.path).path)
            if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/revision/(.+)", route):
                stub.asked.append((found[1], found[2]))
                content = self._repo(found[1], found[2])
                if content is not None:
                    self._json({"id": found[1], "sha": COMMIT, "siblings": [{"rfilename": name} for name in content]})
            elif found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", route):
                content = self._repo(found[1], found[2])
                if content is not None:
                    self._transfer(found[3], content[found[3]])
            else:
                self._answer(404, b"{}")

        def _transfer(self, path: str, content: bytes) -> None:
            asked = self.headers.get("Range")
            stub.transfers.append((path, asked))
            body = bytes(reversed(content)) if stub.lie else content
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and not stub.no_ranges else 0
            headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
            cut = None if not stub.cuts else stub.cuts[0] if len(stub.cuts) == 1 else stub.cuts.pop(0)
            self._answer(206 if start else 200, body[start:], headers, cut)

        def do_POST(self) -> None:
            found = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/(.+)", unquote(urlsplit(self.path).path))
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            assert found is not None
            content = self._repo(found[1], found[2])
            if content is None:
                return
            paths = parse_qs(text)["paths"] if not text.startswith("{") else json.loads(text)["paths"]
            self._json([self._entry(path, content[path]) for path in paths if path in content])

        def _entry(self, path: str, content: bytes) -> dict[str, object]:
            git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": git}
            if path not in stub.plain:
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 133}
            return entry

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
