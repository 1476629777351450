"""What a command says before its first step, and the question on a terminal. On the shipped model; a pty where a terminal is needed."""

import os
import pty
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.root import main
from harness.config import RunConfig, load_preset, override
from harness.models.footprint import ModelShape
from harness.models.lookup import resolve
from harness.planning import preview as previewing
from harness.planning.plan import Plan, UnplannedError, make_plan, timed, with_speed
from harness.planning.preview import PROBE_LIMIT, preview
from harness.planning.speed import Speed

SMALL = ("--model", "builtin", "--tasks", "niah_mk", "--lengths", "128", "--examples", "2")
#: Enough to be timed: the shipped model's demo with more questions.
LARGE = ("--model", "builtin", "--examples", "400")
YEAR = 365 * 86_400.0


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


#: No probe here: how long one takes depends on what else the machine does.
SPEED = Speed(start=5, load=1, per_token=1e-4, per_token_squared=1e-8, step=5e-3, per_row=1e-4, per_row_token=1e-6)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Every plan that is timed."""
    found: list[Plan] = []

    def timed(plan: Plan, config: RunConfig, *, limit: float | None) -> Plan:
        assert limit == PROBE_LIMIT
        found.append(plan)
        return with_speed(plan, SPEED, ModelShape.read(resolve("builtin")))

    monkeypatch.setattr(previewing, "timed", timed)
    return found


def test_little_work_is_counted_and_not_timed_and_finished_work_not_even_mentioned(tmp_path: Path, probes: list[Plan]) -> None:
    first = invoke("eval", *SMALL, "--output", tmp_path)
    assert first.exit_code == 0, first.output
    assert "3 steps to do, 256 tokens to read" in first.stderr
    again = invoke("eval", *SMALL, "--output", tmp_path)
    assert again.exit_code == 0, again.output
    assert "steps to do" not in again.stderr
    assert probes == []


def test_a_finished_run_is_not_looked_at_with_a_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = override(load_preset("builtin"), {"examples": 400}, {})
    plan = make_plan(tmp_path, "builtin", (), config)
    assert not plan.is_little
    monkeypatch.setattr("harness.planning.plan.probe", lambda *_: pytest.fail("nothing is left to be timed"))
    finished = replace(plan, steps=tuple(replace(step, state="finished") for step in plan.steps))
    assert timed(finished, config).untimed == "all of it is there already"


def test_what_takes_long_is_told_step_by_step_before_it_begins(
    tmp_path: Path, probes: list[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    preview(tmp_path / "run", "builtin", ("retmask",), override(load_preset("builtin"), {"examples": 400}, {}))
    told = capsys.readouterr().err
    assert len(probes) == 1
    assert "heads after training (retmask)" in told
    assert "by a short probe" in told
    assert not (tmp_path / "run").exists()


def test_a_stage_is_told_alone(tmp_path: Path) -> None:
    config = load_preset("builtin")
    pairs = [step.name for step in make_plan(tmp_path, "builtin", ("retmask",), config, stage="pairs").steps]
    train = [step.name for step in make_plan(tmp_path, "builtin", ("retmask",), config, stage="train").steps]
    assert pairs == ["suite", "heads", "chosen", "rejected-retmask"]
    assert train == [*pairs, "dpo (retmask)"]


def test_without_a_terminal_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(previewing, "timed", lambda plan, config, limit: replace(plan, seconds=YEAR))
    preview(tmp_path, "builtin", (), override(load_preset("builtin"), {"examples": 400}, {}))
    told = capsys.readouterr().err
    assert "this takes about 365.0 days; going on, since there is no terminal to ask on" in told
    assert "for less: 100% is" not in told  # the shares of a plan without times say nothing


def test_what_only_a_plan_cannot_do_does_not_stop_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object, **__: object) -> Plan:
        raise UnplannedError("no sizes in this config")

    monkeypatch.setattr(previewing, "make_plan", cannot)
    preview(tmp_path, "builtin", (), load_preset("builtin"))


_ASKING = """
import sys
from dataclasses import replace
from harness.planning import preview as previewing
from harness.commands.root import main
previewing.timed = lambda plan, config, limit: replace(plan, seconds=31_536_000.0)
main(sys.argv[1:])
"""


def on_terminal(answer: str, *arguments: str) -> tuple[int, str]:
    """The exit code and output of a command on a terminal where somebody answers its question."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", _ASKING, *arguments])  # the test's child; nothing of this process runs on in it
    seen, answered, deadline = "", False, time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # the terminal is gone with the command
            break
        if not chunk:
            break
        seen += chunk.decode(errors="replace")
        if not answered and "[y/N]" in seen:
            os.write(terminal, f"{answer}\n".encode())
            answered = True
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


def test_on_a_terminal_more_than_a_day_is_asked_about_and_no_stops_it(tmp_path: Path) -> None:
    code, seen = on_terminal("n", "eval", *LARGE, "--output", str(tmp_path / "run"))
    assert code == 2, seen
    assert "This takes about 365.0 days. Go on?" in seen
    assert "stopped before the first step" in seen
    assert "--yes" in seen
    assert not (tmp_path / "run").exists()


def test_yes_is_not_asked(tmp_path: Path) -> None:
    code, seen = on_terminal("", "eval", *LARGE, "--yes", "--tasks", "no_such_task", "--output", str(tmp_path / "run"))
    assert code == 2
    assert "Go on?" not in seen
