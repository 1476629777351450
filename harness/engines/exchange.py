"""One request to a server and its answer, over by a deadline whatever the server does, and left at once when somebody wants to go.

The request runs in a thread of its own. Whoever asked waits for it until the deadline and then cuts the connection: names that do not
resolve, headers or ``100 Continue`` that never end, and bodies that trickle or are not taken are all the same to it.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from requests import Response, Session

_CONNECT_TIMEOUT: Final = 10.0
#: Seconds between two looks whether somebody wants to go.
_LOOK: Final = 0.05
_PIECE: Final = 1 << 16


class ExchangeError(Exception):
    """No whole answer came; a further attempt may get one."""


class TooLongError(Exception):
    """The answer is longer than any that makes sense."""


@dataclass(frozen=True)
class Answer:
    """What a server sent."""

    status: int
    headers: Mapping[str, str]
    """Their names in any case."""
    body: bytes


@dataclass(frozen=True)
class Request:
    """What a server is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    """A JSON value; None for nothing."""
    most: int
    """Bytes that the answer's body may have."""


@dataclass
class _Line:
    """A connection that another thread can cut."""

    begun: bool = False
    """Whether the answer's headers were whole."""
    _ends: list[socket.socket] = field(default_factory=list)
    _is_cut: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, connected: socket.socket) -> None:
        """Note a connection. A copy of its handle is kept, since TLS takes the socket itself apart."""
        with self._lock:
            self._ends.append(socket.socket(fileno=os.dup(connected.fileno())))
        if self._is_cut:
            self.cut()

    def cut(self) -> None:
        """End every read and write on it."""
        self._is_cut = True
        self._each(lambda end: end.shutdown(socket.SHUT_RDWR))

    def close(self) -> None:
        """Give the handles back."""
        self._each(lambda end: end.close())

    def _each(self, act: Callable[[socket.socket], None]) -> None:
        with self._lock:
            for end in self._ends:
                with suppress(OSError):
                    act(end)


def exchange(request: Request, timeout: float, left: threading.Event) -> Answer:
    """Send ``request`` and return the answer, within ``timeout`` seconds altogether.

    ExchangeError if none came until then or ``left`` was set meanwhile; TooLongError for one with more than ``request.most`` bytes.
    """
    line, found = _Line(), list[Answer | Exception]()
    done = threading.Event()

    def work() -> None:
        try:
            found.append(_send(request, timeout, line))
        except Exception as error:
            found.append(error)
        finally:
            line.close()
            done.set()

    deadline = time.monotonic() + timeout
    threading.Thread(target=work, name="exchange", daemon=True).start()
    try:
        while not done.wait(min(_LOOK, max(0.0, deadline - time.monotonic()))):
            if left.is_set():
                raise ExchangeError("nobody waited for the answer")
            if time.monotonic() >= deadline:
                raise ExchangeError("the answer stalled half-way" if line.begun else f"nothing came within {timeout:g} s")
    finally:
        line.cut()
    if isinstance(found[0], Exception):
        raise _said(found[0], timeout)
    return found[0]


def _said(error: Exception, timeout: float) -> Exception:
    import requests

    if isinstance(error, TooLongError):
        return error
    if isinstance(error, requests.Timeout):
        return ExchangeError(f"nothing came within {timeout:g} s")
    return ExchangeError(_cause(error))


def _send(request: Request, timeout: float, line: _Line) -> Answer:
    with _session(line) as session:
        response: Response = session.request(
            request.method,
            request.url,
            json=request.body,
            headers=dict(request.headers),
            timeout=(min(_CONNECT_TIMEOUT, timeout), timeout),
            stream=True,
            allow_redirects=False,
        )
        with response:
            line.begun = True
            return Answer(response.status_code, response.headers, _body(response, request.most))


def _body(response: "Response", most: int) -> bytes:
    body = bytearray()
    while piece := response.raw.read1(_PIECE, decode_content=True):
        body += piece
        if len(body) > most:
            raise TooLongError
    return bytes(body)


def _session(line: _Line) -> "Session":
    """A session whose connections, those through a proxy included, are noted in ``line``."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

    def noted(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        class Connection(pool.ConnectionCls):  # type: ignore[name-defined]  # urllib3 names it by an attribute
            def _new_conn(self) -> socket.socket:
                connected: socket.socket = super()._new_conn()
                line.add(connected)
                return connected

        return type("Pool", (pool,), {"ConnectionCls": Connection})

    pools = {"http": noted(HTTPConnectionPool), "https": noted(HTTPSConnectionPool)}

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            manager = super().proxy_manager_for(proxy, **options)
            manager.pool_classes_by_scheme = pools
            return manager

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session


def _cause(error: Exception) -> str:
    """The innermost reason: requests wraps it several times."""
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__ or getattr(inner, "reason", None)) and isinstance(deeper, BaseException):
        inner = deeper
    return f"{type(error).__name__} ({inner})"
