"""Length-sorted batches against one prompt at a time, which is how HELMET generates: the demo's suite on the shipped model.

    python benchmarks/batching.py            all tasks and lengths, 24 examples each: minutes on two cores
    python benchmarks/batching.py --quick    6 examples each

Both sides run in this process on the same model and the same prompts, in turns: `model.generate` for one prompt after the other, and the
harness's backend. Reading the prompts alone is timed too: on a CPU it is as much work in a batch as by itself, so no batching can be faster
than that. Answers are compared. Exit code 1 if batches do not pay.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import torch
from _sides import Recorder, batch_of, build_suite, evaluate_all, timed

from harness.config import load_preset, override
from harness.engines import open_engine
from harness.models import resolve

if TYPE_CHECKING:
    from harness.engines.lm import Prompt

LEAST = 1.1


@click.command()
@click.option("--examples", default=24, show_default=True, help="Of each task at each length.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--quick", is_flag=True)
def main(examples: int, rounds: int, quick: bool) -> None:
    """Time all sides in turns; print seconds and ratios for each length."""
    model = resolve("builtin")
    config = override(load_preset("builtin"), {"examples": 6 if quick else examples, "device": "cpu"}, {})
    with tempfile.TemporaryDirectory() as folder:
        suite = build_suite(Path(folder), model, config)
        lm = open_engine(model, config)
        recorder = lm._backend = Recorder(lm._backend)
        evaluate_all(lm, suite, Path(folder) / "journal", config.batch_tokens)  # warm up, and to have the prompts
        backend, calls = recorder.backend, list(recorder.calls)
        answers: dict[str, dict[str, str]] = {"batches": {}, "one by one": {}}

        def batches(prompts: "Sequence[Prompt]") -> None:
            for finished in backend.generate(prompts, batch_of(config.batch_tokens)):
                answers["batches"].update({example: completion.text for example, completion in finished.items()})

        def one_by_one(prompts: "Sequence[Prompt]") -> None:
            for prompt in prompts:
                most = prompt.settings["max_gen_toks"]
                ids = torch.tensor([prompt.ids])
                pad = backend.tokenizer.pad_token_id
                (row,) = backend.model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False, pad_token_id=pad
                )
                answers["one by one"][prompt.example] = backend.tokenizer.decode(row[len(prompt.ids) :], skip_special_tokens=True)

        def reading(prompts: "Sequence[Prompt]") -> None:
            with torch.no_grad():
                for prompt in prompts:
                    backend.model(torch.tensor([prompt.ids]), logits_to_keep=1)

        times: dict[tuple[str, int], float] = {}
        for prompts in calls:
            for side in (batches, one_by_one, reading):
                best = min(timed(lambda side=side, prompts=prompts: side(prompts)).wall for _ in range(rounds))
                key = side.__name__.replace("_", " "), int(prompts[0].example.split("-")[1])
                times[key] = times.get(key, 0.0) + best
        lm.close()
    same = sum(answers["batches"][example] == answer for example, answer in answers["one by one"].items())
    lengths = sorted({length for _, length in times})
    rows = [{side: round(times[side, length], 2) for side in ("one by one", "batches", "reading")} for length in lengths]
    for length, row in zip(lengths, rows, strict=True):
        print(json.dumps({"length": length, **row, "times_faster": round(row["one by one"] / row["batches"], 2)}))
    whole = {side: sum(row[side] for row in rows) for side in rows[0]}
    ratio, bound = whole["one by one"] / whole["batches"], whole["one by one"] / whole["reading"]
    print(
        json.dumps({"prompts": len(answers["batches"]), "same_answers": same, **{side: round(value, 2) for side, value in whole.items()}})
    )
    print(f"batching: {ratio:.2f} times as fast over all lengths, {bound:.2f} if answers took no time; {same} answers are the same")
    sys.exit(ratio < LEAST)


if __name__ == "__main__":
    main()
