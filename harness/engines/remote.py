"""A model that only a server has: nothing of it is on this machine, not even its tokenizer.

Messages go to the server's chat API as they are. Nothing is known of their length in tokens, so nothing is checked; what a server cannot
take it refuses.
"""

from collections.abc import Sequence
from typing import Any

from harness.api import Model
from harness.engines.lm import Prompt
from harness.engines.options import EngineConfig
from harness.engines.served import UNBOUNDED, Served


class ServersOwn:
    """Stands where a tokenizer is asked for: the server's own chat template, and bytes for tokens."""

    bos_token: str | None = None
    chat_template = "the server's own"

    def apply_chat_template(self, conversation: Sequence[dict[str, str]], **_: object) -> str:
        """Give the last message alone."""
        return conversation[-1]["content"]

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode("utf-8", "replace"))}


class Remote(Served):
    """Implements :class:`harness.engines.lm.Backend` for a model of which there is only a name."""

    def __init__(self, model: Model, config: EngineConfig) -> None:
        tokenizer: Any = ServersOwn()
        self._set_up(tokenizer, UNBOUNDED, model.name, config)

    def _least(self, prompt: Prompt) -> int:
        """Nothing is known of the server's tokens."""
        return 0
