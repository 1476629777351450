"""How long the rest of a work takes, in words."""

import pytest

from harness.screen import progress
from harness.screen.progress import Clock


@pytest.mark.parametrize(
    ("passed", "done", "words"),
    [
        (10.0, 5, ", 10 s left"),
        (100.0, 5, ", 100 s left"),
        (600.0, 5, ", 10 min left"),
        (36_000.0, 5, ", 10 h left"),
        (10.0, 0, ""),
        (10.0, 10, ""),
    ],
)
def test_the_rest_takes_as_long_as_what_was_done(passed: float, done: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = Clock(10)
    now[0] = passed
    assert clock.left(done) == words


def test_what_was_there_before_took_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = Clock(100, 80)
    now[0] = 50.0
    assert clock.left(80) == ""
    assert clock.left(90) == ", 50 s left"
