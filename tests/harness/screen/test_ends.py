"""How commands end, as processes: exit codes, signals, closed and narrow outputs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

#: A group like the real one, with commands that end in every way.
PROGRAM = """
import subprocess, sys, tempfile, time
from pathlib import Path
import click
from harness.api import HarnessError, IncompleteError
from harness.commands.root import HarnessGroup
from harness.screen.terminal import data, echo, show

group = HarnessGroup(params=[click.Option(["--debug"], is_flag=True)])

@group.command()
@click.argument("kind")
def fail(kind):
    if kind == "memory":
        raise MemoryError
    if kind == "library":
        sys.exit(0)
    if kind == "mistake":
        raise HarnessError("this is mended so")
    if kind == "incomplete":
        raise IncompleteError("two are left")
    {}["unforeseen"]

@group.command()
@click.argument("folder", type=Path)
def wait(folder):
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        deeper = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
        child = subprocess.Popen([sys.executable, "-c", deeper])
        (folder / "ready").write_text(str(child.pid))
        time.sleep(600)

@group.command()
@click.argument("code", type=int)
@click.argument("lines", type=int)
@click.pass_context
def verdict(context, code, lines):
    from rich.table import Table
    table = Table("difference − to", "→")
    table.add_row("ü", "ж")
    for _ in range(lines):
        echo("− → ü ж")
        show(table)
        data('{"difference": "− → ü ж"}\\n')
    echo("done", err=True)
    context.exit(code)

@group.command()
def ask():
    click.confirm("really?")

group()
"""


def start(*arguments: str | Path, before: tuple[str, ...] = (), **how: object) -> "subprocess.Popen[bytes]":
    command = [*before, sys.executable, "-c", PROGRAM, *map(str, arguments)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.Popen(command, **streams)  # type: ignore[call-overload,no-any-return]


def ended(*arguments: str | Path, before: tuple[str, ...] = (), **how: object) -> tuple[int, str, bytes]:
    process = start(*arguments, before=before, **how)
    out, err = process.communicate(timeout=120)
    return process.returncode, (err or b"").decode(errors="replace"), out or b""


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("unforeseen", 70, "harness: nobody foresaw this: KeyError: 'unforeseen' (<string>, line "),
        ("library", 70, "harness: nobody foresaw this: SystemExit: 0"),
        ("memory", 2, "harness: not enough memory"),
        ("mistake", 2, "harness: this is mended so"),
        ("incomplete", 3, "harness: two are left"),
    ],
)
def test_one_code_for_each_kind_of_end(kind: str, code: int, said: str) -> None:
    found, err, _ = ended("fail", kind)
    assert found == code
    assert err.startswith(said)
    assert len(err.splitlines()) == 1
    if code == 70:
        assert "please report it" in err
    found, err, _ = ended("--debug", "fail", kind)
    assert found == code
    assert "Traceback (most recent call last)" in err


@pytest.mark.parametrize("arguments", [("nothing",), ("fail",), ("verdict", "x", "1"), ("ask",)])
def test_a_wrong_command_and_an_unanswered_question_are_mistakes(arguments: tuple[str, ...]) -> None:
    assert ended(*arguments)[0] == 2


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def below(pid: int) -> list[int]:
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(deeper for child in children for deeper in below(child))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_children_and_folders_too(tmp_path: Path, number: signal.Signals) -> None:
    process = start("wait", tmp_path)
    limit = time.monotonic() + 180
    while len(started := below(process.pid)) < 2 or not (tmp_path / "ready").exists():
        assert time.monotonic() < limit
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"the same command goes on" in err
    assert b"Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]
    while any(map(alive, started)):
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_reader_who_leaves_changes_no_verdict(code: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start("verdict", str(code), "3000", stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (code, b"done\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("code", [0, 1])
def test_closed_streams_change_no_verdict(code: int, closed: str) -> None:
    found, err, _ = ended("verdict", str(code), "3", before=("sh", "-c", f'exec "$@" {closed}', "sh"))
    assert found == code
    assert "2>" in closed or err == "done\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "ascii:strict"])
@pytest.mark.parametrize("code", [0, 1])
def test_no_encoding_of_the_output_changes_a_verdict(code: int, encoding: str) -> None:
    found, err, out = ended("verdict", str(code), "2", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (found, err.splitlines()) == (code, ["done"])
    assert out.count('{"difference": "− → ü ж"}\n'.encode()) == 2, "a file's content stays what it is"


def test_an_output_that_cannot_be_written_is_an_error() -> None:
    with Path("/dev/full").open("wb") as full:
        found, err, _ = ended("verdict", "0", "1", stdout=full)
    assert found == 2
    assert "No space left on device" in err


def test_shell_completion_ends_well() -> None:
    command = [sys.executable, "-c", "from harness.commands.root import main; main(prog_name='harness')"]
    asked = {"_HARNESS_COMPLETE": "bash_complete", "COMP_WORDS": "harness lead", "COMP_CWORD": "1"}
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,leaderboard\n", "")


@pytest.mark.parametrize("command", [("runs", "list"), ("eval", "--model"), ("reproduce",), ("runs", "show"), ("compare",)])
def test_a_name_that_no_file_can_have_is_a_mistake(command: tuple[str, ...], tmp_path: Path) -> None:
    """Longer than a name may be; a link to itself."""
    from click.testing import CliRunner

    from harness.commands.root import main

    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for name in ("x" * 5000, str(loop)):
        result = CliRunner().invoke(main, [*command, name])
        assert result.exit_code == (0 if "No runs" in result.output else 2), result.output[-300:]
        assert "nobody foresaw" not in result.output


def test_a_name_that_is_too_long_is_said() -> None:
    from harness.screen import ends

    def fails() -> None:
        Path("x" * 5000).stat()

    assert ends.run(fails, lambda: False) == 2
