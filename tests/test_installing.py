"""Where people look: completion in their shell, a container file, a wheel, an action; as docs/installing.md has them."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import click.shell_completion
import pytest
import yaml

from harness.commands.root import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_line(shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"_HARNESS_COMPLETE={shell}_source harness" in TEXT
    monkeypatch.setattr(click.shell_completion.BashComplete, "_check_version", lambda self: None)
    assert click.shell_completion.shell_complete(main, {}, "harness", "_HARNESS_COMPLETE", f"{shell}_source") == 0
    assert f"_HARNESS_COMPLETE={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("harness ev", "eval"),
        ("harness samples --form", "--format"),
        ("harness samples run --format js", "jsonl"),
        ("harness heads de", "detect"),
        ("harness eval --backend v", "vllm"),
    ],
)
def test_what_is_typed_is_completed(typed: str, offered: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = typed.split()
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert click.shell_completion.shell_complete(main, {}, "harness", "_HARNESS_COMPLETE", "bash_complete") == 0
    assert capsys.readouterr().out.split() == [f"plain,{offered}"]
    monkeypatch.setenv("COMP_CWORD", words[-1])  # fish gives the word itself
    assert click.shell_completion.shell_complete(main, {}, "harness", "_HARNESS_COMPLETE", "fish_complete") == 0
    assert capsys.readouterr().out.splitlines()[0].startswith(f"plain,{offered}")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_itself_completes() -> None:
    """As the page says, in a real shell; `harness` is this environment's."""
    (line,) = re.findall(r"`(eval .*bash_source.*?)`", TEXT)
    script = f'{line}\nCOMP_WORDS=(harness leader); COMP_CWORD=1\n_harness_completion harness\necho "got ${{COMPREPLY[*]}}"'
    places = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], env={**os.environ, **places}, capture_output=True, text=True)
    assert done.stdout.strip() == "got leaderboard", done.stderr


def test_the_container_copies_what_is_there_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "USER", "ENV", "ENTRYPOINT", "CMD"}
    assert {step for step, _ in steps} <= known
    assert steps[0][0] == "FROM"
    assert not steps[0][1].endswith(":latest")
    copied = [name for step, rest in steps if step == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    assert {"harness", "tasks", "retmask", "reports"} <= set(copied)
    assert [rest for step, rest in steps if step == "USER"] == ["harness"]
    assert not [rest for step, rest in steps if step in ("ARG", "ENV") and re.search("TOKEN|KEY|SECRET", rest)]
    assert ["ENTRYPOINT", '["harness"]'] in steps


def test_the_action_is_one_and_its_commands_are_real() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    steps = action["runs"]["steps"]
    assert action["runs"]["using"] == "composite"
    assert all(("run" in step) != ("uses" in step) for step in steps)
    assert all(step["shell"] == "bash" for step in steps if "run" in step)
    scripts = "\n".join(step["run"] for step in steps if "run" in step)
    assert "${{" not in scripts, "what others write goes through the environment, never into a script's text"
    asked = {name for step in steps for value in step.get("env", {}).values() for name in re.findall(r"inputs\.([\w-]+)", str(value))}
    asked |= {
        name
        for step in steps
        for each in (step.get("if", ""), *step.get("with", {}).values())
        for name in re.findall(r"inputs\.([\w-]+)", str(each))
    }
    assert asked == set(action["inputs"])
    for command, options in re.findall(r"harness (\w+)((?: --[\w-]+ \S+)*)", scripts):
        found = main.get_command(click.Context(main), command)
        assert found is not None
        known = {name for parameter in found.params for name in parameter.opts}
        assert set(re.findall(r"--[\w-]+", options)) <= known
    for step in steps:
        if "run" in step:
            checked = subprocess.run(["bash", "-n", "-c", step["run"]], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr
    shown = (ROOT / "docs" / "checking.md").read_text(encoding="utf-8")
    given = re.search(r"uses: .*retmask-harness@.*\n(?:.*with:\n((?: {10,}.*\n)+))", shown)
    assert given is not None
    assert set(re.findall(r"^ +([\w-]+):", given[1], re.MULTILINE)) <= set(action["inputs"])


@pytest.mark.slow
def test_the_wheel_runs_the_main_job_outside_the_checkout(tmp_path: Path) -> None:
    """In an environment of its own, which has this one's dependencies and not its packages of ours."""
    source = tmp_path / "source"
    for name in ("harness", "tasks", "retmask", "reports"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip"]
    built = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(built, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "environment"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, cwd=tmp_path)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(each for each in sys.path if each.endswith("site-packages")) + "\n")
    shutil.rmtree(source)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    small = ["--tasks", "rag", "--lengths", "256", "--examples", "6", "--set", "prompts=32", "--set", "detection_trials=4"]
    small += ["--set", "detection_lengths=[256]", "--set", "max_new_tokens=24", "--output", str(tmp_path / "run")]
    command = [str(place / "bin" / "harness"), "run", "--model", "builtin", "--method", "retmask", *small]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    where = subprocess.run(
        [str(python), "-c", "import harness; print(harness.__file__)"], cwd=tmp_path, env=environment, capture_output=True
    )
    assert where.stdout.decode().startswith(str(place)), "the wheel's own package ran"
