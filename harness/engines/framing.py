"""How a prompt is put to a model: in its chat template, or as a text that it goes on with.

    chat         the template, the model's turn empty
    prefill      the template, the model's turn begun with the answer's prefix
    completion   no template, the answer's prefix at the end of the prompt

What framing is best depends on the model and on the task. HELMET completes recall, RAG, re-ranking and ICL, where an answer can then be
made to begin with its prefix, and chats where it is prose: cite, LongQA and summaries. Base models are always completed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

from harness.api import HarnessError
from harness.engines import thinking as thoughts
from harness.files import digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: What a user may ask for: one frame for every task, or each task's own.
Framing = Literal["task", "chat", "completion", "prefill"]
FRAMINGS: Final[tuple[Framing, ...]] = ("task", "chat", "completion", "prefill")
#: What becomes of it for one task and one model.
Frame = Literal["chat", "completion", "prefill"]


def frame_for(framing: Framing, *, chat: bool, has_template: bool) -> Frame:
    """Choose the frame of a task that by itself is a ``chat`` or not, for a model with or without a chat template."""
    if not has_template:
        return "completion"
    if framing == "task":
        return "chat" if chat else "completion"
    return framing


def rendered_prompt(
    tokenizer: "PreTrainedTokenizerBase", text: str, prefix: str, *, frame: Frame | None = None, thinking: bool = False
) -> str:
    """Render what the model reads; without a ``frame``, the chat template if there is one.

    Templates that know ``enable_thinking`` get it; the others do not mind. HarnessError for a prefill after a template that has begun
    the model's thoughts.
    """
    chosen = frame or frame_for("chat", chat=True, has_template=tokenizer.chat_template is not None)
    if chosen == "completion":
        return text + prefix
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=thinking
    )
    assert isinstance(rendered, str)
    if chosen == "chat":
        return rendered
    if rendered.rstrip().endswith(thoughts.START):
        raise HarnessError("prefill: the model's chat template begins its thoughts, so no answer can be begun; use --framing chat")
    return rendered + prefix.lstrip()


def is_continued(frame: Frame) -> bool:
    """Say whether the model's output goes on from the answer's prefix."""
    return frame != "chat"


def template_digest(template: str | Mapping[str, str]) -> str:
    """Name, as the samples table does, a chat template, or several by name."""
    return digest(template)[:12]


def template_name(frame: Frame, template: str | None, think_tokens: int = 0) -> str:
    """Give the samples table's ``template``: evaluations with different ones are not compared.

    ``template`` is the chat template's digest.
    """
    if frame == "completion":
        return "none"
    return f"{template}" + (f"+think{think_tokens}" if think_tokens else "") + ("+prefill" if frame == "prefill" else "")
