"""Models that come as one GGUF file: read as transformers reads them, once, and refused in one line where that would go wrong."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from harness import cache
from harness.api import HarnessError
from harness.builtin import MODEL_DIR
from harness.commands.root import main
from harness.models import gguf
from harness.models.lookup import resolve

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that the helpers below are found however pytest was started

from tests import ggufs
from tests.disks import largest_file
from tests.ggufs import write_gguf

TEXT = "The note about the tall hare says: 12 lines\nand  more."
MakeGguf = Callable[..., Path]


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))


@pytest.fixture
def make_gguf(tmp_path: Path) -> MakeGguf:
    """A GGUF file of the shipped model's tokenizer with small random weights."""

    def make(name: str = "small.gguf", *, tied: bool = True, **more: Any) -> Path:
        torch.manual_seed(0)
        config = LlamaConfig.from_pretrained(
            MODEL_DIR,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            tie_word_embeddings=tied,
            max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        )
        return write_gguf(tmp_path / name, LlamaForCausalLM(config), AutoTokenizer.from_pretrained(MODEL_DIR), **more)

    return make


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """The shipped model as a GGUF file, without its position scaling, which that format has no words for: it still finds needles."""
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
    return write_gguf(tmp_path / "shipped.gguf", model, AutoTokenizer.from_pretrained(MODEL_DIR))


def harness(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def own_lines(stderr: str) -> list[str]:
    """Without the bars of libraries, which a process of its own turns off before it imports them."""
    return [line for line in stderr.splitlines() if line and "it/s]" not in line]


def cached() -> list[Path]:
    """Everything in the cache but the store's own mark."""
    return sorted(path for path in cache.directory().rglob("*") if ".harness" not in path.parts)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_and_tokens_are_those_of_transformers_own_loading(make_gguf: MakeGguf, tied: bool) -> None:
    file = make_gguf(tied=tied)
    own = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    own_tokens = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    path = resolve(str(file)).path
    ours, tokens = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    assert tokens(TEXT).input_ids == own_tokens(TEXT).input_ids
    assert tokens.chat_template == own_tokens.chat_template is not None
    assert ours.dtype == torch.float32
    assert ours.config.tie_word_embeddings is tied
    assert ours.generation_config.eos_token_id == AutoTokenizer.from_pretrained(MODEL_DIR).eos_token_id
    ids = torch.tensor([tokens(TEXT).input_ids])
    torch.testing.assert_close(ours(ids).logits, own(ids).logits, atol=1e-5, rtol=0)


def test_weights_survive_the_round_trip(shipped: Path) -> None:
    """The writer of these tests and transformers' reader agree on how heads are laid out."""
    found, original = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (resolve(str(shipped)).path, MODEL_DIR))
    assert found.keys() == original.keys()
    assert all(torch.equal(found[name], original[name]) for name in found)


def test_a_file_is_converted_once_and_its_name_does_not_matter(make_gguf: MakeGguf, capsys: pytest.CaptureFixture[str]) -> None:
    file = make_gguf()
    first = resolve(str(file))
    assert own_lines(capsys.readouterr().err) == ["dequantising small.gguf, once"]
    before = {path: path.stat().st_mtime_ns for path in cached()}
    moved = file.rename(file.with_name("moved.gguf"))
    second = resolve(str(moved))
    assert (second.path, second.digest) == (first.path, first.digest)
    assert capsys.readouterr().err == ""
    assert {path: path.stat().st_mtime_ns for path in cached()} == before


def test_what_lies_beside_the_file_changes_nothing(make_gguf: MakeGguf, tmp_path: Path) -> None:
    file = make_gguf()
    alone = resolve(str(file))
    shutil.rmtree(cache.directory())
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "chat_template.jinja"):
        (tmp_path / name).write_text('{"eos_token_id": 9, "chat_template": "x", "architectures": ["Other"]}')
    assert resolve(str(file)).digest == alone.digest


def test_files_have_the_usual_permissions(make_gguf: MakeGguf) -> None:
    before = os.umask(0o022)
    try:
        path = resolve(str(make_gguf())).path
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o644}
    assert not any(file.is_symlink() or file.suffix == ".gguf" for file in path.iterdir())


def test_an_answer_ends_where_the_turn_ends(make_gguf: MakeGguf) -> None:
    path = resolve(str(make_gguf(tokenizer__ggml__eot_token_id=2))).path
    assert json.loads((path / "generation_config.json").read_text())["eos_token_id"] == [3, 2]


def test_texts_begin_as_the_file_says(make_gguf: MakeGguf) -> None:
    """Gemma is lost without its first token, which transformers leaves out of a tokenizer from a GGUF file."""
    begun, plain = (AutoTokenizer.from_pretrained(resolve(str(make_gguf(begins=begins))).path) for begins in (True, False))
    assert begun(TEXT).input_ids == [begun.bos_token_id, *plain(TEXT).input_ids]
    assert begun(TEXT, add_special_tokens=False).input_ids == plain(TEXT).input_ids


def test_two_processes_convert_it_once(make_gguf: MakeGguf) -> None:
    file = make_gguf()
    code = "import sys; from harness.models.lookup import resolve; print(resolve(sys.argv[1]).digest)"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    done = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], done
    assert done[0][0] == done[1][0]
    assert sum(error.count("dequantising") for _, error in done) == 1
    assert [path.name for path in (cache.directory() / "models/steps").iterdir() if path.suffix] == []


