"""The steps that the methods share: instructions, responses, pairs, training. Each is done once for the same inputs."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import Artifact, HarnessError, Json, Model, RunContext
from harness.cache import remembered
from harness.models.footprint import ModelShape, number_format
from harness.models.lookup import BUILTIN, resolve, tokenizer_digest
from retmask.heads.masks import LAYERS, MLP, UNITS, HeadMask
from retmask.model import load_tokenizer
from retmask.pairs.contexts import CONTEXT, Passages, check_texts
from retmask.pairs.instructions import SELF, Guard, write
from retmask.pairs.pairing import PairFilter, PreferencePair, as_text, join, read_pairs, write_pairs
from retmask.pairs.prompts import GENERATED, check_source, collect, identity, read_prompts, rows, write_prompts
from retmask.pairs.responses import Response, Sampling, read_responses
from retmask.pairs.samplers import Lazily, open_sampler
from retmask.pairs.turns import AssistantTurn, assistant_turn, user_turn
from retmask.training.launch import TrainConfig, launch, launcher
from tasks.files import replacing, sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from retmask.options import Options

PROMPTS_VERSION: Final = 1
SELF_VERSION: Final = 1
#: Of what is remembered about chat templates: goes up when another answer may be given to the same tokenizer.
TURNS_VERSION: Final = 1
RESPONSES_VERSION: Final = 3
PAIRS_VERSION: Final = 1
WEIGHTS_VERSION: Final = 1
DPO_VERSION: Final = 2
PAIRS: Final = "pairs.jsonl"
_RESPONSES: Final = "responses.journal"
PROMPTS: Final = "prompts.jsonl"
#: Training options that change speed, memory and what is logged, not the result.
_SPEED: Final = ("micro_batch_size", "gradient_checkpointing", "checkpoint_share", "report_to")


def derive(seed: int, purpose: str) -> int:
    """Derive a seed for one purpose, 31 bits, unrelated to those for others."""
    return int.from_bytes(blake2b(f"{seed}:{purpose}".encode(), digest_size=4).digest(), "big") >> 1


def digest(texts: Sequence[str]) -> str:
    """Hash texts in their order."""
    return blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()


def instructions(context: RunContext, options: "Options", engine: Lazily) -> list[str]:
    """Read distinct instructions, clear of the evaluation."""
    return read_prompts(prompted(context, options, engine).path / PROMPTS)


def prompted(context: RunContext, options: "Options", engine: Lazily) -> Artifact:
    """Build the step ``prompts``: instructions from their source. Its manifest counts what was left out and why."""
    source = prompts_source(context.model, options)
    artifact = _self_written(context, options, engine) if source in (SELF, CONTEXT) else _collected(context, options, source)
    facts = artifact.facts
    counts = {name: value for name, value in facts.items() if isinstance(value, int) and name != "longest_tokens"}
    if any(counts[reason] for reason in counts if reason not in ("read", "kept")):
        context.say(f"prompts: {_counted(counts)}")
    return artifact


def prompts_source(model: Model, options: "Options") -> str:
    """Choose ``prompts_from``, or where nothing is said: ``generated`` for the shipped model, ``self`` for any other.

    HarnessError if a model that is to write its own has no chat template.
    """
    if options.prompts_from == CONTEXT:
        prompts_source(model, replace(options, prompts_from=SELF, context_from=""))
    if options.prompts_from not in ("", SELF):
        return options.prompts_from
    own, shipped = tokenizer_digest(model), tokenizer_digest(resolve(BUILTIN))
    if not options.prompts_from and own == shipped:
        return GENERATED  # told by its files, without loading any library

    def ask(_: Path) -> Mapping[str, Json]:
        tokenizer = load_tokenizer(model.path)
        if not options.prompts_from and _is_shipped(tokenizer):
            return {"source": GENERATED}
        user_turn(tokenizer, model.name)
        return {"source": SELF}

    asked: dict[str, Json] = {"tokenizer": own, "shipped": shipped, "prompts_from": options.prompts_from}
    return str(remembered("turns", asked, ask, version=TURNS_VERSION)["source"])


def check_inputs(model: Model, options: "Options", *, chosen_only: bool = False) -> None:
    """Raise HarnessError, before anything is measured, for pairs, instructions or texts that a method is to have and that are not there."""
    if options.pairs_from:
        _given_pairs(options, chosen_only)
    else:
        check_instructions(options, prompts_source(model, options))


def check_count(model: Model, options: "Options") -> None:
    """Raise HarnessError for a ``top_k`` of all the heads or layers that the model has, or more; neurons are counted later."""
    if options.top_k is None or options.components == MLP or options.pairs_from:
        return
    shape = ModelShape.read(model, 0)
    there = shape.layers * (1 if options.components == LAYERS else shape.heads)
    if options.top_k >= there:
        units = UNITS[options.components]
        raise HarnessError(f"[method]: top_k = {options.top_k}: the model has {there} {units}, and not all can be masked; give less")


def check_instructions(options: "Options", source: str) -> None:
    """Raise HarnessError, as above, for a ``source`` of instructions, as :func:`prompts_source` chooses it."""
    if source in (SELF, CONTEXT, GENERATED):
        if options.prompts < 1:
            raise HarnessError(
                f"[method]: prompts = {options.prompts}; ask for at least 1 instruction of those that are written or generated"
            )
        if options.context_from:
            check_texts(options.context_from)
    else:
        check_source(source)


def _is_shipped(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether it is the shipped model's, or that of a model trained from it: its words say little but ``generated`` instructions."""
    shipped = load_tokenizer(resolve(BUILTIN).path)
    return tokenizer.chat_template == shipped.chat_template and tokenizer.get_vocab() == shipped.get_vocab()


