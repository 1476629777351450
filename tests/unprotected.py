"""Takes out each protection of ``tests/protections.py`` in a copy of the project, and sees whether the test that backs it fails.

    make test-unprotected                               # all, in some minutes
    .venv/bin/python tests/unprotected.py journal lock  # those with one of these words in them

First every test has to pass in an untouched copy. Then one protection is taken out at a time. Exit code 0: each was missed by its test;
1: at least one was not; 2: the tests do not pass to begin with, or the table does not fit the code.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.protections import PROTECTIONS, Protection  # noqa: E402

#: Seconds for one protection's test, and for all tests in the untouched copy. A test that hangs has not shown anything.
_LIMIT: Final = 300.0
_LIMIT_UNTOUCHED: Final = 1800.0
_SHOWN: Final = 100


class TableError(Exception):
    """An entry of the table that does not fit the code."""


@dataclass(frozen=True)
class Outcome:
    """What pytest said."""

    passed: int
    failed: int
    errors: int
    skipped: int
    reason: str
    """First line of the first failure."""
    ended: bool = True
    """False: stopped because it took too long."""

    @property
    def all_passed(self) -> bool:
        return self.ended and self.passed > 0 and not (self.failed or self.errors or self.skipped)


def without(protection: Protection, text: str) -> str:
    """``text``, the source of ``protection.file``, with the protection taken out. TableError unless it is there exactly once."""
    found = text.count(protection.old)
    if found != 1:
        raise TableError(f"tests/protections.py: {protection.what}: its text is in {protection.file} {found} times and should be once")
    return text.replace(protection.old, protection.new)


def copied(to: Path) -> Path:
    """The project's files as they are now, without what git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in listed:
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def environment(folder: Path) -> dict[str, str]:
    """Python imports the project from ``folder``, wherever it is installed."""
    return {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def check_imports(folder: Path) -> None:
    """TableError if tests in ``folder`` would test some other copy."""
    code = "import harness, reports, retmask, tasks; print(*(each.__path__[0] for each in (harness, reports, retmask, tasks)), sep='\\n')"
    said = subprocess.run([sys.executable, "-c", code], cwd="/", env=environment(folder), capture_output=True, text=True, check=True).stdout
    if stray := [path for path in said.splitlines() if not Path(path).resolve().is_relative_to(folder.resolve())]:
        raise TableError(f"python imports {stray[0]} instead of the copy in {folder}")


def run_tests(folder: Path, nodes: Sequence[str], limit: float) -> Outcome:
    """Run these tests of the project in ``folder``."""
    report = folder / "unprotected.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *nodes]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return Outcome(0, 0, 0, 0, f"did not end within {limit:.0f} s", ended=False)
    finally:
        with suppress(ProcessLookupError):  # also what a test has left behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if not report.exists():
        return Outcome(0, 0, 1, 0, said.strip().splitlines()[-1] if said.strip() else f"pytest ended with {process.returncode}")
    return _read(report)


def _read(report: Path) -> Outcome:
    counts = dict.fromkeys(("passed", "failure", "error", "skipped"), 0)
    reason = ""
    for case in ET.parse(report).iter("testcase"):
        bad = next((child for child in case if child.tag in counts), None)
        counts["passed" if bad is None else bad.tag] += 1
        if bad is not None and not reason:
            reason = " ".join((bad.get("message") or "").split())
    return Outcome(counts["passed"], counts["failure"], counts["error"], counts["skipped"], reason)


def verdict(outcome: Outcome) -> str:
    """ "missed" if a test failed for the want of the protection, and nothing else was amiss."""
    if not outcome.ended:
        return "HANGS"
    if outcome.errors or outcome.skipped or not outcome.passed + outcome.failed:
        return "BREAKS"
    return "missed" if outcome.failed else "NOT MISSED"


def chosen(words: Sequence[str]) -> list[Protection]:
    """The entries with one of the words in them; all without words."""

    def text(each: Protection) -> str:
        return f"{each.promise} {each.what} {each.file} {each.test}".lower()

    return [each for each in PROTECTIONS if not words or any(word.lower() in text(each) for word in words)]


def main(words: Sequence[str]) -> int:
    """Exit code."""
    entries = chosen(words)
    if not entries:
        print(f"no protection has {' or '.join(words)} in it", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="unprotected-") as folder:
            untouched = copied(Path(folder))
            check_imports(untouched)
            for each in entries:
                without(each, (untouched / each.file).read_text())
            nodes = list(dict.fromkeys(each.test for each in entries))
            print(f"{len(entries)} protections; first their {len(nodes)} tests with nothing taken out", flush=True)
            before = run_tests(untouched, nodes, _LIMIT_UNTOUCHED)
        if not before.all_passed:
            print(f"they do not all pass: {before}", file=sys.stderr)
            return 2
    except TableError as error:
        print(error, file=sys.stderr)
        return 2
    return _take_out(entries)


def _take_out(entries: Sequence[Protection]) -> int:
    begun, bad = time.monotonic(), 0
    promise = ""
    for number, each in enumerate(entries):
        with tempfile.TemporaryDirectory(prefix="unprotected-") as folder:
            copy = copied(Path(folder))
            path = copy / each.file
            path.write_text(without(each, path.read_text()))
            outcome = run_tests(copy, [each.test], _LIMIT)
        found = verdict(outcome)
        bad += found != "missed"
        if each.promise != promise:
            promise = each.promise
            print(f"\n{promise}")
        spent = time.monotonic() - begun
        left = spent / (number + 1) * (len(entries) - number - 1)
        print(f"  {found:10}  {each.what}  [{each.file}]", f"              {each.test.partition('::')[2]}", sep="\n")
        print(f"              {outcome.reason[:_SHOWN] or 'all tests passed'}", flush=True)
        print(f"{number + 1} of {len(entries)}, about {left / 60:.0f} min left", end="\r", file=sys.stderr, flush=True)
    print(f"\n{len(entries) - bad} of {len(entries)} protections were missed by their test, in {(time.monotonic() - begun) / 60:.0f} min")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
