"""What transformers and trl write and take: the files of a saved model, and the settings of trainings, as this project knows them."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.root import main
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from harness.models.tokens import token_ids
from retmask.training.launch import LOSSES, SFT, TrainConfig

MODEL = Path(__file__).parents[1] / "old_run" / "model"
TEXT = "the code for the amber falcon is 1 ."


def said(package: str, what: str) -> str:
    return f"{package} {version(package)} {what}: see what reads it, and tests/old_run/model, which 5.19 wrote"


def test_a_saved_model_has_the_files_and_keys_that_are_read(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(MODEL).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(tmp_path)
    then, now = ({path.name for path in folder.iterdir()} for folder in (MODEL, tmp_path))
    assert then <= now, said("transformers", f"writes no {', '.join(sorted(then - now))}")
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        before, after = (json.loads((folder / name).read_text(encoding="utf-8")) for folder in (MODEL, tmp_path))
        gone = {key for key in before if key not in after or type(after[key]) is not type(before[key])}
        assert not gone, said("transformers", f"writes {', '.join(sorted(gone))} of {name} otherwise, or not at all")
    assert resolve(str(tmp_path)).digest
    tokenizer, again = load_tokenizer(resolve(str(MODEL))), load_tokenizer(resolve(str(tmp_path)))
    assert token_ids(tokenizer, TEXT) == token_ids(again, TEXT), said("transformers", "reads other tokens from what it wrote")


def test_a_chat_template_is_rendered_as_before() -> None:
    rendered = load_tokenizer(resolve(str(MODEL))).apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True
    )
    assert isinstance(rendered, str), said("transformers", "renders no text where tokenize is False")
    assert "hello" in rendered


@pytest.mark.parametrize("loss", LOSSES)
def test_trl_takes_the_settings_that_are_made(loss: str, tmp_path: Path) -> None:
    from retmask.training.trainers import arguments

    smoothing = 0.001 if loss == "exo_pair" else 0.0
    config = TrainConfig(str(MODEL), "pairs.jsonl", str(tmp_path), loss=loss, label_smoothing=smoothing, batch_size=4, micro_batch_size=2)
    try:
        made = arguments(config, 4)
    except TypeError as error:
        pytest.fail(said("trl", f"does not take the settings of a training with {loss} ({error})"))
    assert made.max_length is None
    if loss != SFT:
        assert list(made.loss_type) == [loss], said("trl", "keeps losses otherwise")


@pytest.mark.peers
def test_trl_trains_on_pairs_as_they_are_made(tmp_path: Path) -> None:
    """One step of each kind; what is trained is a model that is found."""
    pairs = [{"prompt": "the code is", "chosen": "1 .", "rejected": "2 ."} for _ in range(4)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs), encoding="utf-8")
    for loss in (SFT, "sigmoid"):
        asked = ["--model", str(MODEL), "--pairs-from", str(tmp_path / "pairs.jsonl"), "--loss", loss]
        small = ["--set", "batch_size=4", "--set", "epochs=1", "--output", str(tmp_path / loss), "--yes"]
        result = CliRunner().invoke(main, ["train", *asked, *small])
        assert result.exit_code == 0, said("trl", f"does not train with {loss} ({result.output[-300:]})")