def refused(file: Path) -> str:
    """The one line that refuses it; nothing of it is in the cache."""
    result = harness("heads", "detect", "--model", file, "--out", file.parent / "h.safetensors")
    assert result.exit_code == 2, result.output
    assert [line.startswith("harness: ") for line in own_lines(result.stderr) if "dequantising" not in line] == [True]
    assert cached() == [] or {path.name for path in cached()} == {"models", "steps"}
    return result.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "none.gguf")


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 a zip archive"])
def test_a_file_that_is_no_gguf(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    assert "is no GGUF file" in refused(tmp_path / "x.gguf")


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.999])
def test_a_truncated_file(make_gguf: MakeGguf, kept: float) -> None:
    file = make_gguf()
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    assert "damaged" in refused(file)


def test_a_truncated_file_is_read_by_nobody(make_gguf: MakeGguf) -> None:
    file = make_gguf()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(HarnessError, match="ends at byte"):
        gguf.check(file)


@pytest.mark.parametrize("start", [4, 8, 16, 24, 32, 200])
def test_a_damaged_header(make_gguf: MakeGguf, start: int) -> None:
    file = make_gguf()
    content = bytearray(file.read_bytes())
    content[start : start + 8] = b"\xff" * 8
    file.write_bytes(content)
    assert str(file) in refused(file)


def test_one_of_several_parts(make_gguf: MakeGguf) -> None:
    assert "one of 3 parts" in refused(make_gguf("m-00001-of-00003.gguf"))
    assert "--merge" in refused(make_gguf("renamed.gguf", split__count=2))


def test_a_part_that_is_the_only_one(make_gguf: MakeGguf) -> None:
    assert resolve(str(make_gguf("m-00001-of-00001.gguf"))).digest


def test_an_architecture_that_transformers_cannot_read(make_gguf: MakeGguf) -> None:
    assert "architecture rwkv7, which transformers cannot read" in refused(make_gguf(architecture="rwkv7"))


def test_positions_that_transformers_would_get_wrong(make_gguf: MakeGguf) -> None:
    """Llama 3.1 and long-context Qwen: read without their scaling they answer well, until the context is long."""
    assert "rope scaling yarn" in refused(make_gguf(llama__rope__scaling__type="yarn"))
    assert resolve(str(make_gguf("none.gguf", llama__rope__scaling__type="none"))).digest


def test_a_missing_tensor_is_not_made_up(make_gguf: MakeGguf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ggufs._LAYER, "mlp.up_proj", "ffn_upp")
    assert "tensors are missing" in refused(make_gguf())


def test_a_full_disk_is_one_line_and_leaves_nothing(make_gguf: MakeGguf) -> None:
    file = make_gguf()
    with largest_file(100_000):
        result = harness("eval", "--model", file)
    assert result.exit_code == 2, repr(result.exception)
    assert "File too large" in own_lines(result.stderr)[-1]
    assert "make room" in own_lines(result.stderr)[-1]
    assert {path.name for path in cached()} == {"models", "steps"}


def test_a_killed_conversion_starts_again(make_gguf: MakeGguf, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_gguf()
    whole = resolve(str(file))
    step = whole.path.parent
    work = step.with_name(step.name + ".work")
    step.rename(work)
    (work / "manifest.json").unlink()
    (work / "model" / "model.safetensors").write_bytes(b"half")
    assert resolve(str(file)).digest == whole.digest
    assert not work.exists()


def test_a_folder_of_gguf_files_says_to_name_one(make_gguf: MakeGguf, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = make_gguf().rename(folder / "m.gguf")
    shutil.copy(MODEL_DIR / "config.json", folder)
    with pytest.raises(HarnessError, match=f"name that, --model {file}"):
        resolve(str(folder))
    shutil.copy(MODEL_DIR / "model.safetensors", folder)
    assert resolve(str(folder)).path == folder


def test_a_cache_that_cannot_be_written(make_gguf: MakeGguf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "file/below"))
    with pytest.raises(HarnessError, match="set HARNESS_CACHE to a folder"):
        resolve(str(make_gguf()))


def test_the_cache_is_where_it_was_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.directory() == tmp_path / "cache"
    monkeypatch.delenv(cache.ENVIRONMENT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.directory() == tmp_path / "xdg/retmask-harness"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.directory() == Path.home() / ".cache/retmask-harness"


def test_the_whole_loop_runs_on_one(shipped: Path, tmp_path: Path) -> None:
    """Evaluation, detection, pairs, training and the comparison; then again from the manifest."""
    small = {
        "prompts_from": "generated", "prompts": 8, "max_new_tokens": 6, "temperature": 1.0, "batch_size": 4, "micro_batch_size": 4,
        "detection_lengths": "[128]", "detection_trials": 6, "epochs": 1,
    }  # fmt: skip
    options = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    asked = ("--preset", "builtin", "--lengths", "256", "--examples", "2", "--tasks", "niah_mk", "--device", "cpu")
    done = harness("run", "--model", shipped, "--method", "retmask", *asked, *options, "--output", tmp_path / "run")
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["model"]["name"] == str(shipped)
    names = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "run/steps").iterdir()}
    assert {"eval", "heads", "pairs", "dpo"} <= names
