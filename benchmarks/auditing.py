"""The audit against one that writes every answer out under every mask, at every size and with every control.

    python benchmarks/auditing.py                                        the shipped model
    python benchmarks/auditing.py --model smollm2-135m --trials 32       what `heads audit` does

One mask is timed both ways, with the same trials and texts, and what they find under it is compared. The old whole is that mask's time for
each of its masks; the new one is timed.
"""

import json
from unittest import mock

import click
import numpy as np
from _sides import timed

from harness.models.lookup import resolve
from retmask.heads import audit, masks
from retmask.heads.ablate import ablated
from retmask.heads.audit import CONTROLS, AuditSettings, audit_model
from retmask.heads.detect import detect, run_trials
from retmask.heads.lab import Lab, _longest_answer
from retmask.heads.trials import build_trials, evenly
from retmask.model import load_model, load_tokenizer


@click.command()
@click.option("--model", "name", default="builtin", show_default=True, help="A directory, or a name that `harness` knows.")
@click.option("--length", default=512, show_default=True)
@click.option("--trials", default=16, show_default=True)
def main(name: str, length: int, trials: int) -> None:
    """Print processor seconds of a mask and of the whole, both ways, and the ratio."""
    found = resolve(name)
    tokenizer, model = load_tokenizer(found.path), load_model(found.path, "float32", "cpu")
    settings = AuditSettings(lengths=(length,), trials=trials)
    scores = detect(model, tokenizer, build_trials(tokenizer, settings.lengths, trials, evenly(10), settings.seed), found.digest)
    asked = build_trials(tokenizer, settings.lengths, trials, evenly(10), settings.seed + 1)
    measured: list[float] = []

    class Counted(Lab):
        """Notes what each mask takes."""

        def measure(self, mask: masks.HeadMask) -> tuple[np.ndarray, np.ndarray]:
            answers = []
            measured.append(timed(lambda: answers.append(super(Counted, self).measure(mask))).own)
            return answers[0]

    with mock.patch.object(audit, "Lab", Counted):
        whole = timed(lambda: print(audit_model(model, tokenizer, found.digest, settings, print, scores).in_words()))
    mask = masks.retrieval(scores, top_k=2)
    lab = Lab(model, tokenizer, asked, settings.seed)
    still: list[np.ndarray] = []
    with ablated(model, mask):
        results = []
        writing = timed(lambda: (results.extend(run_trials(model, tokenizer, asked, rules=_longest_answer(asked))), lab._losses()))
    ours = timed(lambda: still.append(lab.measure(mask)[0]))
    written = np.array([result.success for result in results])
    every = len(audit.sizes(len(scores.heads()))) * (1 + settings.controls * len(CONTROLS)) + 1
    print(json.dumps({"needles": int(lab.found.sum()), "same_found": still[0].tolist() == (written * lab.found).tolist()}))
    print(
        json.dumps({"a_mask_written_out": round(writing.own, 1), "a_mask": round(ours.own, 1), "masks": len(measured), "all_masks": every})
    )
    print(
        f"audit: {whole.own:.0f} s of processor time beside scoring heads ({whole.wall:.0f} s on the clock), "
        f"{writing.own * every / whole.own:.1f} times as fast as {every} masks written out"
    )


if __name__ == "__main__":
    main()
