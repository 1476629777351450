"""Loading a model, and putting a user's text in front of it the way its chat template wants."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import HarnessError, Model
from harness.models import tokenizers
from harness.models.loading import loading
from harness.models.tokens import token_ids

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

#: The device that is every GPU there is: layers are spread over them.
EVERY_GPU: Final = "all"


def load_tokenizer(path: Path) -> "PreTrainedTokenizerBase":
    """Load the tokenizer in ``path``, running no code of its own."""
    return tokenizers.load_tokenizer(Model(str(path), path, ""))


def load_model(path: Path, dtype: str, device: str) -> "PreTrainedModel":
    """Load the causal language model in ``path``, in evaluation mode. ``dtype`` is the name of a torch dtype.

    ``device`` ``all`` spreads the layers over all GPUs. A model that caps its attention scores (Gemma 2) gets eager attention: SDPA leaves
    the cap out. HarnessError if it does not load, or a weight is missing, left over, NaN or infinite.
    """
    import torch
    from transformers import AutoConfig

    from harness.engines.attention import share_keys
    from harness.engines.weights import load_network
    from harness.models.footprint import most_numbers

    share_keys()
    options: dict[str, Any] = {"device_map": "auto"} if device == EVERY_GPU else {}
    number_format = getattr(torch, dtype, None)
    if not isinstance(number_format, torch.dtype):
        raise HarnessError(f"dtype {dtype!r} is no number format; use auto, float32, bfloat16 or float16")
    with loading(path, most_numbers(path)):
        if getattr(AutoConfig.from_pretrained(path, trust_remote_code=False).get_text_config(), "attn_logit_softcapping", None):
            options["attn_implementation"] = "eager"
        network: PreTrainedModel = load_network(path, dtype=number_format, trust_remote_code=False, **options)
    if device != EVERY_GPU:
        torch.nn.Module.to(network, device)  # transformers wraps its own `to` in a way that type checkers cannot read
    network.train(False)
    return network


def render(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """Render one user turn, ready for the assistant's answer. Plain text for a tokenizer without a template.

    Thinking is switched off where the template knows the switch: a needle is then copied in the answer, not in a hidden draft.
    """
    if not tokenizer.chat_template:
        return text
    takes_switch = "enable_thinking" in tokenizer.get_chat_template()
    options: dict[str, Any] = {"enable_thinking": False} if takes_switch else {}
    turn = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, **options))


def encode(tokenizer: "PreTrainedTokenizerBase", rendered: str) -> list[int]:
    """Encode a rendered prompt into token ids, as every engine reads it (:mod:`harness.models.tokens`)."""
    return token_ids(tokenizer, rendered)


def stop_ids(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Give the token ids that end an answer; many chat models have several."""
    eos = getattr(model.generation_config, "eos_token_id", None)
    ids = list(eos) if isinstance(eos, list) else [] if eos is None else [eos]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ids:
        ids.append(tokenizer.eos_token_id)
    return ids


def pad_id(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> int:
    """Give a token id to pad with that the model knows; which one does not matter, since padding is masked."""
    from harness.engines.weights import known_tokens

    known = known_tokens(model)
    return next(int(each) for each in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if each is not None and each < known)


def plain_generation(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", max_new_tokens: int) -> "GenerationConfig":
    """Make the settings under which ``generate`` takes the arg-max and nothing that a model's ``generation_config.json`` adds to it."""
    from transformers import GenerationConfig

    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        eos_token_id=stop_ids(model, tokenizer) or None,
        pad_token_id=pad_id(model, tokenizer),
    )


def generate(model: "PreTrainedModel") -> Callable[..., "Tensor"]:
    """Call the model's ``generate``, whose type transformers does not declare."""
    method: Any = model.generate
    bound: Callable[..., Tensor] = method
    return bound