def _self_written(context: RunContext, options: "Options", engine: Lazily) -> Artifact:
    if options.prompts < 1:
        raise HarnessError(f"[method]: prompts = {options.prompts}; ask for at least 1 instruction of those that the model writes")
    seed = derive(context.seed, "prompts")
    settings = Sampling(options.prompts_temperature, options.prompts_top_p, options.prompts_max_tokens, seed)
    guard, guarded = _guard(context, options)
    passages = _passages(context, options)
    inputs: dict[str, Json] = {
        "version": SELF_VERSION,
        "source": {"kind": SELF, "model": context.model.digest},
        "count": options.prompts,
        "dtype": number_format(options.dtype, context.device, context.model.path),
        "sampler": options.sampler,
        **asdict(settings),
        **guarded,
        **({} if passages is None else {"context": passages.identity()}),
    }

    def build(work: Path) -> Mapping[str, Json]:
        begun = None if passages is None else passages.begun
        written = write(engine, options.prompts, settings, guard, work / _RESPONSES, lambda line: context.say(f"prompts: {line}"), begun)
        write_prompts(written.prompts, work / PROMPTS)
        return written.facts()

    return context.step("prompts", inputs, build)


def _passages(context: RunContext, options: "Options") -> Passages | None:
    """What the instructions that the model writes are about, if they have a context."""
    if options.prompts_from != CONTEXT:
        return None
    tokenizer, seed = load_tokenizer(context.model.path), derive(context.seed, "passages")
    return Passages(tokenizer, options.context_from, options.context_tokens, seed)


def _collected(context: RunContext, options: "Options", source: str) -> Artifact:
    generated = _generated(options.prompts, derive(context.seed, "prompts")) if source == GENERATED else []
    guard, guarded = _guard(context, options)
    inputs: dict[str, Json] = {
        "version": PROMPTS_VERSION,
        "source": identity(source, options.prompts_split, options.prompts_revision),
        "generated": digest(generated),
        "count": options.prompts,
        "language": options.prompts_language,
        **guarded,
    }

    def build(work: Path) -> Mapping[str, Json]:
        found = (
            ((f"generated instruction {index}", {"prompt": text}) for index, text in enumerate(generated))
            if source == GENERATED
            else rows(source, options.prompts_split, options.prompts_revision)
        )
        collected = collect(found, options.prompts, options.prompts_language)
        shared = guard(collected.prompts)
        kept = [prompt for index, prompt in enumerate(collected.prompts) if index not in shared]
        counts: dict[str, Json] = {**collected.counts, "contaminated": len(shared), "kept": len(kept)}
        if not kept:
            raise HarnessError(f"[method]: prompts_from = {source!r} gives no instruction to answer ({_counted(counts)})")
        write_prompts(kept, work / PROMPTS)
        return counts

    return context.step("prompts", inputs, build)


