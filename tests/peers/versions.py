"""``make test-peers``: the tests of this folder with the oldest and the newest allowed version of each package whose files we read.

A version that is not installed goes into a virtual environment of its own below ``build/peers``, in front of all else that .venv has. What
cannot be installed is said; what fails makes the exit code 1.
"""

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

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


def environment(package: str, wanted: str) -> tuple[str, Path] | str:
    """The version that ``wanted`` names, and a Python that has it; a sentence where it cannot be installed."""
    folder = PLACE / "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in wanted)
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("site-packages")) + f"\n{ROOT}\n", encoding="utf-8"
    )
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", wanted]
    done = subprocess.run([str(each) for each in install], capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
    shown = subprocess.run(
        [str(python), "-c", f"from importlib.metadata import version; print(version({package!r}))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.strip(), python


def tested(python: Path) -> bool:
    """Say whether the tests pass with this Python."""
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu and not vllm and not model", *TESTS]
    return subprocess.run(command, cwd=ROOT).returncode == 0


def main() -> int:
    """Test every version; 1 if a test failed with one."""
    lines, failed = [], False
    own = {package: version(package) for package in PACKAGES}
    print(f"test-peers: as installed ({', '.join(f'{name} {number}' for name, number in own.items())})", flush=True)
    failed |= (found := not tested(Path(sys.executable)))
    lines.append(f"as installed: {'FAILED' if found else 'passed'}")
    for package in PACKAGES:
        need = allowed(package)
        oldest = next(each.version for each in need.specifier if each.operator == ">=")
        done = {own[package]}
        for which, wanted in (("oldest", f"{package}=={oldest}"), ("newest", f"{package}{need.specifier}")):
            made = environment(package, wanted)
            if isinstance(made, str):
                lines.append(f"{package}, {which} ({wanted}): could not be installed: {made}")
                continue
            number, python = made
            if number in done:
                lines.append(f"{package} {number}, {which}: as above")
                continue
            done.add(number)
            print(f"test-peers: {package} {number}, {which}", flush=True)
            failed |= (found := not tested(python))
            lines.append(f"{package} {number}, {which}: {'FAILED' if found else 'passed'}")
    print("\n".join(["", *lines]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
