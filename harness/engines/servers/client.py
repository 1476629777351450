"""Requests to a server that speaks OpenAI's protocol, sent again where a failure may pass.

No connection, a stall, 429, 5xx and an answer that is none may pass: five requests in all, with growing pauses. Another 4xx does not.
"""

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import urlsplit

from harness.api import HarnessError, Json
from harness.engines.exchange import ExchangeError, Request, TooLongError, exchange
from harness.screen.redact import redacted

T = TypeVar("T")
#: Environment variable with the key that goes with every request; it is neither stored nor shown.
KEY_VARIABLE: Final = "OPENAI_API_KEY"
ATTEMPTS: Final = 5
_FIRST_PAUSE: Final = 0.5
"""Seconds; each further pause is twice as long, give or take a quarter."""
_LONGEST_PAUSE: Final = 30.0
_PASSING: Final = (408, 409, 425, 429, 500, 502, 503, 504)
_LARGEST_ANSWER: Final = 64 << 20
#: What servers call an answer, or the refusal of a prompt, that a filter of contents withheld.
FILTERED: Final = "content_filter"
_HEADER: Final = re.compile(r"[\x21-\x7e]+")


class PassingError(Exception):
    """A failure that may pass; ``pause`` is what the server asked for, ``status`` its answer's, 0 if it is another failure."""

    def __init__(self, message: str, pause: float = 0.0, status: int = 0) -> None:
        super().__init__(message)
        self.pause, self.status = pause, status


class RefusedError(HarnessError):
    """A request that the server does not take, however often it is sent."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NoAnswerError(HarnessError):
    """No usable answer in all attempts."""


class WithheldError(Exception):
    """The server answers this prompt with a refusal of its content filter."""


@dataclass(frozen=True)
class Stop:
    """How somebody tells the threads that ask to come to an end."""

    sending: threading.Event = field(default_factory=threading.Event)
    """Nothing is sent any more; what is under way is waited for."""
    waiting: threading.Event = field(default_factory=threading.Event)
    """Nothing is waited for either."""

    def now(self) -> None:
        """Leave everything."""
        self.sending.set()
        self.waiting.set()


@dataclass(frozen=True)
class Client:
    """Requests to one server."""

    url: str
    """Without a slash at the end."""
    timeout: float
    """Seconds that an answer may take altogether."""
    attempts: int = ATTEMPTS

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port or an address of IPv6 that is none
            usable = False
        if not usable:
            raise HarnessError(f"--url {self.url!r} is not the address of a server; it looks like http://localhost:8000/v1")
        _headers()

    def models(self) -> list[dict[str, Any]]:
        """List what the server says of each of its models; every row has an ``id``."""
        rows = self.ask("GET", "/models").get("data")
        return [row for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []

    def ask(self, method: str, path: str, body: Mapping[str, Json] | None = None, stop: Stop | None = None) -> dict[str, Any]:
        """Get the server's answer, a JSON object."""
        return self.read(lambda answer: answer, method, path, body, stop)

    def read(
        self,
        take: Callable[[dict[str, Any]], T],
        method: str,
        path: str,
        body: Mapping[str, Json] | None = None,
        stop: Stop | None = None,
        otherwise: "Callable[[PassingError | RefusedError], T | None]" = lambda _: None,
    ) -> T:
        """Get what ``take`` makes of the server's answer, a JSON object; one that it takes for none (:class:`PassingError`) is no answer.

        ``otherwise`` gets the first answer if it is no success, and may know another way to ask.

        HarnessError after the last attempt, and at once for what no repetition mends (another 4xx). ``stop`` ends the waiting early.
        """
        stop = stop or Stop()
        for attempt in range(self.attempts):
            try:
                return take(self.once(method, path, body, stop))
            except (PassingError, RefusedError) as error:
                if attempt == 0 and error.status and (found := otherwise(error)) is not None:
                    return found
                if isinstance(error, RefusedError):
                    raise
                if attempt + 1 == self.attempts or stop.sending.is_set():
                    self._give_up(str(error))
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.75, 1.25)
                stop.sending.wait(max(pause, min(error.pause, _LONGEST_PAUSE)))
        raise AssertionError("unreachable")

    def _give_up(self, reason: str) -> NoReturn:
        raise NoAnswerError(
            f"no usable answer from {self.url} in {self.attempts} attempts: {reason}; see that the server runs there (vllm serve MODEL "
            "starts one) and run the command again: what is finished is kept"
        )

    def once(self, method: str, path: str, body: Mapping[str, Json] | None, stop: Stop) -> dict[str, Any]:
        """Send one request; :class:`PassingError`, :class:`RefusedError` or :class:`WithheldError` where no JSON object came."""
        try:
            found = exchange(Request(method, self.url + path, _headers(), body, _LARGEST_ANSWER), self.timeout, stop.waiting)
        except ExchangeError as error:
            raise PassingError(str(error)) from None
        except TooLongError:
            raise HarnessError(f"{self.url}{path} answered more than {_LARGEST_ANSWER >> 20} MiB; is it a model's server?") from None
        if found.status in _PASSING:
            raise PassingError(
                f"status {found.status}: {excerpt(found.body)}", _retry_after(found.headers.get("Retry-After")), found.status
            )
        if found.status == 400 and FILTERED.encode() in found.body:
            raise WithheldError
        if found.status != 200:
            raise RefusedError(f"{self.url}{path} refused the request with status {found.status}: {excerpt(found.body)}", found.status)
        try:
            answer = json.loads(found.body)
        except (ValueError, RecursionError):
            raise PassingError(f"{path} answered something that is not JSON: {excerpt(found.body)}") from None
        if not isinstance(answer, dict):
            raise PassingError(f"{path} answered JSON that is no object: {excerpt(found.body)}")
        return answer


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE)
    if key and not _HEADER.fullmatch(key):
        raise HarnessError(f"{KEY_VARIABLE} holds a line end, a blank or a letter that no header can hold; set it to the bare key")
    return {"Authorization": f"Bearer {key}"} if key else {}


def excerpt(text: bytes) -> str:
    """Give the beginning of what a server sent, on one line that is safe to show."""
    line = " ".join(redacted(text[:4000].decode(errors="replace")).split())  # before it is cut: half a key is not known as one
    return (line[:200] or "(nothing)").encode("unicode_escape").decode()


def _retry_after(value: str | None) -> float:
    """Seconds from now; the header holds a number of them or a date (RFC 9110, section 10.2.3)."""
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value or "").timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):  # neither
        return 0.0