def _guard(context: RunContext, options: "Options") -> tuple[Guard, dict[str, Json]]:
    """What finds texts of the evaluation, and what that depends on."""
    suite = context.suite()
    guarded = options.contamination_words > 0 and bool(suite.digest)

    def guard(texts: Sequence[str]) -> set[int]:
        from retmask.pairs.contamination import contaminated

        return contaminated(texts, suite.texts(), options.contamination_words) if guarded else set()

    return guard, {"contamination_words": options.contamination_words if guarded else 0, "suite": suite.digest if guarded else ""}


def _counted(counts: Mapping[str, Json]) -> str:
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items() if count)


def _generated(count: int, seed: int) -> list[str]:
    from tasks.chat import instructions as generate

    if count < 1:
        raise HarnessError(f"[method]: prompts = {count}; ask for at least 1 generated instruction")
    return generate(count, seed)


def sampler(context: RunContext, options: "Options", model: Model | None = None) -> Lazily:
    """Make the engine that answers, to be opened when something has to be sampled. It holds the run's model unless ``model`` is another."""
    path = (model or context.model).path
    dtype = number_format(options.dtype, context.device, context.model.path)
    devices = {"tensor_parallel": options.tensor_parallel, "pipeline_parallel": options.pipeline_parallel}
    return Lazily(lambda: open_sampler(options.sampler, path, dtype, context.device, **devices))


def responses(
    context: RunContext,
    options: "Options",
    prompts: Sequence[str],
    name: str,
    engine: Lazily,
    mask: HeadMask | None,
    model: Model | None = None,
) -> list[Response]:
    """Build the step called ``name``: ``options.n`` responses to each prompt, without the mask's heads."""
    settings = Sampling(options.temperature, options.top_p, options.max_new_tokens, derive(context.seed, name.partition("-")[0]), options.n)
    inputs: dict[str, Json] = {
        "version": RESPONSES_VERSION,
        "model": (model or context.model).digest,
        "prompts": digest(prompts),
        "masked": None if mask is None else [list(head) for head in mask.heads],
        **({} if mask is None else mask.facts()),
        "dtype": number_format(options.dtype, context.device, context.model.path),
        "sampler": options.sampler,
        **asdict(settings),
    }

    def build(work: Path) -> Mapping[str, Json]:
        started = time.monotonic()
        drawn = engine.sample(prompts, settings, mask, work / _RESPONSES, lambda line: context.say(f"{name}: {line}"))
        tokens = sum(len(response.ids) for response in drawn)
        return {"responses": len(drawn), "tokens": tokens, "seconds": round(time.monotonic() - started, 1)}

    return [response for _, response in sorted(read_responses(context.step(name, inputs, build).path / _RESPONSES).items())]


def paired(
    context: RunContext,
    options: "Options",
    prompts: Sequence[str],
    chosen: Sequence[Response],
    rejected: Sequence[Response],
    other: Model | None = None,
) -> Artifact:
    """Build the step ``pairs``: the two waves joined, with figures that warn. ``other`` is the model that wrote the rejected answers."""
    rules = PairFilter(options.drop_repetitive, options.drop_unfinished)
    foreign = other is not None and tokenizer_digest(other) != tokenizer_digest(context.model)
    inputs: dict[str, Json] = {
        "version": PAIRS_VERSION,
        "prompts": digest(prompts),
        "chosen": digest([repr(response) for response in chosen]),
        "rejected": digest([repr(response) for response in rejected]),
        "foreign": "with ends" if foreign else False,
        **asdict(rules),
    }

    def build(work: Path) -> Mapping[str, Json]:
        found = join(prompts, chosen, rejected, rules)
        write_pairs(as_text(found.kept, rejected_only=True) if foreign else found.kept, work / PAIRS)
        return found.facts()

    return _warned(context, context.step("pairs", inputs, build))


