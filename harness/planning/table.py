"""A plan as a person reads it."""

from collections.abc import Iterator, Sequence
from typing import Final

from harness.config import RunConfig
from harness.models.footprint import gib
from harness.planning.plan import Need, Plan

DAY: Final = 86_400.0
#: How much longer than alone the probe took where other work is worth a word.
_SLOWED: Final = 1.3


def as_text(plan: Plan, config: RunConfig) -> str:
    """Show steps, memory, disk, time, warnings, and what would take less where it is long."""
    lines = [f"{plan.model}: {plan.parameters:,} parameters", "", *_step_lines(plan)]
    if plan.needs:
        lines += ["", "memory on each device, without activations", *(f"  {line}" for line in _need_lines(plan.needs))]
    lines += ["", *(f"{device.name}: {gib(device.free)} free of {gib(device.total)}" for device in plan.devices)]
    if plan.disk:
        lines.append(f"disk: {gib(plan.disk)} for trained models and checkpoints")
    if plan.seconds is not None:
        lines.append(f"about {duration(plan.seconds)} {_basis(plan)}{_slowed(plan)}")
    elif plan.untimed:
        lines.append(f"no time: {plan.untimed}")
    lines += [f"WARNING: {warning}" for warning in plan.warnings]
    if (advice := cheaper(plan, config)) is not None:
        lines.append(advice)
    return "\n".join(lines)


def cheaper(plan: Plan, config: RunConfig) -> str | None:
    """Say what would take less time, in one line, where it is more than a day."""
    if plan.seconds is None or plan.seconds <= DAY:
        return None
    shares = {"evaluation": 0.0, "answers for the pairs": 0.0, "training": 0.0, "finding heads": 0.0}
    for step in plan.steps:
        kind = (
            "evaluation"
            if step.work.step in ("suite", "generate", "eval")
            else "training"
            if step.work.train_tokens
            else "finding heads"
            if step.work.step in ("heads", "audit")
            else "answers for the pairs"
        )
        shares[kind] += step.seconds or 0.0
    most = max(shares, key=lambda kind: shares[kind])
    how = {
        "evaluation": f"ask fewer --examples ({config.examples or 'by default 100'} now) at fewer or shorter --lengths",
        "answers for the pairs": "sample fewer and shorter answers, such as --set prompts=320 --set max_new_tokens=128",
        "training": "train on fewer pairs, such as --set prompts=320 --set epochs=1",
        "finding heads": "measure heads on fewer and shorter prompts, such as --set detection_lengths=[512] --set detection_trials=24",
    }[most]
    return f"for less: {shares[most] / plan.seconds:.0%} is {most}; {how}, or take --preset small"


def _basis(plan: Plan) -> str:
    if plan.by_arithmetic:
        return "by the model's size and the speed of this machine alone (it was not loaded in time; `harness plan` times it)"
    return "by a short probe with transformers"


def _slowed(plan: Plan) -> str:
    if plan.seconds is None or plan.slowed < _SLOWED:
        return ""
    return f", with nothing else on this machine; beside what else runs now, {duration(plan.seconds * plan.slowed)}"


def _step_lines(plan: Plan) -> Iterator[str]:
    size = max(len("left, together"), *(len(step.name) for step in plan.steps))
    yield f"{'step':{size}}  {'state':8}  {'to read':>13}  {'to write':>11}  {'to train on':>13}  time"
    for step in plan.steps:
        counts = [step.work.prefill_tokens, step.work.new_tokens, step.work.train_tokens]
        numbers = [f"{count:,}" if count and step.state != "finished" else "" for count in counts]
        time = duration(step.seconds) if step.seconds else ""
        yield f"{step.name:{size}}  {step.state:8}  {numbers[0]:>13}  {numbers[1]:>11}  {numbers[2]:>13}  {time}".rstrip()
    total = "" if plan.seconds is None else duration(plan.seconds)
    sums = f"{plan.prefill_tokens:>13,}  {plan.new_tokens:>11,}  {plan.train_tokens:>13,}"
    yield f"{'left, together':{size}}  {'tokens':8}  {sums}  {total}".rstrip()


def _need_lines(needs: Sequence[Need]) -> Iterator[str]:
    for need in needs:
        parts = {"weights": need.weights, "KV cache": need.kv_cache, "optimizer state": need.optimizer, "logits": need.logits}
        yield f"{need.name:10} {gib(need.total):>10}  " + " + ".join(f"{name} {gib(size)}" for name, size in parts.items() if size)


def duration(seconds: float) -> str:
    """Write a duration: ``40 s``, ``12 min``, ``3.5 h``, ``2.1 days``."""
    for size, unit in ((DAY, "days"), (3_600, "h")):
        if seconds >= 2 * size or (unit == "h" and seconds >= size):
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 1):.0f} s"
