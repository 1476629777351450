"""Small model directories as their files' bytes, and what may be wrong with each file."""

import json
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from tests.fuzz.hostile import changed, damaged, json_of, texts, values
from tests.retmask.small import byte_bpe, metaspace_unigram, random_model

Files = Mapping[str, bytes]

KINDS: Final = ("whole", "shards", "adapter", "neox", "moe", "templates", "sentencepiece", "pickled")
#: What other files are replaced by.
STAND_INS: Final = ("gone", "folder", "pipe", "device", "loop", "nowhere", "outside", "empty")


@cache
def files_of(kind: str) -> Files:
    """A sound model of this kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        _save(kind, path)
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def _save(kind: str, path: Path) -> None:
    import torch

    names = {"neox": "GPTNeoX", "moe": "Qwen3Moe"}
    tokenizer = metaspace_unigram() if kind == "moe" else byte_bpe()
    model = random_model(names.get(kind, "Llama"), vocab_size=len(tokenizer))
    tokenizer.save_pretrained(path)
    if kind == "adapter":
        from peft import LoraConfig, get_peft_model

        model.save_pretrained(path)
        get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(path)
        return
    model.save_pretrained(path, max_shard_size="40KB" if kind == "shards" else "1GB")
    if kind == "templates":
        (path / "additional_chat_templates").mkdir()
        (path / "additional_chat_templates/tools.jinja").write_text("{{ messages }}")
        (path / "added_tokens.json").write_text('{"<extra>": 699}')
        (path / "special_tokens_map.json").write_text('{"eos_token": "<|end|>", "pad_token": {"content": "<|pad|>"}}')
    if kind == "pickled":
        torch.save(dict(model.state_dict()), path / "pytorch_model.bin")
        (path / "model.safetensors").unlink()
    if kind == "sentencepiece":
        _sentencepiece(path)


def _sentencepiece(path: Path) -> None:
    import sentencepiece

    corpus = path / "corpus"
    corpus.write_text("the cat sat on the mat and the dog ran to the sun\n" * 50)
    sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(path / "tokenizer"), vocab_size=40, hard_vocab_limit=False)
    for name in ("corpus", "tokenizer.vocab", "tokenizer.json"):
        (path / name).unlink()
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}))


#: What stands in real files under these names, and what does not: settings that have a library do something else.
ASKED: Final[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
    "config.json": {
        "model_type": ("gpt2", "mamba", "t5", "bert", "deepseek_v3", "gemma3", "qwen2_vl", "whisper", "clip", "rwkv", "", None, []),
        "architectures": (["GPT2LMHeadModel", "XForCausalLM"], ["ForCausalLM"], [None], {}, "LlamaForCausalLM"),
        "rope_parameters": ({"rope_type": "yarn", "factor": 1e308}, {"rope_type": "longrope"}, {"rope_type": "llama3"}, [], 0),
        "rope_scaling": ({"type": "linear", "factor": 0}, {"type": "dynamic", "factor": -1}, {"type": [], "factor": "x"}, "x"),
        "rope_theta": (0, -1, 1e308, "x"),
        "quantization_config": (
            {"quant_method": "bitsandbytes", "load_in_4bit": True}, {"quant_method": "gptq", "bits": 4}, {"quant_method": "x"}, {}, [], "x",
            {"quant_method": "fp8"}, {"quant_method": "compressed-tensors"}, {"quant_method": "torchao"}, {"quant_method": "mxfp4"},
        ),
        "auto_map": ({"AutoModelForCausalLM": "x.Y", "AutoConfig": "x.Y"}, {"AutoConfig": "org/name--x.Y"}, [], "x"),
        "dtype": ("float8_e4m3fn", "int8", "complex64", "float64", "bool", [], {"": "float16"}, "nn"),
        "text_config": ({}, {"hidden_size": "x"}, {"model_type": "bert"}, [], {"num_attention_heads": 0}),
        "attn_implementation": ("eager", "flash_attention_2", "owner/kernel", {"": "x"}, 5),
        "layer_types": ([], ["x", "y"], ["sliding_attention"], ["sliding_attention"] * 5, "full_attention"),
        "max_position_embeddings": (0, -1, 1, "512", [512], 2.5, 10**12, None, True),
        "num_attention_heads": (0, -4, 3, 1, "4", None, 2.0, 9_999),
        "num_key_value_heads": (0, 3, -1, "x", 10_000),
        "num_hidden_layers": (0, -1, 1, 3, 9_999, "2", None),
        "vocab_size": (0, -1, 1, 10**9, "x", None),
        "hidden_size": (0, -8, 1, 31, 10**9, "x", None),
        "intermediate_size": (0, -1, [], 10**11),
        "head_dim": (0, -1, 1, 7, 10**8, "x"),
        "pad_token_id": (-1, 10**6, "x", [0]),
        "eos_token_id": ([], [1, "x"], -1, 10**6, {}, None, [[1]]),
        "hidden_act": ("x", None, [], "gelu_new"),
        "rms_norm_eps": (0, -1, "x", 1e308),
        "tie_word_embeddings": ("x", True, None),
        "id2label": ({str(n): "x" for n in range(50)}, {"x": 1}, [], 5),
        "sliding_window": (0, -1, 1, "x", 10**12),
        "is_decoder": (False,),
        "is_encoder_decoder": (True, "x"),
        "use_cache": (False, "x"),
        "output_attentions": (True,),
        "num_experts": (0, -1, 10_000, "x"),
        "transformers_weights": ("../x", ["x"], None),
        "attribute_map": ({"hidden_size": "num_hidden_layers"}, {"a": "a"}, {"hidden_size": "hidden_size"}, []),
        "n_positions": ("x", 0, -1),
        "chunk_size_feed_forward": (-1, 7, "x"),
        "pruned_heads": ({"0": [0, 1]}, {"99": [5]}, []),
        "base_model_tp_plan": ({"layers.*": "x"}, []),
        "generation_config": ({"max_new_tokens": -1}, 5),
        "transformers_version": ("9.9", [], None, "x"),
    },
    "generation_config.json": {
        "cache_implementation": ("static", "quantized", "offloaded", "x", []),
        "eos_token_id": ([], "x", [1, "x"], -1, 10**6, {}, [[]]),
        "pad_token_id": (-1, 10**6, "x", []),
        "max_length": (0, -1, 10**12, "x"),
        "num_beams": (0, -1, 10**6, "x"),
        "stop_strings": (["x"], "x", [5]),
        "assistant_model": ("x",),
        "watermarking_config": ({}, {"greenlist_ratio": 5}, [], "x"),
        "compile_config": ({}, [], "x"),
        "cache_config": ({"backend": "quanto"}, [], "x"),
        "do_sample": (True, "x"),
        "temperature": (0, -1, "x", []),
        "top_k": (-1, "x"),
        "guidance_scale": (1e308, "x"),
        "prompt_lookup_num_tokens": (10, "x"),
        "transformers_version": ("9.9", [], None),
        "trust_remote_code": (True,),
        "custom_generate": ("owner/name",),
    },
    "tokenizer_config.json": {
        "tokenizer_class": ("LlamaTokenizer", "GPT2Tokenizer", "BertTokenizer", "MistralCommonBackend", "x", "", [], 5, None),
        "chat_template": (
            "{{ x", "{% for m in messages %}", "{{ messages[0].content * 99999999 }}", [{"name": "default", "template": "{{ 1/0 }}"}],
            [{"name": "x"}], [5], {"default": 5}, 5, [], "{{ raise_exception('a\nb') }}", "{{ ''.__class__ }}", "\ud800", "{{ '\\ud800' }}",
            "{% set x = namespace(n='a') %}{% for m in range(99) %}{% set x.n = x.n * 9 %}{% endfor %}{{ x.n }}", "", "{% include 'x' %}",
            "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        ),
        "eos_token": (None, "", "x", {"content": 5}, {"content": "x", "__type": "AddedToken"}, [], {"__type": "AddedToken"}, "\ud800"),
        "bos_token": ("x", 5, {"content": "y", "lstrip": "z"}),
        "pad_token": (None, 5, "x" * 5000, ""),
        "added_tokens_decoder": ({"0": {"content": "x"}}, {"x": {}}, {"-1": {}}, {str(10**30): {"content": "x"}}, [], {"5": 5}),
        "extra_special_tokens": (["x"], {"a": "b"}, {"a": 5}, 5, [[]]),
        "model_max_length": (0, -1, "x", 1e30, None, 10**400, []),
        "padding_side": ("x", 5),
        "truncation_side": ("left", "x"),
        "auto_map": ({"AutoTokenizer": ["x.Y", None]}, {"AutoTokenizer": "x.Y"}, [], 5),
        "added_tokens": ([5], "x"),
        "split_special_tokens": (True, "x"),
        "clean_up_tokenization_spaces": (True, "x"),
        "tokenizer_file": ("/dev/zero", "../x", 5),
        "vocab_file": ("/dev/zero", 5),
        "name_or_path": ("/dev/zero", 5),
        "add_bos_token": (True, "x"),
        "add_prefix_space": (True, "x"),
        "max_length": (1, "x"),
        "backend": ("tokenizers", "sentencepiece", "mistral_common", "x", 5),
        "fix_mistral_regex": (True,),
        "processor_class": ("x", 5),
    },
    "adapter_config.json": {
        "peft_type": ("IA3", "PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "ADALORA", "LOHA", "VERA", "x", None, [], "LORA"),
        "task_type": ("SEQ_2_SEQ_LM", "x", None, []),
        "base_model_name_or_path": ("/nowhere", "../..", None, 5, [], "org/name"),
        "target_modules": ("all-linear", "x", [], [5], ".*", "(", "(a+)+$", None),
        "r": (0, -1, 3, 10_000, "x", 10**9),
        "lora_alpha": (1e308, "x", None, "nan"),
        "rank_pattern": ({"q_proj": 0}, {"(": 1}, [], {"x": "y"}),
        "layers_to_transform": ([99], "x", [-1]),
        "modules_to_save": (["lm_head"], ["x"], 5),
        "auto_mapping": ({"base_model_class": "x", "parent_library": "os"}, {"parent_library": "x.y"}, []),
        "num_virtual_tokens": (10**9, -1, "x"),
        "init_lora_weights": ("pissa", "olora", "x", "eva"),
        "use_dora": (True,),
        "layer_replication": ([[0, 9999]], [[0, 1]] * 5, "x"),
        "megatron_config": ({}, 5),
        "trainable_token_indices": ([10**9], {"embed_tokens": [1]}, "x"),
    },
    "model.safetensors.index.json": {
        "weight_map": ({}, [], {"a": "model.safetensors"}, {"a": "/dev/zero"}, {"a": "\ud800"}, {"a": "\0"}, {"a": ""}, {"a": 5}),
        "metadata": (None, [], {"total_size": "x"}, {"total_size": -1}, {"total_size": 10**30}),
    },
}  # fmt: skip


def edited(kind: str, name: str, **values: Any) -> tuple[str, dict[str, bytes | str]]:
    """A model of this kind with these settings in one of its files."""
    return kind, {name: json.dumps({**json.loads(files_of(kind)[name]), **values}).encode()}


def content(name: str, sound: bytes) -> st.SearchStrategy[bytes]:
    """What may stand in a file that has ``sound`` in a sound model."""
    if name.endswith(".safetensors"):
        return st.one_of(damaged(sound), tensors(sound))
    if not name.endswith(".json"):
        return damaged(sound) | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    plain = json.loads(sound)
    whole = json_of(plain)
    return st.one_of(asked(name, plain), asked(name, plain), whole) if name in ASKED else whole


@st.composite
def asked(draw: st.DrawFn, name: str, plain: Any) -> bytes:
    """Settings that somebody could have written, some at a time; any value now and then."""
    table = dict(plain)
    for key in draw(st.lists(st.sampled_from(sorted({*ASKED[name], *plain})), min_size=1, max_size=3, unique=True)):
        known = ASKED[name].get(key, ())
        table[key] = draw(st.one_of(st.sampled_from(known), values) if known and draw(st.integers(0, 3)) else values)
    return json.dumps(table).encode()


@st.composite
def tensors(draw: st.DrawFn, sound: bytes) -> bytes:
    """A safetensors file with another header, of another length; and numbers that are none."""
    size = int.from_bytes(sound[:8], "little")
    header, data = json.loads(sound[8 : 8 + size]), bytearray(sound[8 + size :])
    text = json.dumps(draw(changed(header))).encode()
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, max(0, len(data) - 4))) // 4 * 4
        data[at : at + 4] = draw(st.sampled_from([b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\xff" * 4]))
    length = draw(st.sampled_from([len(text), len(text), len(text), len(text) + 8, 0, 2**40, 2**64 - 1, 7]))
    return length.to_bytes(8, "little") + text + bytes(data)