def weighted(context: RunContext, options: "Options", pairs: Artifact, mask: HeadMask) -> Artifact:
    """Build the step ``weights``: the pairs, and how much intact and masked model disagree about each of their tokens."""
    dtype = number_format(options.dtype, context.device, context.model.path)
    inputs: dict[str, Json] = {
        "version": WEIGHTS_VERSION,
        "pairs": sha256(pairs.path / PAIRS),
        "model": context.model.digest,
        "masked": [list(head) for head in mask.heads],
        **mask.facts(),
        "dtype": dtype,
    }

    def build(work: Path) -> Mapping[str, Json]:
        from retmask.model import load_model
        from retmask.pairs.disagreement import weighted as weigh

        model, tokenizer = load_model(context.model.path, dtype, context.device), load_tokenizer(context.model.path)
        found = weigh(model, tokenizer, read_pairs(pairs.path / PAIRS), mask, lambda line: context.say(f"weights: {line}"))
        write_pairs(found, work / PAIRS)
        tokens = [each for pair in found for each in (*pair.chosen_weights, *pair.rejected_weights)]
        heavy = sum(sorted(tokens, reverse=True)[: len(tokens) // 10])
        return {**pairs.facts, "weight_of_the_heaviest_tenth": round(heavy / sum(tokens), 3)}

    return context.step("weights", inputs, build)


def chosen_alone(context: RunContext, prompts: Sequence[str], chosen: Sequence[Response]) -> Artifact:
    """Build the step ``pairs`` of a training on chosen answers alone: no rejected ones, empty answers dropped."""
    inputs: dict[str, Json] = {
        "version": PAIRS_VERSION,
        "prompts": digest(prompts),
        "chosen": digest([repr(response) for response in chosen]),
        "rejected": None,
    }

    def build(work: Path) -> Mapping[str, Json]:
        kept = [PreferencePair(prompts[each.prompt], each.text, "", each.ids) for each in chosen if each.text.strip()]
        if not kept:
            raise HarnessError(f"none of {len(chosen)} answers says anything; give other prompts, or raise max_new_tokens")
        write_pairs(kept, work / PAIRS)
        return {"pairs": len(kept), "dropped_empty": len(chosen) - len(kept), "warnings": []}

    return context.step("pairs", inputs, build)


def given(context: RunContext, options: "Options", *, chosen_only: bool = False) -> Artifact:
    """Build the step ``pairs`` with a copy of the user's own file. HarnessError names its bad line."""
    path, found = Path(options.pairs_from), _given_pairs(options, chosen_only)

    def build(work: Path) -> Mapping[str, Json]:
        with replacing(work / PAIRS) as partial:
            shutil.copyfile(path, partial)
        return {"pairs": len(found), "source": path.name, "warnings": []}

    return context.step("pairs", {"version": PAIRS_VERSION, "file": sha256(path)}, build)


def _given_pairs(options: "Options", chosen_only: bool) -> list[PreferencePair]:
    found = read_pairs(Path(options.pairs_from), chosen_only=chosen_only)
    if not found:
        raise HarnessError(f"{options.pairs_from} holds no preference pairs; write one JSON object a line, or leave pairs_from out")
    return found


def trained(context: RunContext, options: "Options", pairs: Artifact) -> Artifact:
    """Build the step ``dpo`` (``sft`` for that loss), whose ``model`` is the checkpoint."""
    training = options.training()
    seed, dtype = derive(context.training_seed, "dpo"), number_format(options.dtype, context.device, context.model.path)
    source = pairs.path / PAIRS
    command = launcher(options.parallel, options.processes, options.lora_rank)

    def build(work: Path) -> Mapping[str, Json]:
        paths: dict[str, Any] = {"model": str(context.model.path), "pairs": str(source), "output": str(work)}
        return launch(TrainConfig(**paths, seed=seed, device=context.device, dtype=dtype, **training), context.say, command)

    inputs: dict[str, Json] = {
        "version": DPO_VERSION,
        "model": context.model.digest,
        "pairs": sha256(source),
        "seed": seed,
        "dtype": dtype,
        **{name: value for name, value in training.items() if name not in _SPEED},
    }
    found = read_pairs(source, chosen_only=options.loss == "sft")
    if any(not pair.chosen_ids or (pair.rejected and not pair.rejected_ids) for pair in found):  # text, put as the template puts answers
        tokenizer = load_tokenizer(context.model.path)
        turn = assistant_turn(tokenizer)
        if turn != AssistantTurn(end=str(tokenizer.eos_token or "")):
            inputs["turn"] = asdict(turn)
    return context.step("sft" if options.loss == "sft" else "dpo", inputs, build)


def _warned(context: RunContext, pairs: Artifact) -> Artifact:
    facts = pairs.facts
    warnings = facts.get("warnings") if isinstance(facts, dict) else None
    for warning in warnings if isinstance(warnings, list) else []:
        context.say(f"warning: {warning}")
    return pairs
