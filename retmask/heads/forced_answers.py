"""How likely a needle's answer is while heads are silent: the prompt read once, by the intact model; the answer put to it, not written.

A gate stands before each head's slice of the output projection: 1 lets it through, 0 silences it (as in :mod:`retmask.heads.ablate`). Each
row of a batch has gates of its own, so that one pass measures as many sets of silent heads as there are rows. Heads are silent only while
the answer is produced, the last token of the prompt included; what they did while the prompt was read stays in its keys and values.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.engines.cache import LayerState, Stack
from retmask.heads.ablate import Projection, output_projections
from retmask.heads.needle_answers import BATCH_TOKENS
from retmask.heads.prefix_reader import Reader, reading, reading_order
from retmask.heads.trials import Trial

#: Forms of the answer that are tried: with its sentence's beginning and without.
FORMS: Final = 2
#: Passes forward that a gradient costs, the one forward among them.
GRADIENT: Final = 3
#: Sets of silent heads that go through the model together, at most.
_ROWS: Final = 32


class ForcedAnswer:
    """One trial's answer on the intact model's keys and values of its prompt. Made by :func:`forced_answers`."""

    def __init__(self, model: PreTrainedModel, state: Sequence[LayerState], ids: Sequence[int], scored: int) -> None:
        self._model, self._state, self._ids = model, state, tuple(ids)
        self._scored = scored
        self._projections = output_projections(model)
        self.shape: Final = (len(self._projections), self._projections[0].heads)
        """(layers, heads per layer)."""

    def log_probabilities(self, silent: Tensor) -> Tensor:
        """Compute the mean log-probability of the needle's tokens, nats [sets], without each of some sets of heads.

        ``silent`` is bool [sets, layers, heads].
        """
        width = self._state[0][0].shape[2]
        rows = min(len(silent), _ROWS, max(1, BATCH_TOKENS // (width + len(self._ids))))
        found = []
        with torch.inference_mode():
            stack = Stack(rows, width, len(self._ids))
            for row in range(rows):
                stack.put(row, self._state)
            cache = stack.cache()
            for first in range(0, len(silent), rows):
                part = silent[first : first + rows]
                gates = torch.ones(rows, *self.shape)
                gates[: len(part)] = (~part).float()
                found.append(self._pass(cache, gates)[: len(part)].cpu())
                cache.cut(width)
        return torch.cat(found)

    def gradient(self, silent: Tensor) -> Tensor:
        """Estimate to first order what silencing each head costs, nats a needle token, [layers, heads], while ``silent`` ones are silent.

        That is the derivative of the log-probability by the gate, one pass forward and one back for all heads (attribution patching
        with zeros, Syed et al., arXiv 2310.10348).
        """
        with torch.inference_mode(False), torch.enable_grad():
            stack = Stack(1, self._state[0][0].shape[2], len(self._ids))
            stack.put(0, [(keys.clone(), values.clone()) for keys, values in self._state])
            gates = (~silent).float()[None].requires_grad_()
            (found,) = torch.autograd.grad(self._pass(stack.cache(), gates).sum(), gates)
        return found[0].detach()

    def _pass(self, cache: Any, gates: Tensor) -> Tensor:
        ids = torch.tensor([self._ids] * len(gates), device=self._model.device)
        with gated(self._projections, gates):
            output = self._model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=self._scored)
        nats = output.logits.float().log_softmax(dim=-1)
        targets = ids[:, -self._scored :, None].to(nats.device)
        found: Tensor = nats.gather(2, targets)[..., 0].mean(dim=1)
        return found


@contextmanager
def gated(projections: Sequence[Projection], gates: Tensor) -> Iterator[None]:
    """Multiply each head's output by its gate inside the block. ``gates`` is [batch, layers, heads]."""

    def hook(projection: Projection) -> Any:
        def multiply(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            own = gates[:, projection.layer].to(inputs[0]).repeat_interleave(projection.width, dim=-1)
            return (inputs[0] * own[:, None], *inputs[1:])

        return multiply

    with ExitStack() as hooks:
        for projection in projections:
            hooks.callback(projection.module.register_forward_pre_hook(hook(projection)).remove)
        yield


def forced_answers(model: PreTrainedModel, trials: Sequence[Trial]) -> Iterator[tuple[int, ForcedAnswer]]:
    """Give each trial's index and answer, in the order in which prompts share the most.

    The answer is the needle's alone or with its sentence's beginning before it, whichever the intact model finds likelier.
    """
    order = reading_order([trial.prompt_ids for trial in trials])
    with reading(model) as reader:
        for index in order:
            yield index, _likelier(reader, trials[index])


def _likelier(reader: Reader, trial: Trial) -> ForcedAnswer:
    reader.read(trial.prompt_ids, 1)
    state = reader.state(len(trial.prompt_ids) - 1)
    with torch.inference_mode(False):  # what inference mode makes, no gradient may see
        state = [(keys.clone(), values.clone()) for keys, values in state]
    starts = {trial.needle_start} if trial.begun or trial.passage == (0, 0) else {trial.needle_start, trial.passage[0]}
    scored = trial.needle_end - trial.needle_start
    answers = [
        ForcedAnswer(reader.model, state, (trial.prompt_ids[-1], *trial.prompt_ids[start : trial.needle_end]), scored)
        for start in sorted(starts)
    ]
    nothing = torch.zeros(1, *answers[0].shape, dtype=torch.bool)
    return max(answers, key=lambda answer: float(answer.log_probabilities(nothing)))
