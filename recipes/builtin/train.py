"""Train the shipped model from nothing: ``python -m recipes.builtin.train --output DIR``.

Stages (see :data:`STAGES`): first repeat random sequences, which builds the copying circuit in minutes; then short contexts with several
questions each; then longer ones. Loss falls only on the answers. Heads are dropped at random (DropHead) so that no single one of them is
indispensable except by what it does together with the others. Every stage is seeded; a checkpoint is written every few minutes and a
killed run goes on from it.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import click
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from recipes.builtin.corpus import LEARNED, Turn, chat, conversation, prose
from recipes.builtin.tokenizer import ASSISTANT, END, USER, train_tokenizer

MAX_LENGTH: Final = 131_072
#: Half of a head's dimensions turn fast, to tell the last hundred positions apart; the rest (wavelength above 128) are slowed until they
#: hardly turn at all, so that what is looked up by content looks the same at any distance.
ROPE: Final[dict[str, Any]] = {
    "rope_type": "llama3",
    "rope_theta": 100_000.0,
    "factor": 10_000.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 1.5,
    "original_max_position_embeddings": 128,
}
#: Radians per token above which a pair of dimensions counts as turning.
TURNS: Final = 2 * math.pi / 128
#: Distances that heads of the first layer look back at the start of training.
LOOK_BACK: Final = (1, 2, 3, 4)
#: Dimensions of the residual stream that hold the token itself at the start of training.
HERE: Final = 48
#: Padded tokens of one forward pass.
MICRO_TOKENS: Final = 1_024


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum."""

    name: str
    tokens: int
    """Tokens to read before the next stage."""
    lengths: tuple[int, ...]
    """Context lengths in tokens; one is drawn for each step."""
    learning_rate: float
    batch_tokens: int = 8_192
    text_weight: float = 0.0
    """Weight in the loss of a token that is not part of an answer; an answer's token has 1. Plain text soon teaches heads to look back."""
    repeat_share: float = 0.03
    """Share of sequences that repeat a random block."""
    drop_heads: float = 0.0
    """Probability that a head's output is zeroed for a sequence."""
    final_rate: float = 0.1
    """Learning rate at the end of the stage, as a share of the one at its start."""


STAGES: Final = (
    Stage("repeat", 200_000, (32, 64, 128), 2e-3, batch_tokens=1_024, repeat_share=1.0, final_rate=1.0),
    Stage("short", 4_000_000, (96, 128, 192, 256), 2e-3, batch_tokens=4_096, repeat_share=0.1, final_rate=0.7, drop_heads=0.05),
    Stage("medium", 6_000_000, (96, 192, 384, 768), 1.4e-3, batch_tokens=8_192, final_rate=0.6, drop_heads=0.1),
    Stage("long", 2_500_000, (256, 512, 1024, 2048, 4096, 8192), 8e-4, batch_tokens=16_384, drop_heads=0.1),
)

#: Draw weights of the tasks in :data:`recipes.builtin.corpus.LEARNED`, then of chat and prose; repetition has its own share.
WEIGHTS: Final = {
    "niah_mk": 1.5,
    "niah_mv": 1.2,
    "json_kv": 1.2,
    "rag_qa": 2.0,
    "cite_facts": 2.0,
    "rerank_reports": 2.5,
    "icl_coarse": 0.8,
    "icl_fine": 1.2,
    "note": 1.2,
    "chat": 0.3,
    "prose": 0.3,
}


def architecture(vocabulary: int, **changes: int) -> LlamaConfig:
    """A Llama of about a million parameters: many narrow heads, because those learn to copy soonest."""
    settings: dict[str, Any] = {
        "attn_implementation": "sdpa",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 5,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "head_dim": 32,
        **changes,
    }
    return LlamaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=MAX_LENGTH,
        rope_parameters=ROPE,
        tie_word_embeddings=True,
        **settings,
    )


