"""Model directories that others made: loaded as every part of the harness does, or refused in one line, soon and in little memory."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from harness.api import HarnessError, Model
from harness.commands.root import main
from harness.engines import open_engine
from harness.engines.framing import rendered_prompt, template_digest
from harness.engines.options import EngineConfig
from harness.engines.weights import check_files
from harness.models import generation_config
from harness.models.footprint import ModelShape, context_length
from harness.models.lookup import resolve, tokenizer_digest
from harness.models.templates import TemplateError
from harness.models.tokenizers import load_tokenizer
from harness.planning.sizing import suitable
from tests.fuzz.checkpoints import KINDS, STAND_INS, content, edited, files_of
from tests.fuzz.hostile import fuzz, seldom, small, survives, within

#: A file's name -> what stands there instead, or how it is otherwise.
Changes = Mapping[str, bytes | str]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="fuzz-models-"))
    for kind in KINDS:  # made before hypothesis draws anything, which their making would disturb
        files_of(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield path
    shutil.rmtree(path)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Changes]:
    """A kind of model, and what is wrong with one or two of its files."""
    kind = draw(st.sampled_from(KINDS))
    sound = files_of(kind)
    found: dict[str, bytes | str] = {}
    small_ones = [name for name in sound if not name.endswith((".safetensors", ".bin"))]
    for name in draw(st.lists(st.sampled_from([*sound, *small_ones, "config.json"]), min_size=1, max_size=2, unique=True)):
        found[name] = draw(st.sampled_from(STAND_INS)) if draw(st.integers(0, 9)) == 0 else draw(content(name, sound[name]))
    return kind, found


def written(folder: Path, kind: str, changed: Changes) -> Path:
    """The model directory with these changes."""
    path = folder / "model"
    shutil.rmtree(path, ignore_errors=True)
    for name, data in {**files_of(kind), **changed}.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, bytes):
            file.write_bytes(data)
            continue
        match data:
            case "folder":
                file.mkdir()
            case "pipe":
                os.mkfifo(file)
            case "device":
                file.symlink_to("/dev/zero")
            case "loop":
                file.symlink_to(file)
            case "nowhere":
                file.symlink_to("/nowhere/at/all")
            case "outside":
                file.symlink_to("/etc/passwd")
            case "empty":
                file.write_bytes(b"")
    return path


def survived(call: Callable[[], Any]) -> Any:
    """The call's result, or None where it complained."""
    with small():
        return survives(call, HarnessError, TemplateError)


def looked_at(path: Path) -> Model | None:
    """Everything that asks no library."""
    model = survived(lambda: resolve(str(path)))
    if model is None:
        model = survived(lambda: resolve(str(path), allow_unsafe_weights=True))
    if not isinstance(model, Model):
        return None
    limit = survived(lambda: context_length(model))
    assert limit is None or type(limit) is int
    assert survived(lambda: tokenizer_digest(model))
    shape = survived(lambda: ModelShape.read(model))
    if shape is not None:
        assert shape.context is None or type(shape.context) is int
        assert shape.kv_bytes(512, "auto") >= 0
        assert shape.weight_bytes("auto") + shape.training_bytes() >= 0
    survived(lambda: suitable(model, "cpu"))
    for look in (generation_config.notice, generation_config.inputs, generation_config.facts):
        survived(lambda look=look: look(model.path))
    return model


@fuzz
@given(changes())
@example(edited("whole", "config.json", max_position_embeddings=[512]))
@example(edited("whole", "config.json", max_position_embeddings=-1))
@example(edited("whole", "config.json", num_key_value_heads=-2))
@example(edited("whole", "config.json", hidden_size=float("inf")))
@example(edited("shards", "model.safetensors.index.json", weight_map={"a": "x" * 300}))
@example(("adapter", {"adapter_model.safetensors": "folder"}))
@example(("adapter", {"adapter_model.safetensors": "loop"}))
def test_model_directories_are_looked_at(folder: Path, found: tuple[str, Changes]) -> None:
    looked_at(written(folder, *found))


def asked(tokenizer: Any) -> None:
    """As a suite is fitted and a prompt put to a model."""
    for frame in ("chat", "completion", "prefill"):
        text = rendered_prompt(tokenizer, "Who? <|end|>\n", " It is", frame=frame if tokenizer.chat_template is not None else "completion")
        ids = tokenizer(text)["input_ids"]
        assert all(type(token) is int for token in ids)
        tokenizer.decode(ids)
    if tokenizer.chat_template is not None:
        template_digest(tokenizer.chat_template)


@fuzz
@given(changes())
@example(("templates", {"chat_template.jinja": "gone"}))
def test_tokenizers_are_loaded(folder: Path, found: tuple[str, Changes]) -> None:
    model = looked_at(written(folder, *found))
    tokenizer = model and survived(lambda: load_tokenizer(model))
    if tokenizer is not None:
        survived(lambda: asked(tokenizer))


@seldom
@given(changes())
@example(edited("whole", "generation_config.json", eos_token_id=["x", 0]))
@example(edited("whole", "generation_config.json", eos_token_id={}))
@example(edited("whole", "config.json", vocab_size=True))
def test_networks_are_loaded_and_answer(folder: Path, found: tuple[str, Changes]) -> None:
    from retmask.model import load_model

    model = looked_at(written(folder, *found))
    if model is None:
        return
    survived(lambda: check_files(model.path, trust_remote_code=False))
    survived(lambda: load_model(model.path, "float32", "cpu"))
    engine = survived(lambda: open_engine(model, EngineConfig("hf", "auto", "cpu", 4096)))
    if engine is not None:
        survived(lambda: answer(engine))


def answer(engine: Any) -> None:
    """A few tokens of two prompts in one batch, one of them padded."""
    from lm_eval.api.instance import Instance

    from harness.engines.lm import Batch, Completion, Prompt

    prompts = []
    for name, text in {"long": "the needle is the river", "short": "the needle"}.items():
        request = Instance("generate_until", {}, (text, {"until": ["\n"], "max_gen_toks": 4, "do_sample": False}), 0)
        prompts.append(Prompt(name, tuple(engine._backend.tok_encode(text)), request))
    if all(0 < len(prompt.ids) < engine._backend.max_length - 4 for prompt in prompts):
        found = {name: answer for each in engine._backend.generate(prompts, Batch(4096)) for name, answer in each.items()}
        assert found.keys() == {"long", "short"}
        assert all(isinstance(each, Completion) for each in found.values())


@seldom
@given(changes(), st.booleans())
def test_models_are_planned_with(folder: Path, found: tuple[str, Changes], method: bool) -> None:
    path = written(folder, *found)
    asked_for = ["--method", "retmask", "--preset", "small"] if method else []
    common = ["--model", str(path), "--tasks", "niah_mk", "--lengths", "256", "--examples", "1", "--output", str(folder / "run")]
    with within(60), small():
        result = CliRunner().invoke(main, ["plan", *common, "--no-probe", *asked_for])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 2), (result.exit_code, result.stderr)
    if result.exit_code == 2:
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("harness: ")]
        assert "nobody foresaw" not in line


@pytest.mark.parametrize("kind", KINDS)
def test_sound_models_are_loaded(folder: Path, kind: str) -> None:
    """So that the other tests do not all end at the first refusal."""
    path = written(folder, kind, {})
    model = resolve(str(path), allow_unsafe_weights=kind == "pickled")
    asked(load_tokenizer(model))
    if kind != "adapter":
        check_files(path, trust_remote_code=False)
    answer(open_engine(model, EngineConfig("hf", "auto", "cpu", 4096)))
