"""Named models: fetched by the real pip, out of wheels that are made here, and never believed before their digest is."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that the helpers below are found however pytest was started

from harness import cache
from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from harness.commands import models as models_cli
from harness.commands.root import main
from harness.models import catalogue, gguf, named, wheels
from harness.models.catalogue import Entry
from harness.models.lookup import resolve
from tests.ggufs import write_gguf

CATALOGUE = """
[{name}]
title = "Made for a test"
source = "nobody/tiny"
licence = "{licence}"
parameters = 1
context = 1_024
chat = true
file = "tiny.gguf"
sha256 = "{sha256}"
bytes = {size}
"""


def make_wheel(folder: Path, package: str, members: dict[str, bytes]) -> Path:
    """A wheel that pip takes. Its code would leave a file if anybody imported it."""
    module = package.replace("-", "_")
    path = folder / f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{module}/{name}", content)
        archive.writestr(f"{module}/__init__.py", f"open({str(folder / 'imported')!r}, 'w')")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: not-to-be-fetched\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def _wheel_lines(table: str, path: Path, member: str) -> str:
    module, package = path.name.partition("-")[0], path.name.partition("-")[0].replace("_", "-")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lines = f'{table}\npackage = "{package}"\nversion = "1.0"\nfile = "{path.name}"\nsha256 = "{digest}"\nbytes = {path.stat().st_size}\n'
    return lines + (f'member = "{module}/{member}"\n' if member else "")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of two models: `tiny` in one, `split` in two and with terms of its own; and their catalogue."""
    folder = tmp_path_factory.mktemp("index")
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(
        MODEL_DIR, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        max_position_embeddings=1024, rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )  # fmt: skip
    file = write_gguf(folder / "tiny.gguf", LlamaForCausalLM(config), AutoTokenizer.from_pretrained(MODEL_DIR))
    content = file.read_bytes()
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    whole = make_wheel(folder, "tiny-model", {"tiny.gguf": content})
    text = CATALOGUE.format(name="tiny", licence="MIT", **facts) + _wheel_lines("[[tiny.wheels]]", whole, "tiny.gguf")
    # Another model's file: one byte of its name is different, which changes its digest and nothing else.
    content = content.replace(b"made for a test", b"made for b test")
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    halves = [
        make_wheel(folder, f"split-part{number}", {f"x.part{number}": part})
        for number, part in enumerate((content[:100_000], content[100_000:]))
    ]
    terms = make_wheel(folder, "split-terms", {"NOTICE.md": b"# NOTICE\nBe kind.", "TERMS.html": b"<p>All of it</p>"})
    text += CATALOGUE.format(name="split", licence="Own Terms", **facts)
    text += '[split.terms]\nnotice = "split_terms/NOTICE.md"\ntext = "split_terms/TERMS.html"\n'
    text += _wheel_lines("[split.terms.wheel]", terms, "")
    text += "".join(_wheel_lines("[[split.wheels]]", path, f"x.part{number}") for number, path in enumerate(halves))
    (folder / "catalogue.toml").write_text(text)
    file.unlink()
    return folder


@pytest.fixture(autouse=True)
def _catalogue(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty cache, pip set up with the folder as its only index, and the catalogue of the wheels in it."""
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setattr(catalogue, "CATALOGUE", index / "catalogue.toml")
    monkeypatch.setitem(main.commands, "models", models_cli.models)
    catalogue.entries.cache_clear()
    yield
    catalogue.entries.cache_clear()


def harness(*arguments: str | Path, **more: str) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), **more)  # type: ignore[arg-type]


def entry(name: str) -> Entry:
    return catalogue.entries()[name]


def steps() -> list[str]:
    folder = cache.directory() / "models/steps"
    return sorted(path.name.rpartition("-")[0] for path in folder.iterdir()) if folder.is_dir() else []


def own_lines(stderr: str) -> list[str]:
    """Without the bars of libraries, which a process of its own turns off before it imports them."""
    return [line for line in stderr.splitlines() if line and "it/s]" not in line]


def test_the_catalogue_is_whole() -> None:
    catalogue.entries.cache_clear()
    read = pytest.MonkeyPatch()
    read.setattr(catalogue, "CATALOGUE", Path(catalogue.__file__).with_name("catalogue.toml"))
    try:
        found = dict(catalogue.entries())
    finally:
        read.undo()
    assert set(found) == {"smollm2-135m", "gemma3-270m"}
    for model in found.values():
        files = [*model.wheels, *([model.terms.wheel] if model.terms else [])]
        assert all(len(digest) == 64 for digest in (model.sha256, *(wheel.sha256 for wheel in files)))
        assert all(wheel.file.startswith(f"{wheel.package.replace('-', '_')}-{wheel.version}-") for wheel in files)
        assert (model.terms is None) == (model.licence == "Apache-2.0")


def test_a_name_is_enough(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = resolve("tiny")
    assert own_lines(capsys.readouterr().err) == ["fetching tiny, once: 0 MB, licence MIT", "dequantising tiny.gguf, once"]
    assert steps() == ["gguf", "wheels"]
    assert not (index / "imported").exists()
    assert not any(path.suffix == ".whl" for path in cache.directory().rglob("*")), "the GGUF file is enough"
    assert resolve("tiny") == first
    assert capsys.readouterr().err == ""


def test_later_there_need_be_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor when the conversion has to be made again, as after an upgrade of transformers."""
    first = resolve("tiny")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert resolve("tiny").digest == first.digest
    shutil.rmtree(first.path.parent)
    assert resolve("tiny").digest == first.digest


def test_without_a_network_one_line_says_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "a-secret-host"))
    result = harness("eval", "--model", "tiny")
    assert result.exit_code == 2
    line = own_lines(result.stderr)[-1]
    assert "tiny is not in the cache and pip cannot get it" in line
    assert "tiny-model==1.0" in line
    assert "PIP_FIND_LINKS=FOLDER" in line
    assert "a-secret-host" not in result.output
    assert steps() == []


