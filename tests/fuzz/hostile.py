"""Hostile input, and the contract that every parser keeps: a result or one line about what is wrong, soon, and never a traceback.

`make fuzz` runs these tests for `FUZZ_MINUTES` with fresh random input; in `make test` they take the same few examples every time.
"""

import faulthandler
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from reports.safe import one_line

T = TypeVar("T")
FUZZING: Final = "FUZZ_EXAMPLES" in os.environ
#: Seconds for one input. All of them are below a few hundred kilobytes, so that only what grows faster than its input needs more.
LIMIT: Final = 10.0
#: Seconds after which a call that never comes back to Python (a library of C or Rust) ends the tests, with a traceback.
_STUCK: Final = 120.0
#: By the clock an input may take so many times what it may take of the processor: other processes want it too, and servers are waited for.
_WAITING: Final = 6
#: Bytes that one input may take, of memory that was not in use before.
_GROWTH: Final = 1 << 30
MOST_REPEATS: Final = 50_000

fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    derandomize=not FUZZING,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


#: For inputs that take a model's loading, or a command, each: a tenth of them.
seldom = settings(fuzz, max_examples=max(6, fuzz.max_examples // 10))


@contextmanager
def within(seconds: float = LIMIT) -> Iterator[None]:
    """TimeoutError if the block takes longer: of the processor, or, where it waits, :data:`_WAITING` times that by the clock.

    So a machine that others use as well fails nothing. Regular expressions that run away are stopped as well. A block that makes a
    complaint of its own of the error, as a guard around a library does, fails all the same.
    """
    begun = time.monotonic(), time.process_time()

    def over() -> bool:
        return time.process_time() - begun[1] > seconds or time.monotonic() - begun[0] > _WAITING * seconds

    def stop(*_: object) -> None:
        if over():
            raise TimeoutError(f"still busy after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    faulthandler.dump_traceback_later(_WAITING * seconds + _STUCK, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
        if over():
            raise TimeoutError(f"still busy after {seconds:g} s")


@contextmanager
def small() -> Iterator[None]:
    """Fail if the block takes more than a gigabyte of memory beside what was in use, even for a moment."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the highest use begins here
    before = _resident("VmRSS")
    yield
    grown = _resident("VmHWM") - before
    assert grown < _GROWTH, f"it took {grown >> 20} MiB"


def _resident(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(f"{name}:"))


def survives(call: Callable[[], T], *complaints: type[Exception]) -> T | None:
    """The call's result, or None if it complained in one line. Any other exception, and a long wait, fail the test."""
    with within():
        try:
            return call()
        except complaints as error:
            found: Exception = error
    assert type(found) in complaints, f"{type(found).__name__} is no complaint of ours"
    assert str(found).strip()
    assert len(one_line(str(found)).splitlines()) == 1
    return None


#: What breaks parsers: what they look for, what must not stand there, and what no encoding holds.
SNIPPETS: Final = (
    *" \t\n\r\0\x0b\x0c\x1b\x7f\x85\u2028\ufeff\ud800\udfff\U0001f600٣²ß",
    *"[]{}()<>:;,.|\\/\"'`*_#%$&=+-@~^!?",
    *(
        "answer:",
        "Answer: ",
        "label:",
        "Ranking:",
        "id",
        "ID: ",
        "[ID: 1]",
        "[1]",
        "[1, 2",
        "[1][2]",
        " [1",
        "1",
        "12 > ",
        " > ",
        "12",
        "-1",
    ),
    *("1. ", "- ", "the ", "a ", "Paris", "e\u0301", "<|im_end|>", "</script>", "<!--", "-->", "]]>", "\x1b[31m", "\x1b]0;x\x07", "=1+1"),
    *(
        "NaN",
        "Infinity",
        "1e999",
        "null",
        "true",
        "0-0",
        "00-0",
        "..",
        "../../x",
        "/etc/passwd",
        "{context}",
        "{0}",
        "{a!r}",
        "{",
        "NAME_1",
    ),
)

snippets = st.sampled_from(SNIPPETS)
repeated = st.builds(lambda piece, times: piece * min(times, MOST_REPEATS // len(piece)), snippets, st.integers(1, MOST_REPEATS))
texts = st.one_of(
    st.text(max_size=40),
    st.lists(snippets, max_size=12).map("".join),
    st.tuples(snippets, repeated, snippets).map("".join),
    st.builds(lambda pieces, times: "".join(pieces) * times, st.lists(snippets, min_size=1, max_size=4), st.integers(1, 4000)),
    st.text(st.characters(exclude_categories=()), max_size=20),
)

numbers = st.one_of(
    st.sampled_from(
        [0, -1, 1, 2, 2**31, 2**63, -(2**63), 2**64, 10**400, -(10**400), 0.5, -0.0, 1e308, float("inf"), -float("inf"), float("nan")]
    ),
    st.integers(-3, 3),
    st.floats(),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)


def nested(depth: int) -> Any:
    """A list in a list in a list ..."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


values = st.one_of(
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6),
    st.integers(1, 300).map(nested),
)


@st.composite
def changed(draw: st.DrawFn, valid: Any) -> Any:
    """``valid``, a JSON value, with some parts replaced, removed, repeated or added."""
    found = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(0, 3))):
        found = _change(draw, found)
    return found


def _change(draw: st.DrawFn, value: Any) -> Any:
    inside = isinstance(value, dict | list) and value and draw(st.integers(0, 4))
    if not inside:
        return draw(values)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[: at + 1] + value[at:]
            case _:
                return [*value[:at], _change(draw, value[at]), *value[at + 1 :]]
    name = draw(st.sampled_from(sorted(value)))
    match draw(st.integers(0, 4)):
        case 0:
            return {key: each for key, each in value.items() if key != name}
        case 1:
            return {**value, draw(texts): value[name]}
        case _:
            return {**value, name: _change(draw, value[name])}


_BYTES: Final = (
    *(bytes([number]) for number in (0, 9, 10, 13, 27, 34, 44, 91, 92, 93, 123, 125, 128, 192, 255)),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\\u0000",
        b"1" * 5000,
        b"0x" + b"f" * 5000,
        b"1e999",
        b"NaN",
        b"-Infinity",
    ),
    *(b"[" * 3000, b"[" * 100_000, b'{"a":' * 3000, b"]" * 3000, b'"', b"\n\n", b"\r", b"\x1f\x8b", b"PAR1", b" " * 20_000),
)


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """``valid`` after some accidents: cut short, with holes, with bytes that do not belong there."""
    data = valid
    for _ in range(draw(st.integers(0, 3))):
        at, other = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        match draw(st.integers(0, 3)):
            case 0:
                data = data[:other]
            case 1:
                data = data[:at] + data[other:]
            case _:
                data = data[:at] + draw(st.one_of(st.sampled_from(_BYTES), st.binary(max_size=8))) + data[at:]
    return data


def json_of(valid: Any) -> st.SearchStrategy[bytes]:
    """A JSON file: changed in its meaning, in its bytes, or in both."""
    plain = json.dumps(valid).encode()
    meaning = changed(valid).map(_dumps)
    return st.one_of(meaning, damaged(plain), meaning.flatmap(damaged), st.sampled_from(_BYTES), st.just(plain))


def json_lines_of(valid: Sequence[Any]) -> st.SearchStrategy[bytes]:
    """A file of JSON lines, likewise."""
    lines = st.tuples(*(changed(each).map(_dumps) for each in valid)).map(b"\n".join)
    return st.one_of(
        lines, lines.flatmap(damaged), damaged(b"\n".join(json.dumps(each).encode() for each in valid)), st.sampled_from(_BYTES)
    )


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()
