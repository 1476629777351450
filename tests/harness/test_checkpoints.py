"""A trained model where a person finds it: its folder in the run, its card, its name for --model, the way out of the run.

The run is ``tests/old_run``, whose own command finds everything finished but the model's folder.
"""

import base64
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.api import HarnessError
from harness.commands import models as models_cli
from harness.commands import runs as runs_cli
from harness.commands.options import run_root
from harness.commands.root import main
from harness.files import file_digest
from harness.models.licence import origin
from harness.models.lookup import resolve
from harness.publishing.card import command, portable
from harness.store import checkpoints
from harness.store.sweep import sweeps
from tests.harness.test_old_run import COMMAND, OLD

RUN = Path("tests/old_run/run")
NAME = f"{RUN}:sft"


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the entry points of an installed project add them."""
    monkeypatch.setitem(main.commands, "models", models_cli.models)
    monkeypatch.setitem(main.commands, "runs", runs_cli.runs)


def harness(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with the finished run, and what its command printed."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(OLD, folder / "tests" / "old_run")
    (folder / "tests/old_run/model/README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A model\n")
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o600)  # as safetensors leaves them
    before = os.getcwd()
    os.chdir(folder)
    try:
        done = harness(*COMMAND.split())
    finally:
        os.chdir(before)
    assert done.exit_code == 0, done.output
    return folder, done.output


@pytest.fixture
def here(finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    shutil.copytree(finished[0] / "tests", tmp_path / "tests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_says_where_its_model_is_and_it_costs_no_room(finished: tuple[Path, str]) -> None:
    folder, said = finished
    assert f"model: {RUN}/models/sft\n" in said
    place = folder / RUN / "models/sft"
    (step,) = (folder / RUN / "steps").glob("sft-*/model")
    assert (place / "model.safetensors").samefile(step / "model.safetensors")
    assert not (place / "config.json").samefile(step / "config.json")
    assert not (step / "README.md").exists()
    mask = os.umask(0)
    os.umask(mask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o666 & ~mask}
    report = json.loads((folder / RUN / "report.json").read_text())
    assert report["settings"].get("trained models", "models/sft") == "models/sft"  # the page may be of before


def test_the_card_is_one_that_the_hub_reads(finished: tuple[Path, str]) -> None:
    from huggingface_hub import ModelCard

    text = (finished[0] / RUN / "models/sft/README.md").read_text()
    data = ModelCard(text, ignore_metadata_errors=False).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("cc-by-4.0", "transformers", "text-generation")
    assert {"retmask-harness", "sft"} <= set(data.tags or ())
    metrics = {result.metric_type: result for result in data.eval_results or ()}
    assert set(metrics) == {"overall", "recall"}
    assert set(metrics["overall"].metric_args or {}) >= {"baseline", "delta", "low", "high"}
    for word in ("## Scores", "baseline", "| pairs | 4 |", "learning rate", "## Do it again", "harness ", "suite digest"):
        assert word in text
    assert str(finished[0]) not in text
    assert not re.search(r"\d\.\d{8}", text.split("## Scores", 1)[1])  # nobody reads sixteen digits


def test_a_card_names_no_machine_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "geheim-geheim")
    assert portable("see /home/ann/a/train.log, ~/b and file:///srv/c; https://example.org/d/e and runs/f") == (
        "see train.log, b and c; https://example.org/d/e and runs/f"
    )
    typed = ["/opt/bin/harness", "run", "--model=/data/my model", "--url", "http://ann:pw@example.org/v1", "--set", "key=geheim-geheim"]
    assert command(typed) == "harness run '--model=my model' --url http://[redacted]@example.org/v1 --set key=[MY_API_KEY]"


def test_a_home_with_blanks_in_its_name_stays_out_of_the_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "ann smith"))
    assert portable(f"base model {tmp_path}/ann smith/models/x.") == "base model models/x."


def test_licence_and_origin_come_from_what_is_known(tmp_path: Path) -> None:
    assert origin(resolve("builtin")).license == "apache-2.0"
    named = resolve("builtin").__class__("smollm2-135m", tmp_path, "")
    assert (origin(named).base_model, origin(named).license) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
    (tmp_path / "README.md").write_text('---\nlicense: other\nlicense_name: "gemma"\nlicense_link: <script>\n---\nlicense: mit\n')
    hub = origin(named.__class__("google/gemma-3", tmp_path, ""))
    assert (hub.base_model, hub.license, hub.license_name, hub.license_link) == ("google/gemma-3", "other", "gemma", "")


def test_its_name_is_a_model_wherever_the_run_is_moved(here: Path) -> None:
    (step,) = RUN.glob("steps/sft-*/model")
    trained = resolve(str(step)).digest
    assert resolve(NAME).digest == trained
    shutil.move(RUN, "elsewhere")
    assert resolve("elsewhere:sft").digest == trained
    assert run_root(None, "elsewhere:sft") == Path("runs/elsewhere_sft")
    assert resolve("elsewhere:sft").path == (here / "elsewhere/models/sft").resolve()
    shown = harness("runs", "show", "elsewhere")
    assert "model: elsewhere/models/sft" in shown.stdout
    assert harness("runs", "verify", "elsewhere").exit_code == 0


def test_a_name_that_leads_nowhere_is_answered_with_those_that_do(here: Path) -> None:
    with pytest.raises(HarnessError, match="has no model 'stf'; it has sft"):
        resolve(f"{RUN}:stf")
    folder = RUN / "models"
    for seed in (1, 2):
        checkpoints.publish(RUN, f"retmask@{seed}", folder / "sft", f"digest {seed}", "card")
    with pytest.raises(HarnessError, match=r"name one: .*:retmask@1, .*:retmask@2"):
        resolve(f"{RUN}:retmask")
    shutil.rmtree(folder)
    with pytest.raises(HarnessError, match="has no models in models/"):
        resolve(NAME)


def test_a_model_that_was_changed_is_not_taken_for_the_trained_one(here: Path) -> None:
    config = RUN / "models/sft/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rms_norm_eps": 0.5}))
    with pytest.raises(HarnessError, match="is not what its run has trained"):
        resolve(NAME)
    assert resolve(str(config.parent)).digest
    assert harness("runs", "verify", RUN).exit_code == 0  # the step is as it was


def test_gc_leaves_the_model_where_its_step_goes(here: Path) -> None:
    (step,) = RUN.glob("steps/sft-*")
    before = file_digest(RUN / "models/sft/model.safetensors")
    assert all("models" not in each.path.relative_to(sweep.root).parts for sweep in sweeps(RUN, 0) for each in sweep.spare)
    shutil.rmtree(step)
    assert file_digest(RUN / "models/sft/model.safetensors") == before
    assert resolve(NAME).digest


@pytest.mark.parametrize("kind", ["folder", "link", "link above"])
def test_what_the_harness_did_not_make_stays(kind: str, tmp_path: Path) -> None:
    source, mine, root = tmp_path / "source", tmp_path / "mine", tmp_path / "run"
    for path in (source, mine, root):
        path.mkdir()
    (source / "config.json").write_text("{}")
    (mine / "letter.txt").write_text("dear Ann")
    if kind == "link above":
        (root / "models").symlink_to(mine)
    else:
        (root / "models").mkdir()
        shutil.copytree(mine, root / "models/sft") if kind == "folder" else (root / "models/sft").symlink_to(mine)
    said: list[str] = []
    assert checkpoints.publish(root, "sft", source, "digest", "card", said.append) is None
    assert len(said) == 1
    assert [path.name for path in mine.iterdir()] == ["letter.txt"]
    assert checkpoints.listed(root) == []


def test_a_model_without_its_own_files_is_put_there_anew_and_another_card_replaces_the_card(tmp_path: Path) -> None:
    (tmp_path / "source/deep").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "deep/template.jinja"):
        (tmp_path / "source" / name).write_text(name)
    for turn, card in enumerate(("first", "second")):
        place = checkpoints.publish(tmp_path, "a@1", tmp_path / "source", "digest", card)
        assert place is not None
        assert (place / "README.md").read_text() == card
        assert {path.name for path in place.rglob("*")} == {"model.safetensors", "config.json", "deep", "template.jinja", "README.md"}
        (place / "model.safetensors").unlink()
        assert turn == 0 or [path.name for path in (tmp_path / "models").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("moment", ["while files are put there", "before the record", "after the record"])
def test_a_killed_command_leaves_no_old_model_under_the_new_ones_digest(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [tmp_path / "first", tmp_path / "second"]
    for source in sources:
        source.mkdir()
        (source / "model.safetensors").write_text(source.name)
    checkpoints.publish(tmp_path, "a", sources[0], "digest of first", "card")
    with monkeypatch.context() as patched:
        name = {"while files are put there": "_put", "before the record": "_make_room", "after the record": "write_sealed"}[moment]
        made = getattr(checkpoints, name)

        def killed(*arguments: Any) -> None:
            made(*arguments)
            raise KeyboardInterrupt

        patched.setattr(checkpoints, name, killed)
        patched.setattr(checkpoints.shutil, "rmtree", lambda *_, **__: None)  # a kill tidies nothing up
        with pytest.raises(KeyboardInterrupt):
            checkpoints.publish(tmp_path, "a", sources[1], "digest of second", "card")
    for each in checkpoints.listed(tmp_path):
        assert each.digest == f"digest of {(each.path / 'model.safetensors').read_text()}"
    (tmp_path / "models/.a.99999").mkdir()  # of a process that is long gone
    place = checkpoints.publish(tmp_path, "a", sources[1], "digest of second", "card")
    assert place is not None
    assert (place / "model.safetensors").read_text() == "second"
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"a", "models.json"}


def test_files_of_somebodys_own_in_a_models_folder_outlive_another_model(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    said: list[str] = []
    for turn, name in enumerate(("first", "second", "first")):
        place = checkpoints.publish(tmp_path, "a", tmp_path / name, name, "card", said.append)
        assert place is not None
        if turn < 2:
            (place / "my-adapter.safetensors").write_text("mine")
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"a", "a.before-1", "a.before-2", "models.json"}
    assert (tmp_path / "models/a.before-1/my-adapter.safetensors").read_text() == "mine"
    assert len(said) == 2
    assert "a.before-1" in said[0]
    assert [each.label for each in checkpoints.listed(tmp_path)] == ["a"]


@pytest.mark.parametrize("name", ["config.json", "deep/template.jinja", "model.safetensors"])
def test_what_somebody_has_edited_outlives_another_model(name: str, tmp_path: Path) -> None:
    sources = _two_models(tmp_path)
    place = checkpoints.publish(tmp_path, "a", sources[0], "first", "card")
    assert place is not None
    edited = place / name
    edited.unlink()  # as editors do, who write another file and rename it; weights are links
    edited.write_text("mine")
    said: list[str] = []
    assert checkpoints.publish(tmp_path, "a", sources[1], "second", "card", said.append) == place
    assert (place / name).read_text() == f"{name} of second"
    assert (tmp_path / "models/a.before-1" / name).read_text() == "mine"
    assert [(name in line, "a.before-1" in line) for line in said] == [(True, True)]
    shutil.rmtree(tmp_path / "models/a.before-1")
    checkpoints.publish(tmp_path, "a", sources[0], "first", "card", said.append)
    assert (len(said), (tmp_path / "models/a.before-1").exists()) == (1, False)  # nothing was edited this time


def test_an_edited_file_of_the_same_model_stays_and_is_said(tmp_path: Path) -> None:
    source = _two_models(tmp_path)[0]
    place = checkpoints.publish(tmp_path, "a", source, "first", "card")
    assert place is not None
    (place / "config.json").write_text("mine")
    said: list[str] = []
    for _ in range(2):
        checkpoints.publish(tmp_path, "a", source, "first", "card", said.append)
    assert (place / "config.json").read_text() == "mine"
    assert len(said) == 2
    assert all("config.json changed since" in line for line in said)


def test_an_edited_card_stays_and_another_is_written_again(tmp_path: Path) -> None:
    source = _two_models(tmp_path)[0]
    said: list[str] = []
    for card in ("first", "second", "third"):
        place = checkpoints.publish(tmp_path, "a", source, "digest", card, said.append)
        assert place is not None
        assert (place / "README.md").read_text() == card
    assert said == []
    (place / "README.md").write_text("my own words")
    checkpoints.publish(tmp_path, "a", source, "digest", "fourth", said.append)
    assert (place / "README.md").read_text() == "my own words"
    assert len(said) == 1
    assert "README.md changed since" in said[0]
    (place / "README.md").unlink()
    checkpoints.publish(tmp_path, "a", source, "digest", "fifth", said.append)
    assert (place / "README.md").read_text() == "fifth"


def test_a_kill_between_record_and_card_leaves_a_card_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _two_models(tmp_path)[0]
    checkpoints.publish(tmp_path, "a", source, "digest", "first")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for card in ("second", "third"):
            with pytest.raises(KeyboardInterrupt):
                checkpoints.publish(tmp_path, "a", source, "digest", card)
    said: list[str] = []
    place = checkpoints.publish(tmp_path, "a", source, "digest", "fourth", said.append)
    assert place is not None
    assert ((place / "README.md").read_text(), said) == ("fourth", [])


def test_a_file_where_a_models_folder_was_stays(tmp_path: Path) -> None:
    source = _two_models(tmp_path)[0]
    place = checkpoints.publish(tmp_path, "a", source, "digest", "card")
    assert place is not None
    shutil.rmtree(place)
    place.write_text("mine")
    said: list[str] = []
    assert checkpoints.publish(tmp_path, "a", source, "digest", "card", said.append) is None
    assert (place.read_text(), len(said)) == ("mine", 1)


def test_two_methods_never_share_a_folder() -> None:
    names = ["m(a=x, b=y)", "m(a=x_b_y)", "m(a=x, b=Y)", "m_a_x_b_y_", "m(a=-1)", "m(a=1)", "m", "a" * 101, "a" * 102]
    assert len({checkpoints.label(name, seed).casefold() for name in names for seed in (None, 1)}) == 2 * len(names)
    assert checkpoints.label("retmask", 2) == "retmask@2"


def _two_models(folder: Path) -> list[Path]:
    for name in ("first", "second"):
        (folder / name / "deep").mkdir(parents=True)
        for file in ("model.safetensors", "config.json", "deep/template.jinja"):
            (folder / name / file).write_text(f"{file} of {name}")
    return [folder / "first", folder / "second"]


def test_a_variants_model_goes_by_its_label_as_its_evaluation_does(tmp_path: Path) -> None:
    for path in (tmp_path / "source", tmp_path / "run/steps"):
        path.mkdir(parents=True)
    (tmp_path / "source/config.json").write_text("{}")
    run = tmp_path / "run"
    for seed in (1, 2):
        checkpoints.publish(run, checkpoints.label("retmask(seed_of=x, top_k=4)", seed), tmp_path / "source", str(seed), "card")
    for name in ("retmask(seed_of=x, top_k=4)@2", "retmask( top_k = 4, seed_of=x )@2", checkpoints.label("retmask(seed_of=x, top_k=4)", 2)):
        found = checkpoints.find(f"{run}:{name}")
        assert found is not None
        assert found.digest == "2"
    with pytest.raises(HarnessError, match="name one"):
        checkpoints.find(f"{run}:retmask(seed_of=x, top_k=4)")


def test_export_copies_all_of_it_and_links_nothing(here: Path) -> None:
    done = harness("models", "export", NAME, "mine")
    assert done.exit_code == 0, done.output
    assert resolve("mine").digest == resolve(NAME).digest
    assert (here / "mine/README.md").is_file()
    assert {path.stat().st_nlink for path in (here / "mine").iterdir()} == {1}
    for folder in ("mine", str(RUN / "models/sft/inner")):
        assert harness("models", "export", NAME, folder).exit_code == 2
    refused = harness("models", "export", str(RUN / "models/sft"), "again")
    assert (refused.exit_code, "write RUN:METHOD" in refused.output) == (2, True)


def test_export_fills_the_empty_folder_that_somebody_stands_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "empty").mkdir()
    monkeypatch.chdir(here / "empty")
    done = harness("models", "export", str(here / NAME) if not Path(NAME).is_absolute() else NAME, ".")
    assert done.exit_code == 0, done.output
    assert (here / "empty/README.md").is_file()
    assert not list(here.glob(".empty.*"))


def test_a_name_that_no_repository_has_is_refused_before_anything_is_said(here: Path) -> None:
    refused = harness("models", "export", NAME, "--push-to-hub", "a/b/c d")
    assert (refused.exit_code, "no name of a repository" in refused.output) == (2, True)


def test_a_push_is_only_said_unless_it_is_confirmed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    with _hub() as (endpoint, asked, commits):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        said = harness("models", "export", NAME, "--push-to-hub", "ann/tiny")
        assert said.exit_code == 0, said.output
        assert "nothing was uploaded; --yes uploads these to the private repository ann/tiny" in said.output
        assert asked == []
        done = harness("models", "export", NAME, "--push-to-hub", "ann/tiny", "--yes")
        assert done.exit_code == 0, done.output
        assert '"private"' in asked[0][1]
        assert set(commits) == {path.name for path in (RUN / "models/sft").iterdir()}
        assert commits["model.safetensors"] == (RUN / "models/sft/model.safetensors").read_bytes()
        assert "hf_xxx" not in done.output
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused = harness("models", "export", NAME, "--push-to-hub", "ann/tiny", "--yes")
    assert (refused.exit_code, "could not be uploaded" in refused.output) == (2, True)


@contextmanager
def _hub() -> Iterator[tuple[str, list[tuple[str, str]], dict[str, bytes]]]:
    """A Hub that takes uploads: its address, what it was asked to do, and the files that were committed."""
    asked: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _json(self, value: object) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self._json({"id": "ann/tiny", "sha": "0" * 40, "siblings": []})

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((self.path, text))
            assert "Bearer hf_" in self.headers.get("Authorization", "")
            if self.path.endswith("/repos/create"):
                self._json({"url": f"{address}/ann/tiny", "name": "ann/tiny"})
            elif "/preupload/" in self.path:
                paths = [each["path"] for each in json.loads(text)["files"]]
                self._json({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]})
            elif "/commit/" in self.path:
                for line in map(json.loads, text.splitlines()):
                    if line["key"] == "file":
                        files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self._json({"commitUrl": f"{address}/ann/tiny/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True})
            else:
                self._json({"errors": [], "warnings": []})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield address, asked, files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_evaluation_never_writes_into_the_models_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Path("runs/random-1")
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    assert run_root(None, "runs/random-1") == Path("runs/random-1-run")
    for output in (model, model / "deep", Path("runs/../runs/random-1")):
        with pytest.raises(HarnessError, match="is in the model's own directory"):
            run_root(output, "runs/random-1")
    monkeypatch.chdir(model)
    with pytest.raises(HarnessError, match="is in the model's own directory"):
        run_root(None, ".")
    assert run_root(tmp_path / "else", ".") == tmp_path / "else"
