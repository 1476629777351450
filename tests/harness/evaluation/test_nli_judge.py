"""The NLI judge on a T5 of a few thousand weights, taught two verdicts here."""

import json
from pathlib import Path

import pytest
import sentencepiece
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from harness.api import HarnessError
from harness.evaluation.nli_judge import NliJudge
from harness.evaluation.score_files import find_judge

WORDS = ("<pad>", "</s>", "<unk>", "0", "1", "premise", "hypothesis", ":", "red", "blue", "drum", "kite", "is")
SUPPORTED = ("red drum", "drum is red")
UNSUPPORTED = ("blue kite", "drum is red")


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 that answers "1" to SUPPORTED and "0" to UNSUPPORTED."""
    path = tmp_path_factory.mktemp("t5")
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0, decoder_start_token_id=0
    )
    model = T5ForConditionalGeneration(config)
    texts = [f"premise: {premise} hypothesis: {claim}" for premise, claim in (SUPPORTED, UNSUPPORTED)]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    labels = torch.tensor([[4, 1], [3, 1]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model(**{name: inputs[name] for name in ("input_ids", "attention_mask")}, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(path)
    return path


def test_only_a_written_1_is_entailment(t5: Path) -> None:
    assert NliJudge(str(t5)).entails([SUPPORTED, UNSUPPORTED]) == [True, False]


@pytest.mark.parametrize("batch_tokens", [1, 40, 16_384])
def test_batches_give_the_verdicts_of_single_questions_in_order(t5: Path, batch_tokens: int) -> None:
    longer = ("red drum is blue kite is " * 6, "drum is red")
    pairs = [UNSUPPORTED, longer, SUPPORTED, SUPPORTED, UNSUPPORTED]
    alone = [NliJudge(str(t5)).entails([pair])[0] for pair in pairs]
    assert NliJudge(str(t5), batch_tokens=batch_tokens).entails(pairs) == alone
    assert alone[0] is False
    assert alone[2] is True


def test_verdicts_outlive_the_judge(t5: Path, tmp_path: Path) -> None:
    cache = tmp_path / "verdicts.sqlite"
    judge, again = find_judge(str(t5), cache), find_judge(str(t5), None)
    assert judge is not None
    assert judge.entails([SUPPORTED, UNSUPPORTED, SUPPORTED]) == [True, False, True]
    later = find_judge(str(t5), cache)
    weights = t5 / "model.safetensors"
    moved = weights.rename(tmp_path / "away")  # from here on, a judge that has to ask cannot
    try:
        assert later is not None
        assert later.entails([UNSUPPORTED, SUPPORTED]) == [False, True]
        assert again is not None
        with pytest.raises(HarnessError, match="cannot load the judge"):
            again.entails([SUPPORTED])
        other = find_judge(str(t5), cache)
        assert other is not None
        assert other.name != judge.name, "other files, other judge: its verdicts are not these"
    finally:
        moved.rename(weights)


def test_the_published_judges_kind_of_tokenizer_is_read(tmp_path: Path) -> None:
    """google/t5_xxl_true_nli_mixture comes with a sentencepiece model and no tokenizer.json."""
    text = tmp_path / "text"
    text.write_text("premise: red drum hypothesis: drum is red 0 1\n" * 200)
    judge = tmp_path / "judge"
    judge.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(judge / "spiece"), vocab_size=22, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2
    )
    (judge / "spiece.vocab").unlink()
    (judge / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}))
    T5ForConditionalGeneration(
        T5Config(vocab_size=200, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=1, decoder_start_token_id=0)
    ).save_pretrained(judge)
    assert NliJudge(str(judge)).entails([SUPPORTED]) == [False]


def test_a_directory_that_is_no_judge(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="--judge"):
        NliJudge(str(tmp_path)).entails([SUPPORTED])