def test_another_file_of_that_name_is_not_believed(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    make_wheel(folder, "tiny-model", {"tiny.gguf": b"GGUF and harm"})
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with pytest.raises(HarnessError, match=r"another file for tiny-model==1\.0"):
        resolve("tiny")
    assert steps() == []


def test_a_member_is_checked_too(index: Path, tmp_path: Path) -> None:
    """A catalogue with a right wheel and a wrong file in it: nothing of it stays."""
    good = entry("tiny")
    path = shutil.copy(index / good.wheels[0].file, tmp_path)
    with pytest.raises(HarnessError, match="another digest"):
        wheels.join([(Path(path), good.wheels[0].member)], tmp_path / "x", good.bytes, "0" * 64)
    with pytest.raises(HarnessError, match="larger than it should be"):
        wheels.join([(Path(path), good.wheels[0].member)], tmp_path / "x", good.bytes - 1, good.sha256)
    with pytest.raises(HarnessError, match="cannot be read"):
        wheels.join([(Path(path), "no/such/file")], tmp_path / "x", good.bytes, good.sha256)


def test_an_interrupted_fetch_goes_on(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The half that came is not asked for again; a torn one, and what a killed pip left, are."""
    for path in index.glob("*.whl"):
        if "part1" not in path.name:
            shutil.copy(path, tmp_path)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert harness("models", "fetch", "split", "--accept-licence").exit_code == 2
    (work,) = (cache.directory() / "models/steps").glob("wheels-*.work")
    left = sorted(path.name for path in (work / "fetched").iterdir())
    assert left == ["split_part0-1.0-py3-none-any.whl"]
    (work / "fetched" / "pip-dead").mkdir()
    (work / "fetched" / entry("split").wheels[1].file).write_bytes(b"PK half")
    (work / entry("split").file).write_bytes(b"GGUF half")
    asked: list[str] = []
    original = wheels._download
    monkeypatch.setattr(wheels, "_download", lambda wheel, folder: (asked.append(wheel.package), original(wheel, folder)))
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    resolve("split")
    assert asked == ["split-part1"]
    assert steps() == ["gguf", "terms", "wheels"]


def test_a_killed_fetch_starts_again(index: Path, tmp_path: Path) -> None:
    """Killed while pip is at work, as a batch system does it."""
    slow = tmp_path / "slow"
    (slow / "pip").mkdir(parents=True)
    (slow / "pip" / "__init__.py").touch()
    (slow / "pip" / "__main__.py").write_text("import time; time.sleep(60)")
    code = "from harness.models import catalogue, lookup; from pathlib import Path; import sys\ncatalogue.CATALOGUE = Path(sys.argv[1])\n"
    command = [sys.executable, "-c", code + "lookup.resolve('tiny')", str(index / "catalogue.toml")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(slow)}, stderr=subprocess.DEVNULL, start_new_session=True)
    while not list((cache.directory() / "models/steps").glob("wheels-*.work/fetched/pip-*")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert resolve("tiny").digest
    assert steps() == ["gguf", "wheels"]


def test_two_processes_fetch_it_once(index: Path) -> None:
    code = "from harness.models import catalogue, lookup; from pathlib import Path; import sys\ncatalogue.CATALOGUE = Path(sys.argv[1])\n"
    command = [sys.executable, "-c", code + "print(lookup.resolve('tiny').digest)", str(index / "catalogue.toml")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    done = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], done
    assert done[0][0] == done[1][0]
    assert sum(error.count("fetching tiny") for _, error in done) == 1
    assert steps() == ["gguf", "wheels"]


def test_a_damaged_file_is_fetched_again(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = resolve("tiny")
    shutil.rmtree(first.path.parent)
    file = named.fetched(entry("tiny"))
    assert file is not None
    content = bytearray((file.path / "tiny.gguf").read_bytes())
    content[-1] ^= 1
    (file.path / "tiny.gguf").write_bytes(content)
    assert resolve("tiny").digest == first.digest
    assert "built again" in capsys.readouterr().err


def test_terms_are_shown_and_accepted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = harness("eval", "--model", "split")
    assert refused.exit_code == 2
    *shown, line = own_lines(refused.stderr)
    assert "Be kind." in shown
    assert "harness models fetch split --accept-licence" in line
    assert steps() == ["terms"], "nothing but the terms was fetched"
    (text,) = cache.directory().rglob("TERMS.html")
    assert str(text) in line
    assert text.read_text() == "<p>All of it</p>"
    fetched = harness("models", "fetch", "split", "--accept-licence")
    assert fetched.exit_code == 0, fetched.output
    removed = harness("models", "remove", "split", "--yes")
    assert removed.exit_code == 0
    assert steps() == []
    assert resolve("split").digest, "accepted for good"


@pytest.mark.parametrize(("answer", "code"), [("n\n", 2), ("y\n", 0)])
def test_a_person_at_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    monkeypatch.setattr(named, "_at_a_terminal", lambda: True)
    result = harness("models", "fetch", "split", input=answer)
    assert result.exit_code == code, result.output
    assert "Do you accept" in result.stderr
    assert named.is_accepted(entry("split")) is (code == 0)


def test_models_lists_what_can_be_named_and_what_is_here() -> None:
    empty = json.loads(harness("models", "list", "--json").stdout)
    assert {model["name"]: model["here"] for model in empty["models"]} == {"builtin": True, "tiny": False, "split": False}
    assert empty["cached"] == []
    assert "its licence asks to be accepted" in harness("models").stdout
    model = resolve("tiny")
    full = json.loads(harness("models", "--json").stdout)
    tiny = next(each for each in full["models"] if each["name"] == "tiny")
    assert (tiny["here"], tiny["path"], tiny["download"]) == (True, str(model.path), 0)
    assert tiny["bytes"] == sum(each["bytes"] for each in full["cached"]) > entry("tiny").bytes
    assert {each["model"] for each in full["cached"]} == {"tiny"}
    shown = harness("models").stdout
    assert "tiny, converted by transformers" in shown
    assert str(cache.directory()) in shown


def test_a_file_of_the_users_own_is_listed_and_removed_by_its_id(index: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = LlamaConfig.from_pretrained(MODEL_DIR, rope_parameters={"rope_type": "default", "rope_theta": 5000.0}, num_hidden_layers=1)
    file = write_gguf(tmp_path / "mine.gguf", LlamaForCausalLM(config), AutoTokenizer.from_pretrained(MODEL_DIR))
    path = resolve(str(file)).path
    (held,) = json.loads(harness("models", "--json").stdout)["cached"]
    assert "mine.gguf, converted by transformers" in held["what"]
    assert harness("models", "remove", held["id"], input="n\n").exit_code == 0
    assert path.exists()
    assert "freed" in harness("models", "remove", held["id"], "--yes").stdout
    assert not path.exists()


def test_show_names_every_file_and_its_digest() -> None:
    shown = harness("models", "show", "split").stdout
    for wheel in entry("split").wheels:
        assert f"{wheel.pinned} sha256:{wheel.sha256}" in shown
    assert json.loads(harness("models", "show", "split", "--json").stdout)["licence"] == "Own Terms"
    assert harness("models", "show", "builtin").exit_code == 0


@pytest.mark.parametrize("command", ["fetch", "show", "remove"])
def test_a_name_that_nobody_knows(command: str) -> None:
    result = harness("models", command, "nobody")
    assert result.exit_code == 2
    assert "'nobody'" in result.stderr


def test_the_name_stays_with_the_run_and_reproduces_it(tmp_path: Path) -> None:
    """Where the files were is of no account: they are fetched again if they have to be."""
    done = harness(
        "eval", "--model", "tiny", "--preset", "builtin", "--lengths", "256", "--examples", "1", "--tasks", "niah_mk", "--device", "cpu",
        "--output", tmp_path / "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["model"]["name"] == "tiny"
    shutil.rmtree(cache.directory())
    again = harness("reproduce", tmp_path / "run")
    assert again.exit_code == 0, again.output
    assert gguf.find(entry("tiny").sha256) is not None
