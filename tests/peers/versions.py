"""``make test-peers``: the tests of this folder with the oldest and the newest allowed version of each package whose files we read.

A version that is not installed goes into a virtual environment of its own below ``build/peers``, in front of all else that .venv has. What
cannot be installed is said; what fails makes the exit code 1.
"""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from harness.api import HarnessError

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("lm-eval", "transformers", "trl")
PLACE: Final = ROOT / "build" / "peers"
#: Beside this folder: an old run directory, whose training and evaluation every version has to find and to do again.
TESTS: Final = ("tests/peers", "tests/harness/test_old_run.py", "tests/harness/models/test_tokens.py")


def allowed(package: str) -> Requirement:
    """What pyproject.toml allows of a package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    every = [*project["dependencies"], *(each for group in project.get("optional-dependencies", {}).values() for each in group)]
    return next(found for each in every if (found := Requirement(each)).name == package)


def resolved(wanted: str) -> str:
    """The version that pip would install; HarnessError, a sentence, where it would install none."""
    ask = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--report", "-", wanted]
    done = subprocess.run(ask, capture_output=True, text=True)
    if done.returncode:
        raise HarnessError((done.stderr.strip().splitlines() or ["pip says nothing"])[-1])
    return str(json.loads(done.stdout)["install"][0]["metadata"]["version"])


def environment(wanted: str) -> Path:
    """A Python that has what ``wanted`` pins, in front of all else that this one has; HarnessError where it cannot be installed."""
    folder = PLACE / wanted.replace("==", "-")
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    others = [*(path for path in sys.path if path.endswith("site-packages")), str(ROOT)]
    (site / "others.pth").write_text("".join(f"{path}\n" for path in others), encoding="utf-8")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", wanted]
    done = subprocess.run([str(each) for each in install], capture_output=True, text=True)
    if done.returncode:
        raise HarnessError((done.stderr.strip().splitlines() or ["pip says nothing"])[-1])
    return python


def tested(python: Path) -> bool:
    """Say whether the tests pass with this Python."""
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not gpu and not vllm and not model", *TESTS]
    return subprocess.run(command, cwd=ROOT).returncode == 0


def main() -> int:
    """Test every version; 1 if a test failed with one."""
    lines, failed = list[str](), False

    def test(name: str, python: Path) -> None:
        nonlocal failed
        print(f"test-peers: {name}", flush=True)
        passed = tested(python)
        failed |= not passed
        lines.append(f"{name}: {'passed' if passed else 'FAILED'}")

    own = {package: version(package) for package in PACKAGES}
    test(f"as installed ({', '.join(f'{name} {number}' for name, number in own.items())})", Path(sys.executable))
    for package in PACKAGES:
        need, done = allowed(package), {own[package]}
        oldest = next(each.version for each in need.specifier if each.operator == ">=")
        for which, wanted in (("oldest", f"{package}=={oldest}"), ("newest", f"{package}{need.specifier}")):
            try:
                number = resolved(wanted)
                if number in done:
                    lines.append(f"{package} {number}, the {which} that is allowed: as above")
                    continue
                done.add(number)
                test(f"{package} {number}, the {which} that is allowed", environment(f"{package}=={number}"))
            except HarnessError as error:
                lines.append(f"{package}, the {which} that is allowed ({wanted}): could not be installed: {error}")
    print("\n".join(["", *lines]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
