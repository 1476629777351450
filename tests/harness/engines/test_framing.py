"""How prompts are put to a model: over several chat templates, whatever the text."""

from functools import cache
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from harness.api import HarnessError
from harness.config import RunConfig, load_preset
from harness.engines.framing import FRAMINGS, Frame, Framing, frame_for, rendered_prompt, template_name
from harness.evaluation.lmeval_tasks import as_scored
from harness.evaluation.sources import GENERATED, HELMET, find_source
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from tasks.example import Example
from tasks.suite import TASKS

#: As well-known families write them: roles in marks of their own, a default system part, a turn without an end, thoughts switched off.
TEMPLATES: Final = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n",
    "system": "<|im_start|>system\nBe kind.<|im_end|>\n{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "inst": "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}",
    "switch": "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}",
}
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60).map(str.strip).filter(bool)
PREFIXES = st.sampled_from(["\nAnswer:", "\nThe code for the amber falcon is", " Label:"])


@cache
def tokenizer_with(template: str | None) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(resolve("builtin"))
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("name", TEMPLATES)
@settings(deadline=None)  # the first loads the tokenizer
@given(text=TEXTS, prefix=PREFIXES)
def test_a_prefill_is_the_chat_with_the_answer_begun_and_a_completion_has_no_template(name: str, text: str, prefix: str) -> None:
    tokenizer = tokenizer_with(TEMPLATES[name])
    chat, prefill, completion = (rendered_prompt(tokenizer, text, prefix, frame=frame) for frame in ("chat", "prefill", "completion"))
    assert text in chat
    assert chat != text
    assert prefill == chat + prefix.strip()
    assert completion == text + prefix


@settings(deadline=None)
@given(text=TEXTS, prefix=PREFIXES, framing=st.sampled_from(FRAMINGS), chat=st.booleans())
def test_a_model_without_a_template_always_completes(text: str, prefix: str, framing: Framing, chat: bool) -> None:
    frame = frame_for(framing, chat=chat, has_template=False)
    assert rendered_prompt(tokenizer_with(None), text, prefix, frame=frame) == text + prefix


@pytest.mark.parametrize(
    ("framing", "frames"),
    [("task", ("chat", "completion")), ("chat", ("chat", "chat")), ("completion", ("completion",) * 2), ("prefill", ("prefill",) * 2)],
)
def test_the_task_decides_where_the_user_does_not(framing: Framing, frames: tuple[Frame, Frame]) -> None:
    assert tuple(frame_for(framing, chat=chat, has_template=True) for chat in (True, False)) == frames


def test_generated_tasks_are_framed_as_their_published_twins() -> None:
    published = {task.category: task.chat for task in find_source(HELMET).tasks(())}
    for task in find_source(GENERATED).tasks(()):
        assert task.chat == published[task.category], task.name


def test_thoughts_that_the_template_has_begun_cannot_be_prefilled() -> None:
    tokenizer = tokenizer_with("{{ messages[0].content }}<|assistant|><think>\n")
    with pytest.raises(HarnessError, match="begins its thoughts"):
        rendered_prompt(tokenizer, "Why?", "\nAnswer:", frame="prefill")


def test_every_frame_has_a_name_of_its_own_in_the_samples() -> None:
    assert [template_name(frame, "abc", 0) for frame in ("chat", "prefill", "completion")] == ["abc", "abc+prefill", "none"]
    assert template_name("chat", "abc", 64) == "abc+think64"


@pytest.mark.parametrize("framing", ["completion", "prefill"])
def test_what_cannot_be_done_is_refused(framing: Framing) -> None:
    with pytest.raises(HarnessError, match="--served-api completions"):
        RunConfig(framing=framing, backend="served", url="http://localhost:8000/v1", served_api="chat")
    with pytest.raises(HarnessError, match="--think-tokens"):
        RunConfig(framing=framing, think_tokens=8)


def test_thoughts_and_messages_make_every_task_a_chat() -> None:
    assert RunConfig().suite_framing == "task"
    assert RunConfig(think_tokens=8).suite_framing == "chat"
    assert RunConfig(backend="served", url="http://localhost:8000/v1", served_api="chat").suite_framing == "chat"


def test_the_shipped_model_has_its_own_framing() -> None:
    assert load_preset("builtin").framing == "chat"
    assert load_preset("default").framing == "task"


# ---- what is scored -----------------------------------------------------------------------------------------------------------------


def example(task: str, *targets: str) -> Example:
    found = TASKS[task]
    return Example(
        "x", "x", task, found.category, 512, "?", " Label:" if found.category == "icl" else "\nAnswer:", targets, targets[0], 0.5
    )


def scored(task: str, output: str, frame: Frame, *targets: str) -> float:
    asked = example(task, *targets)
    return TASKS[task].score(asked, as_scored(asked, output, "strict", frame))[TASKS[task].metrics[0]]


@pytest.mark.parametrize("frame", ["completion", "prefill"])
@pytest.mark.parametrize(("task", "output", "target"), [("rag_qa", " the cello", "cello"), ("icl_coarse", " 17", "17")])
def test_the_answer_is_the_first_line_after_the_prefix_whatever_comes_later(frame: Frame, task: str, output: str, target: str) -> None:
    assert scored(task, output, frame, target) == 1
    assert scored(task, f"\n{output}", frame, target) == 1
    assert scored(task, f"{output}\nQuestion: What else?\nAnswer: a lie", frame, target) == 1
    assert scored(task, f" a lie\nQuestion: What else?\nAnswer: {output}", frame, target) == 0


def test_an_output_of_a_chat_is_read_from_its_own_prefix() -> None:
    assert scored("rag_qa", "Let me see.\nAnswer: the cello", "chat", "cello") == 1


def test_parity_puts_the_prefix_in_front_as_helmet_does() -> None:
    asked = example("rag_qa", "cello")
    assert as_scored(asked, " the cello\nmore", "parity", "completion") == "Answer: the cello\nmore"
    assert as_scored(asked, "the cello", "parity", "chat") == "the cello"
