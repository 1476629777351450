"""Small real things to test on: tokenizers trained here, random models of several architectures."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tasks.needles import INSTRUCTION, draw_needle
from tasks.prose import sentence

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}<|nothink|>{% endif %}{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|nothink|>"]


def _corpus() -> list[str]:
    rng = Random(0)
    needles = [draw_needle(rng) for _ in range(300)]
    return [INSTRUCTION, *(n.text for n in needles), *(n.question for n in needles), *(sentence(rng) for _ in range(600))]


def _wrap(tokenizer: Tokenizer, template: str | None) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>")
    fast.chat_template = template
    return fast


def byte_bpe(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Like GPT-2 and Llama 3: byte-level BPE, the blank before a word is part of its token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(_corpus(), trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet))
    return _wrap(tokenizer, template)


def metaspace_unigram(template: str | None = None) -> PreTrainedTokenizerFast:
    """Like Llama 2 and Gemma: SentencePiece's blanks, whose offsets include the blank."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(_corpus(), trainers.UnigramTrainer(vocab_size=500, special_tokens=SPECIAL, unk_token="<|pad|>"))
    return _wrap(tokenizer, template)


def word_level(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Like the shipped model's: a token a word."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<|pad|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.train_from_iterator(_corpus(), trainers.WordLevelTrainer(special_tokens=SPECIAL))
    return _wrap(tokenizer, template)


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-bpe": byte_bpe,
    "metaspace-unigram": metaspace_unigram,
    "word-level": word_level,
}


_SHAPE = {
    "vocab_size": 700,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}


#: Grouped and plain heads, windows and mixed layers, capped scores, experts, normed queries, separate and fused projections.
ARCHITECTURES = [
    "Llama",
    "Qwen2",
    "Qwen3",
    "Qwen3Moe",
    "Olmo2",
    "Olmo3",
    "Mistral",
    "Gemma2",
    "Gemma3Text",
    "Phi3",
    "GPTNeoX",
    "GPT2",
]


def random_model(kind: str, attention: str = "sdpa", layers: int = 2, **changes: Any) -> PreTrainedModel:
    """A model of random weights. Large ones, so that attention is peaked and an arg-max is not decided by rounding."""
    import transformers

    config_class = getattr(transformers, f"{kind}Config")
    extra: dict[str, Any] = {
        "Mistral": {"sliding_window": 7},
        "Gemma2": {"sliding_window": 7, "head_dim": 8, "query_pre_attn_scalar": 8},
        "Gemma3Text": {
            "sliding_window": 7,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        "Olmo3": {"sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"]},
        "Qwen3": {"head_dim": 16},
        "Qwen3Moe": {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "decoder_sparse_step": 1},
        "GPTNeoX": {"num_key_value_heads": None},
        "GPT2": {"n_embd": 32, "n_head": 4, "n_layer": layers, "n_positions": 1024},
    }.get(kind, {})
    shape = {key: value for key, value in (_SHAPE | extra | changes).items() if value is not None}
    config = config_class(**shape, num_hidden_layers=layers, attn_implementation=attention)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(std=0.5 if parameter.shape[0] < 600 else 1.0)
    return model.eval()


def unigram_model(tokenizer: PreTrainedTokenizerFast, end: float, words: Sequence[str] = ()) -> PreTrainedModel:
    """A Llama that writes words at random, whatever it has read, and ends its turn before each of them with the probability ``end``.

    Its layers add nothing to a hidden state that is the same everywhere, so the head alone decides. All words of the vocabulary are as
    likely unless some are given.
    """
    model = random_model("Llama", vocab_size=len(tokenizer), tie_word_embeddings=False, head_dim=32)  # vLLM on a CPU has no narrower ones
    chosen = [tokenizer.convert_tokens_to_ids(word) for word in words] or list(range(len(SPECIAL), len(tokenizer)))
    shares = torch.full((len(tokenizer),), 1e-30)
    shares[chosen] = (1 - end) / len(chosen)
    shares[tokenizer.convert_tokens_to_ids("<|end|>")] = end
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name or "embed" in name else 0.0)
        model.get_output_embeddings().weight.copy_((shares.log() / model.config.hidden_size)[:, None])
    return model
