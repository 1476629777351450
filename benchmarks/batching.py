"""Length-sorted batches against one prompt at a time, which is how HELMET generates: the demo's suite, on the shipped model or another.

    python benchmarks/batching.py            all tasks and lengths, 24 examples each: minutes on two cores
    python benchmarks/batching.py --quick    6 examples each
    python benchmarks/batching.py --model smollm2-135m --lengths 512 --examples 2 --rounds 1

Both sides run in this process on the same model and the same prompts, in turns: `model.generate` for one prompt after the other, and the
harness's backend. Reading the prompts alone is timed too: on a CPU it is as much work in a batch as by itself, so no batching can be faster
than that. Answers are compared. Exit code 1 if batches do not pay.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import torch
from _sides import Clock, Recorder, batch_of, build_suite, config_for, evaluate_all, timed

from harness.engines import open_engine
from harness.models.lookup import resolve

if TYPE_CHECKING:
    from harness.engines.lm import Prompt

LEAST = 1.1
NAMES = {"own": "processor time", "wall": "wall time"}


@click.command()
@click.option("--model", "name", default="builtin", show_default=True, help="A directory, or a name that `harness` knows.")
@click.option("--lengths", help="In tokens, such as 512,1024.  [default: the demo's]")
@click.option("--tasks", help="Such as recall,rag.  [default: all]")
@click.option("--examples", default=24, show_default=True, help="Of each task at each length.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--quick", is_flag=True)
def main(name: str, lengths: str | None, tasks: str | None, examples: int, rounds: int, quick: bool) -> None:
    """Time all sides in turns; print seconds and ratios for each length."""
    model = resolve(name)
    settings: dict[str, Any] = {"examples": 6 if quick else examples}
    settings |= {} if lengths is None else {"lengths": tuple(map(int, lengths.split(",")))}
    settings |= {} if tasks is None else {"tasks": tuple(tasks.split(","))}
    config = config_for(name, settings)
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
                ids, until = torch.tensor([prompt.ids]), prompt.settings["until"]
                stops = {"stop_strings": until, "tokenizer": backend.tokenizer} if until else {}
                (row,) = backend.model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=prompt.settings["max_gen_toks"], do_sample=False,
                    pad_token_id=backend.tokenizer.pad_token_id, **stops,
                )  # fmt: skip
                text = backend.tokenizer.decode(row[len(prompt.ids) :], skip_special_tokens=True)
                answers["one by one"][prompt.example] = min((text.split(stop, 1)[0] for stop in until), key=len, default=text)

        def reading(prompts: "Sequence[Prompt]") -> None:
            with torch.no_grad():
                for prompt in prompts:
                    backend.model(torch.tensor([prompt.ids]), logits_to_keep=1)

        times: dict[tuple[str, int], Clock] = {}
        for prompts in calls:
            for side in (batches, one_by_one, reading):
                rounds_taken = [timed(lambda side=side, prompts=prompts: side(prompts)) for _ in range(rounds)]
                key = side.__name__.replace("_", " "), int(prompts[0].example.split("-")[1])
                before = times.get(key, Clock(0.0, 0.0))
                times[key] = Clock(
                    before.wall + min(each.wall for each in rounds_taken), before.own + min(each.own for each in rounds_taken)
                )
        lm.close()
    same = sum(answers["batches"][example] == answer for example, answer in answers["one by one"].items())
    ratio = 0.0
    for clock in ("own", "wall"):
        rows = {
            length: {side: round(getattr(times[side, length], clock), 2) for side in ("one by one", "batches", "reading")}
            for length in sorted({length for _, length in times})
        }
        for length, row in rows.items():
            faster = round(row["one by one"] / row["batches"], 2)
            print(json.dumps({"clock": NAMES[clock], "length": length, **row, "times_faster": faster}))
        whole = {side: sum(row[side] for row in rows.values()) for side in ("one by one", "batches", "reading")}
        ratio, bound = whole["one by one"] / whole["batches"], whole["one by one"] / whole["reading"]
        print(f"batching, {NAMES[clock]}: {ratio:.2f} times as fast over all lengths, {bound:.2f} if answers took no time")
    print(json.dumps({"prompts": len(answers["batches"]), "same_answers": same}))
    sys.exit(ratio < LEAST)


if __name__ == "__main__":
    main()
