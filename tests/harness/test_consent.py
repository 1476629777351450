"""What somebody's settings file may not do by itself."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.reproduce import reproduce
from harness.commands.root import HarnessGroup, main
from harness.files import read_sealed, write_sealed

SMALL = ("--tasks", "niah_mk", "--lengths", "256", "--examples", "2")
SERVED = 'backend = "served"\nurl = "URL"'


class Listening(http.server.BaseHTTPRequestHandler):
    heard: list[str]

    def do_GET(self) -> None:
        self.heard.append(str(self.headers["Authorization"]))
        self.send_response(404)
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the keys that it was sent."""
    handler = type("Handler", (Listening,), {"heard": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.heard
    server.shutdown()
    server.server_close()


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder of tasks whose Python leaves a trace when it runs."""
    folder = tmp_path / "their tasks"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef docs(*_, **__): return {{}}\n")
    (folder / "evil.yaml").write_text("task: evil\ncustom_dataset: !function evil.docs\noutput_type: generate_until\n")
    return folder


def evaluate(tmp_path: Path, settings: str, *arguments: str) -> Result:
    preset = tmp_path / "theirs.toml"
    preset.write_text(settings)
    return CliRunner().invoke(
        main, ["eval", "--model", "builtin", "--preset", str(preset), *SMALL, "--output", str(tmp_path / "run"), *arguments]
    )


def plan(tmp_path: Path, settings: str, *arguments: str) -> Result:
    preset = tmp_path / "theirs.toml"
    preset.write_text(settings)
    command = ["plan", "--model", "builtin", "--no-probe", "--preset", str(preset), *SMALL, "--method", "retmask"]
    return CliRunner().invoke(main, [*command, "--output", str(tmp_path / "run"), *arguments])


@pytest.mark.parametrize("settings", ['extra_tasks = ["evil"]\ninclude_path = "FOLDER"', 'extra_tasks = ["FOLDER/evil.yaml"]'])
def test_a_preset_runs_no_code(tmp_path: Path, tasks: Path, settings: str) -> None:
    text = "[run]\n" + settings.replace("FOLDER", str(tasks))
    result = evaluate(tmp_path, text)
    assert result.exit_code == 2
    assert "would run the Python that the task files in" in result.stderr
    assert result.stderr.rstrip().endswith("with --allow code")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()
    evaluate(tmp_path, text, "--allow", "code")
    assert (tmp_path / "ran").exists()


def test_a_preset_sends_no_key_anywhere(tmp_path: Path, listening: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    url, heard = listening
    text = "[run]\n" + SERVED.replace("URL", url)
    name = url.removeprefix("http://")
    for wrong in ((), ("--allow-url", "elsewhere"), ("--allow", "code"), ("--allow-url", "127.0.0.1:1")):
        result = evaluate(tmp_path, text, *wrong)
        assert result.exit_code == 2
        assert f"would send prompts, and the key in OPENAI_API_KEY if there is one, to {name}." in result.stderr
        assert result.stderr.rstrip().endswith(f"--allow-url {name}")
    assert heard == []
    for right in (("--allow-url", name), ("--allow-url", "127.0.0.1"), ("--url", url)):
        heard.clear()
        evaluate(tmp_path, text, *right)
        assert set(heard) == {"Bearer sk-secret"}


@pytest.mark.parametrize(
    ("option", "flag"),
    [
        ('report_to = "wandb"', "--allow report"),
        ('parallel = "cluster.yaml"', "--allow code"),
        ('prompts_from = "https://evil.example/prompts"', "--allow-url evil.example"),
    ],
)
def test_a_preset_for_methods_needs_a_flag_too(tmp_path: Path, option: str, flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("retmask.training.launch.find_spec", lambda _: True)  # whether wandb is installed is not what is asked
    Path("cluster.yaml").write_text("{}")
    result = plan(tmp_path, f"[method]\n{option}\n")
    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith(flag)
    key, _, value = option.partition(" = ")
    if key != "prompts_from":
        assert plan(tmp_path, f"[method]\n{option}\n", *flag.split()).exit_code == 0
        assert plan(tmp_path, f"[method]\n{option}\n", "--set", f"{key}={value}").exit_code == 0, "whoever types it needs no flag"


def test_local_files_are_not_read_for_what_a_preset_sends(tmp_path: Path) -> None:
    (tmp_path / "diary.jsonl").write_text('{"prompt": "Dear diary"}\n')
    text = f'[method]\nreport_to = "wandb"\nprompts_from = "{tmp_path}/diary.jsonl"\n'
    result = plan(tmp_path, text, "--allow", "report")
    assert f"would read {tmp_path}/diary.jsonl for it" in result.stderr
    assert result.stderr.rstrip().endswith("with --allow files")


def test_shipped_presets_and_plain_settings_need_no_flag(tmp_path: Path) -> None:
    assert plan(tmp_path, '[run]\nexamples = 3\n[method]\nreport_to = "none"\nprompts = 8\n').exit_code == 0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Somebody's run."""
    root = tmp_path / "theirs"
    result = CliRunner().invoke(main, ["eval", "--model", "builtin", *SMALL, "--output", str(root)])
    assert result.exit_code == 0, result.output
    return root


def again(root: Path, settings: dict[str, object], *arguments: str) -> Result:
    manifest = read_sealed(root / "manifest.json")
    config = {**manifest["config"], **settings}  # type: ignore[dict-item]
    write_sealed(root / "manifest.json", json.loads(json.dumps({**manifest, "config": config})))
    return CliRunner().invoke(HarnessGroup(commands={"reproduce": reproduce}), ["reproduce", str(root), *arguments])


def test_a_manifest_decides_neither(
    run: Path, tmp_path: Path, listening: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tasks: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    url, heard = listening
    name = url.removeprefix("http://")
    served: dict[str, object] = {"backend": "served", "url": url, "include_path": str(tasks), "extra_tasks": ["evil"]}
    result = again(run, served)
    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith(f"with --allow code --allow-url {name} --allow files")
    assert (heard, (tmp_path / "ran").exists()) == ([], False)
    again(run, {**served, "include_path": "", "extra_tasks": []}, "--allow-url", name)
    assert set(heard) == {"Bearer sk-secret"}


def test_reproduce_asks_the_server_that_is_typed(run: Path, listening: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    url, heard = listening
    again(run, {"backend": "served", "url": "http://evil.example/v1"}, "--url", url)
    assert set(heard) == {"Bearer sk-secret"}


def test_an_address_that_was_stored_without_its_password_is_asked_for(run: Path) -> None:
    result = again(run, {"backend": "served", "url": "http://[redacted]@evil.example/v1"})
    assert result.exit_code == 2
    assert "stored without its password or key; give it whole with --url" in result.stderr


@pytest.mark.parametrize(
    ("option", "flag"),
    [
        ('report_to = "wandb"', "--allow report"),
        ('parallel = "cluster.yaml"', "--allow code"),
        ('prompts_from = "https://a.b/c"', "--allow-url a.b"),
    ],
)
def test_a_variant_in_a_preset_needs_a_flag_too(tmp_path: Path, option: str, flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.toml").write_text(f'[[method]]\nname = "sft"\n[[method]]\nname = "retmask"\n{option}\n')
    command = ["run", "--model", "builtin", "--preset", "theirs.toml", *SMALL, "--output", "run"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith(f"say so with {flag}")
    assert not Path("run").exists()
    named = CliRunner().invoke(main, [*command, "--method", "no-such"])
    assert "unknown method 'no-such'" in named.stderr, "variants that are not run ask for nothing"