def initialise(model: LlamaForCausalLM) -> None:
    """Start where looking things up is close by; what to look up, and when, is learned.

    Most of a short training goes into carrying identities of tokens along, so the start lays that out. The residual stream has a part for
    the token that is here (of :data:`HERE` dimensions), one direction common to all tokens, and a slice for each of the tokens before.

    - Looking back: each head of the first layer looks a fixed distance back (:data:`LOOK_BACK`) and writes what it finds, in one code for
      all distances, into that distance's slice. Queries and keys are made from the common direction alone, so that they turn with the
      position only, and their angle is set to meet at the wanted distance. Two heads a distance: losing one is not fatal.
    - Matching: the second layer's queries and keys compare what led up to here with what led up to there, distance by distance, in the
      dimensions that hardly turn, and so attend to what followed the same words before.
    - Passing on: from the second layer, a head writes what it reads back unchanged (W_o = W_v transposed).

    From random matrices, 1,600 steps had not learned to repeat a sequence; with looking back and passing on it took 200, and a key of two
    words was still not matched after 2,500.
    """
    hidden, width = model.config.hidden_size, model.model.layers[0].self_attn.head_dim
    basis = nn.init.orthogonal_(torch.empty(hidden, hidden))
    common, here, rest = basis[0], basis[1 : 1 + HERE], basis[1 + HERE :]
    slices = rest[: len(rest) // len(LOOK_BACK) * len(LOOK_BACK)].chunk(len(LOOK_BACK))
    code = nn.init.orthogonal_(torch.empty(len(slices[0]), HERE)) @ here
    with torch.no_grad():
        tokens = model.model.embed_tokens.weight
        tokens.normal_(std=0.02)
        tokens += common + torch.randn(len(tokens), HERE) @ here / HERE**0.5
        for layer in model.model.layers[1:]:
            attention = layer.self_attn
            for rows in _heads(model):
                value = nn.init.orthogonal_(torch.empty(width, HERE)) @ here + 0.1 * nn.init.orthogonal_(torch.empty(width, hidden))
                attention.v_proj.weight[rows] = 0.3 * value
                attention.o_proj.weight[:, rows] = 0.3 * value.T
        _look_back(model, common, code, slices)
        _match(model, code, slices)


def _heads(model: LlamaForCausalLM) -> list[slice]:
    """The rows of each head in a layer's projections."""
    width = model.model.layers[0].self_attn.head_dim
    return [slice(head * width, (head + 1) * width) for head in range(model.config.num_attention_heads)]


def _look_back(model: LlamaForCausalLM, common: Tensor, code: Tensor, slices: Sequence[Tensor]) -> None:
    attention = model.model.layers[0].self_attn
    turn: Tensor = model.model.rotary_emb.inv_freq
    sharp = turn > TURNS  # the fast pairs tell neighbours apart
    for head, rows in enumerate(_heads(model)):
        distance = LOOK_BACK[head % len(LOOK_BACK)]
        query = torch.cat([torch.cos(-distance * turn) * sharp, torch.sin(-distance * turn) * sharp])
        key = torch.cat([sharp.float(), torch.zeros_like(turn)])
        attention.q_proj.weight[rows] = 0.9 * torch.outer(query, common) + 0.1 * attention.q_proj.weight[rows]
        attention.k_proj.weight[rows] = 0.9 * torch.outer(key, common) + 0.1 * attention.k_proj.weight[rows]
        attention.v_proj.weight[rows][: len(code)] = 0.37 * code
        attention.o_proj.weight[:, rows][:, : len(code)] = 0.37 * slices[head % len(slices)].T


def _match(model: LlamaForCausalLM, code: Tensor, slices: Sequence[Tensor]) -> None:
    attention = model.model.layers[1].self_attn
    still = (model.model.rotary_emb.inv_freq < TURNS).float().repeat(2)[:, None]
    before_here, before_there = (code, *slices[:-1]), slices  # what is d back from here is d + 1 back from what should follow
    for rows in _heads(model):
        mixes = [torch.randn(len(still), len(code)) / float(still.sum()) ** 0.5 * still for _ in slices]
        for weight, parts in ((attention.q_proj.weight, before_here), (attention.k_proj.weight, before_there)):
            weight[rows] = 1.5 * sum(mix @ part for mix, part in zip(mixes, parts, strict=True)) + 0.1 * weight[rows]


# ---- sequences ----------------------------------------------------------------------------------------------------------------------


Row = tuple[list[int], list[float]]
"""Token ids, and the weight of each in the loss."""


def encode(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, text_weight: float) -> Row:
    """A conversation in the chat template."""
    parts = [part for user, answer in turns for part in (f"{USER}\n{user}{END}\n{ASSISTANT}", f" {answer}{END}", "\n")]
    pieces: list[list[int]] = tokenizer(parts, add_special_tokens=False)["input_ids"]
    ids = [token for piece in pieces for token in piece]
    return ids, [1.0 if index % 3 == 1 else text_weight for index, piece in enumerate(pieces) for _ in piece]


def repeat(rng: Random, length: int, vocabulary: int) -> Row:
    """A random sequence, twice or more; every repetition is to be predicted."""
    period = rng.randint(8, length // 2)
    block = [rng.randrange(4, vocabulary) for _ in range(period)]
    ids = (block * (length // period + 1))[:length]
    return ids, [float(index >= period) for index in range(length)]


def sequence(rng: Random, length: int, tokenizer: PreTrainedTokenizerBase, stage: Stage) -> Row:
    """One training sequence of about ``length`` tokens."""
    if rng.random() < stage.repeat_share:
        return repeat(rng, length, len(tokenizer))
    kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    task = next((task for task in LEARNED if task.name == kind), None)
    if task is not None:
        return encode(conversation(task, rng, length), tokenizer, stage.text_weight)
    if kind == "chat":
        return encode(chat(rng), tokenizer, stage.text_weight)
    ids = tokenizer(prose(rng, max(1, min(length, 256) // 12)), add_special_tokens=False)["input_ids"]
    return ids, [0.3] * len(ids)


def batch(rng: Random, stage: Stage, tokenizer: PreTrainedTokenizerBase) -> list[tuple[Tensor, Tensor]]:
    """A step's micro-batches: token ids and loss weights, each [sequences, tokens], padded on the right.

    Sequences of like length share a micro-batch, which wastes little on padding and stays in the processor's cache.
    """
    rows: list[Row] = []
    while sum(len(ids) for ids, _ in rows) < stage.batch_tokens:
        length = rng.choices(stage.lengths, [length**-0.7 for length in stage.lengths])[0]
        rows.append(sequence(rng, length, tokenizer, stage))
    rows.sort(key=lambda row: len(row[0]))
    micro: list[list[Row]] = [[]]
    for row in rows:
        if micro[-1] and len(row[0]) * (len(micro[-1]) + 1) > MICRO_TOKENS:
            micro.append([])
        micro[-1].append(row)
    return [_pad(group) for group in micro]


def _pad(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    width = max(len(ids) for ids, _ in rows)
    padded = torch.zeros(len(rows), width, dtype=torch.long)
    weights = torch.zeros(len(rows), width)
    for row, (ids, weight) in enumerate(rows):
        padded[row, : len(ids)] = torch.tensor(ids)
        weights[row, : len(ids)] = torch.tensor(weight)
    return padded, weights


# ---- optimisation -------------------------------------------------------------------------------------------------------------------


def drop_heads(model: LlamaForCausalLM, share: list[float]) -> None:
    """Zero each head's output with probability ``share[0]``, for a whole sequence, while the model is in training mode."""

    def hook(heads: int, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if not module.training or not share[0]:
            return None
        output = inputs[0]
        keep = (torch.rand(output.shape[0], 1, heads, 1) >= share[0]).to(output.dtype) / (1 - share[0])
        return ((output.unflatten(-1, (heads, -1)) * keep).flatten(-2),)

    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_pre_hook(partial(hook, model.config.num_attention_heads))


def loss_of(model: LlamaForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Summed, weighted cross-entropy; logits are computed only where the weight is not 0."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    counted = weights[:, 1:] > 0
    losses = nn.functional.cross_entropy(model.lm_head(hidden[:, :-1][counted]), ids[:, 1:][counted], reduction="none")
    return (losses * weights[:, 1:][counted]).sum()


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def accumulate(model: LlamaForCausalLM, micro: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Gradients of the mean loss over a step's micro-batches, which the processes share out and sum. Returns the loss."""
    world = distributed.get_world_size() if distributed.is_initialized() else 1
    answers = sum(float(weights[:, 1:].sum()) for _, weights in micro)
    total = torch.zeros(1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for ids, weights in micro[rank() :: world]:
        loss = loss_of(model, ids, weights) / answers
        loss.backward()
        total += loss.detach()
    if world > 1:
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        flat = torch.cat([total, *(gradient.flatten() for gradient in gradients)])
        distributed.all_reduce(flat)
        total, rest = flat[:1], flat[1:]
        for gradient, part in zip(gradients, rest.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
    return total.item()


# ---- the run ------------------------------------------------------------------------------------------------------------------------


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    stage: int = 0
    tokens: int = 0
    step: int = 0
    seconds: float = 0.0


def save(work: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write the checkpoint beside the old one, then swap."""
    temporary = work / "checkpoint.pt.new"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(progress)}, temporary)
    os.replace(temporary, work / "checkpoint.pt")


def load(work: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer) -> Progress:
    path = work / "checkpoint.pt"
    if not path.exists():
        return Progress()
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])


def steps(
    work: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, stages: Sequence[Stage], seed: int
) -> Iterator[dict[str, Any]]:
    """Train through the stages, one step at a time."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    progress = load(work, model, optimizer)
    share = [0.0]
    drop_heads(model, share)
    model.train()
    started, saved = time.monotonic() - progress.seconds, time.monotonic()
    while progress.stage < len(stages):
        stage = stages[progress.stage]
        share[0] = stage.drop_heads
        micro = batch(Random(f"{seed}/{progress.stage}/{progress.step}"), stage, tokenizer)
        torch.manual_seed(seed + 2 * progress.step + rank())
        total = accumulate(model, micro)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        done = min(1.0, progress.tokens / stage.tokens)
        warm = min(1.0, (progress.step + 1) / 50)
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * warm * (1 - (1 - stage.final_rate) * done)
        optimizer.step()
        progress.tokens += sum(ids.numel() for ids, _ in micro)
        progress.step += 1
        progress.seconds = time.monotonic() - started
        yield {"stage": stage.name, "step": progress.step, "tokens": progress.tokens, "loss": total, "seconds": progress.seconds}
        if progress.tokens >= stage.tokens:
            progress = replace(progress, stage=progress.stage + 1, tokens=0, step=0)
            if rank() == 0:
                save(work, model, optimizer, progress)
        elif rank() == 0 and time.monotonic() - saved > 60:
            save(work, model, optimizer, progress)
            saved = time.monotonic()


def run(process: int, processes: int, output: Path, work: Path, seed: int, arch: dict[str, int]) -> None:
    """One process of the training. One thread each: two such processes beat one with two threads by half."""
    torch.set_num_threads(1)
    if processes > 1:
        distributed.init_process_group("gloo", init_method=f"file://{(work / 'rendezvous').absolute()}", rank=process, world_size=processes)
    tokenizer = train_tokenizer(MAX_LENGTH)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(architecture(len(tokenizer), **arch))
    initialise(model)
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id, config.pad_token_id = None, tokenizer.eos_token_id, tokenizer.pad_token_id
    if process == 0:
        click.echo(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    recent: list[float] = []
    with (work / f"log-{process}.jsonl").open("a") as log:
        for record in steps(work, model, tokenizer, STAGES, seed):
            log.write(json.dumps(record) + "\n")
            recent.append(record["loss"])
            if process == 0 and record["step"] % 100 == 0:
                mean = sum(recent) / len(recent)
                click.echo(
                    f"{record['seconds'] / 60:6.1f} min  {record['stage']:7} {record['tokens'] / 1e6:6.2f} M tokens  loss {mean:.3f}"
                )
                recent.clear()
                log.flush()
    if process == 0:
        model.eval().save_pretrained(output)
        tokenizer.save_pretrained(output)


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory for the finished model.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("build/builtin"),
    show_default=True,
    help="Checkpoints and log; a second start resumes here.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--processes", default=2, show_default=True, help="One thread each; the result depends on it only by rounding.")
@click.option("--arch", multiple=True, help="Override the architecture, e.g. num_hidden_layers=4.")
def main(output: Path, work: Path, seed: int, processes: int, arch: tuple[str, ...]) -> None:
    """Train the shipped model; two to three hours on two cores."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "rendezvous").unlink(missing_ok=True)
    changes = {name: int(value) for name, value in (item.split("=") for item in arch)}
    arguments = (processes, output, work, seed, changes)
    if processes == 1:
        run(0, *arguments)
    else:
        spawn(run, arguments, nprocs=processes)


if __name__ == "__main__":
    main()
