"""Where a chat template lets a user speak: what a model reads before the user's words, and what ends them.

The template itself is asked, by rendering one message whose words are known; so any template works, whatever it writes around them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.api import HarnessError
from harness.models.templates import TemplateError
from retmask.model import render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WORDS: Final = "what the user says"
_ANSWER: Final = "what the model answers"
_REMEDY: Final = "name a source of instructions with prompts_from: a JSONL or Parquet file, a folder of them, or a data set on the Hub"


@dataclass(frozen=True)
class UserTurn:
    """What stands around a user's first words."""

    opening: str
    """Begin-of-text token, default system prompt, role: whatever the template writes before them."""
    stop_ids: tuple[int, ...] = ()
    """Token that the template ends them with; empty where it is no single token."""
    stop_text: str = ""
    """Text that it ends them with instead, such as `` [/INST]`` where that is several tokens."""


def user_turn(tokenizer: "PreTrainedTokenizerBase", model: str) -> UserTurn:
    """Find the user's turn in the tokenizer's chat template.

    HarnessError, naming ``model``, if there is no template or no such place in it.
    """
    if not tokenizer.chat_template:
        raise HarnessError(f"{model} has no chat template, so it cannot write instructions of its own; {_REMEDY}")
    try:
        before, *after = render(tokenizer, _WORDS).split(_WORDS)
    except TemplateError as error:
        raise HarnessError(f"{model} cannot write instructions of its own: {error}, or {_REMEDY}") from None
    if len(after) != 1:
        raise HarnessError(f"{model}: its chat template writes a user's message {len(after)} times, not once; {_REMEDY}")
    if not before.strip():
        raise HarnessError(
            f"{model}: its chat template writes nothing before a user's message that tells the model to speak as one; {_REMEDY}"
        )
    stop_ids, stop_text = _end(tokenizer, after[0])
    # a blank is part of the token of the word after it in most vocabularies, and a model that reads it alone goes on strangely
    return UserTurn(before.rstrip(" "), stop_ids, stop_text)


@dataclass(frozen=True)
class AssistantTurn:
    """What stands around a model's answer."""

    lead: str = ""
    """What the template writes between the prompt and the answer, such as a blank."""
    end: str = ""
    """What it ends the answer with."""


def assistant_turn(tokenizer: "PreTrainedTokenizerBase") -> AssistantTurn:
    """Find what the tokenizer's chat template writes around an answer; without a template, its end-of-text token ends one.

    So it does where the template writes no answer, or writes it otherwise than after its own prompt.
    """
    plain = AssistantTurn(end=str(tokenizer.eos_token or ""))
    if not tokenizer.chat_template:
        return plain
    prompt = render(tokenizer, _WORDS)
    try:
        turns = [{"role": "user", "content": _WORDS}, {"role": "assistant", "content": _ANSWER}]
        before, *after = str(tokenizer.apply_chat_template(turns, tokenize=False)).split(_ANSWER)
    except TemplateError:
        return plain
    if len(after) != 1 or not before.startswith(prompt.rstrip()):
        return plain
    lead = before[len(prompt) :] if before.startswith(prompt) else ""
    stop_ids, stop_text = _end(tokenizer, after[0])
    return AssistantTurn(lead, str(tokenizer.convert_ids_to_tokens(stop_ids[0])) if stop_ids else stop_text or plain.end)


def _end(tokenizer: "PreTrainedTokenizerBase", after: str) -> tuple[tuple[int, ...], str]:
    """The first token of what comes after the words, if it is one of the tokens that text is never split into; otherwise its first line."""
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    ids = list(tokenizer(after.strip(), add_special_tokens=False)["input_ids"])
    if ids and ids[0] in added.values():
        return (ids[0],), ""
    blank = after[: len(after) - len(after.lstrip())]
    line = after.lstrip().partition("\n")[0]
    for content in added:
        line = line.partition(content)[0]
    return (), f"{blank}{line.rstrip()}" if line.strip() else ""
