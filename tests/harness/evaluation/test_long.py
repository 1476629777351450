"""The longest contexts: every generated task at five lengths on two tokenizers, and one example of each category at 128K."""

import resource
from pathlib import Path

import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness.commands.root import main
from harness.engines.framing import rendered_prompt
from harness.evaluation.sources import find_source
from harness.evaluation.suite import SuiteConfig, build_examples
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from tasks.suite import EVERY

LENGTHS = (8_192, 16_384, 32_768, 65_536, 131_072)


def letters() -> PreTrainedTokenizerFast:
    """Another tokenizer: bytes in pairs at best, without a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("which", ["builtin", "letters"])
def test_every_example_of_seven_categories_is_within_budget_full_to_a_passage_and_right_or_wrong(which: str, length: int) -> None:
    source = find_source("generated")
    tokenizer = load_tokenizer(resolve("builtin")) if which == "builtin" else letters()
    for example in build_examples(SuiteConfig(("seven",), (length,), 3, 0, framing="chat"), tokenizer):
        prompt = rendered_prompt(tokenizer, example.prompt, example.answer_prefix)
        used = len(tokenizer(prompt)["input_ids"]) + EVERY[example.task].max_new_tokens
        assert 0.98 * length <= used <= length
        (task,) = source.tasks((example.task,))
        right, wrong = source.score(task, length, [(example, example.answer), (example, "")], "strict", None)
        assert set(right.metrics.values()) == {1}
        assert set(wrong.metrics.values()) == {0}


@pytest.mark.slow
def test_a_128k_example_of_every_category_goes_through_the_shipped_model(tmp_path: Path) -> None:
    arguments = ["--lengths", "128k", "--examples", "1", "--batch-tokens", "1", "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["eval", "--model", "builtin", *arguments])
    assert result.exit_code == 0, result.output
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 * 2**20, "KiB"
