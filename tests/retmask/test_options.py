"""Options of methods that cannot be are refused in one line before anything is computed."""

import pytest

from harness.api import HarnessError
from harness.methods import choose
from harness.options import Within


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("top_k=0", "top_k = 0; give 1 or more"),
        ("detection_lengths=[0]", "detection_lengths = [0]; give prompt lengths of 1 token or more"),
        ("detection_lengths=[256, 256]", "each once"),
        ("detection_trials=0", "detection_trials = 0; give 1 or more"),
        ("detection_depths=-2", "detection_depths = -2"),
        ("detection_max_new_tokens=0", "detection_max_new_tokens = 0"),
        ("contamination_words=-1", "contamination_words = -1; give 0 or more"),
        ("temperature=-1", "temperature = -1.0; give 0 or more"),
        ("top_p=0", "top_p = 0.0; give more than 0, at most 1"),
        ("top_p=5", "top_p = 5.0"),
        ("max_new_tokens=0", "max_new_tokens = 0"),
        ("strength=1e300", "up to 1000"),
        ("learning_rate=-1", "learning_rate = -1.0"),
        ("warmup_ratio=2", "warmup_ratio = 2.0; give 0 or more, at most 1"),
        ("adam_beta2=1", "adam_beta2 = 1.0; give 0 or more, less than 1"),
        ("beta=0", "beta = 0.0; give more than 0"),
        ("label_smoothing=0.5", "label_smoothing = 0.5"),
        ("lora_alpha=0", "lora_alpha = 0"),
        ("lora_dropout=1", "lora_dropout = 1.0"),
        ("epochs=0", "epochs = 0.0; give more than 0"),
        ("max_length=0", "max_length = 0"),
        ("max_overlong_share=2", "max_overlong_share = 2.0"),
        ("checkpoint_share=0", "checkpoint_share = 0.0"),
        ("weight_decay=-1", "weight_decay = -1.0"),
        ("min_learning_rate_ratio=2", "min_learning_rate_ratio = 2.0"),
    ],
)
def test_numbers_that_cannot_be_are_told_with_what_to_give_instead(options: str, said: str) -> None:
    with pytest.raises(HarnessError) as refused:
        choose([f"retmask({options})"], {})
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (["retmask(top_k=8, threshold=0.3)"], "threshold changes nothing in retmask"),
        (["retmask(contrast=0.5, threshold=0.3)"], "threshold changes nothing"),
        (["retmask(heads=auto, threshold=0.3)"], "threshold changes nothing"),
        (["retmask(contrast_prompts=8)"], "contrast_prompts changes nothing"),
        (["retmask(components=mlp, top_k=4, heads_after=false)"], "heads_after changes nothing"),
        (["retmask(rejected_from='model builtin')"], "rejected_from changes nothing in retmask"),
        (["retmask(context_tokens=64)"], "context_tokens changes nothing"),
        (["retmask(pairs_from='own.jsonl', top_k=4)"], "top_k changes nothing"),
        (["sft(top_k=8)"], "top_k changes nothing in sft"),
        (["sft(loss=ipo)"], "loss changes nothing in sft"),
        (["smaller-model(rejected_from='model builtin', detection_trials=3)"], "detection_trials changes nothing in smaller-model"),
        (["sft(token_weights=disagreement)"], "sft(token_weights=disagreement): [method]: token_weights"),
        (["retmask(token_weights=disagreement, pairs_from='own.jsonl')"], "leave it out with loss = sft, pairs_from"),
        (["layermatched(components=layers, top_k=1)"], "leave no other in the same layer"),
    ],
)
def test_what_a_variant_names_in_vain_is_refused(methods: list[str], said: str) -> None:
    with pytest.raises(HarnessError) as refused:
        choose(methods, {})
    assert said in str(refused.value)


def test_options_of_all_methods_need_not_matter_to_each() -> None:
    assert list(choose(["retmask", "sft"], {"top_k": 8, "threshold": 0.3})) == ["retmask", "sft"]


def test_a_range_says_which_of_its_ends_belong_to_it() -> None:
    open_range = Within(0, 1, above=True, below=True)
    assert [open_range.holds(each) for each in (0, 0.5, 1)] == [False, True, False]
    assert str(open_range) == "more than 0, less than 1"
    assert [Within(0, 1).holds(each) for each in (0, 1, 1.5)] == [True, True, False]
