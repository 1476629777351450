"""``--stop-early``: a candidate is asked the questions of its baseline in rounds, until the difference is known.

Every block of rounds is a step of its own, so that a killed run goes on, and another candidate finds the baseline's blocks finished.
What the rounds say is the part of :mod:`reports.stopping`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.api import Artifact, HarnessError, Json, Model
from harness.evaluation.evaluate import SCORING_VERSION, Part, Scoring, evaluate, read_samples, suite_rows, write_samples
from harness.files import write_json
from reports.contrasts import contrasts
from tasks.files import read_text

if TYPE_CHECKING:
    import pandas as pd

    from harness.context import Run
    from reports.stopping import Look, Order, Stopping

#: Raise when the same seed should give another order than before.
VERSION: Final = 1
_FILE: Final = "order.json"


class Rounds:
    """A suite whose questions are asked in an order that the run's seed fixes, in blocks that end where someone looks."""

    def __init__(self, run: "Run", suite: Artifact, scoring: Scoring, methods: Sequence[str] = ("",)) -> None:
        self._run, self._suite, self._scoring = run, suite, scoring
        self._comparisons = len(methods) + len(contrasts(methods))  # what the page corrects for
        self.order, self._round_of = _prepare(run, suite)
        self.blocks = _blocks(self.order, run.config.confidence, 1 + max(self._round_of.values()))

    def ask(self, model: Model, block: int) -> Artifact:
        """Ask ``model`` one block; its samples."""
        first, end = self.blocks[block]
        chosen = frozenset(example for example, number in self._round_of.items() if first <= number < end)
        part = Part({"order": self.order.seed, "rounds": [first, end]}, chosen)
        return evaluate(self._run, model, self._suite, self._run.config, self._scoring, part)

    def candidate(self, model: Model, baseline: Callable[[int], "pd.DataFrame"]) -> tuple[Artifact, int]:
        """Ask ``model`` until its difference to the baseline is known: its samples, and how many blocks they are.

        ``baseline`` gives the baseline's samples of the first so many blocks; it may give more.
        """
        import pandas as pd

        if len(self.blocks) == 1:
            self._run.say(f"{model.name}: too few questions to stop early; all are asked")
            return evaluate(self._run, model, self._suite, self._run.config, self._scoring), 1
        config = self._run.config
        parts: list[Artifact] = []
        looks: list[int] = []
        decided = None
        for block, (_, end) in enumerate(self.blocks):
            before = baseline(block + 1)
            parts.append(self.ask(model, block))
            if block + 1 == len(self.blocks):
                break  # nothing is left to save: the bootstrap has the last word
            looks.append(end)
            after = pd.concat([read_samples(part, model.name) for part in parts], ignore_index=True)
            found = self._look(before, after, end, model.name)
            decided = found.decision
            delta, low, high = (f"{100 * each:+.1f}" for each in (found.delta, found.low, found.high))
            known = f"{delta} [{low}, {high}] points; {decided or 'not known yet'}"
            self._run.say(f"{model.name}: look {len(looks)}, after {end} of {self.order.rounds} rounds: {known}")
            if decided:
                break
        mark = self._mark(len(parts), looks=tuple(looks), confidence=config.confidence, margin=config.stop_margin / 100, decision=decided)
        return self._join(model.name, parts, mark), len(parts)

    def asked(self, model: Model, blocks: int) -> "pd.DataFrame":
        """Ask ``model`` what it was not asked yet; its samples in the first ``blocks`` blocks."""
        import pandas as pd

        return pd.concat([read_samples(self.ask(model, block), model.name) for block in range(blocks)], ignore_index=True)

    def baseline(self, model: Model, blocks: int) -> Artifact:
        """Give the samples of the baseline, of as many blocks as its candidates took."""
        if len(self.blocks) == 1:
            return evaluate(self._run, model, self._suite, self._run.config, self._scoring)
        return self._join(model.name, [self.ask(model, block) for block in range(blocks)], self._mark(blocks))

    def _look(self, before: "pd.DataFrame", after: "pd.DataFrame", rounds: int, name: str) -> "Look":
        from reports.compare import CompareError, check_comparable
        from reports.generations import averaged
        from reports.samples import KEY
        from reports.stopping import StoppingError, look

        config = self._run.config
        try:
            inside = self.order.round_of(before) < rounds
            left, right = (averaged(table).sort_values(list(KEY), ignore_index=True) for table in (before[inside], after))
            check_comparable(left, right, name)
            return look(self.order, left, right, rounds, config.confidence, config.stop_margin / 100, self._comparisons)
        except (CompareError, StoppingError) as error:
            raise HarnessError(str(error)) from None

    def _mark(self, blocks: int, **looked: object) -> "Stopping":
        from reports.stopping import Stopping

        end = self.blocks[blocks - 1][1]
        asked = sum(number < end for number in self._round_of.values())
        return Stopping(self.order, min(end, self.order.rounds), asked, asked == len(self._round_of), **looked)  # type: ignore[arg-type]

    def _join(self, name: str, parts: Sequence[Artifact], mark: "Stopping") -> Artifact:
        """The step that holds the samples of these blocks together, marked with how far they go."""
        import pandas as pd

        in_rounds = bool(mark.looks) or not mark.complete

        def build(work: Path) -> dict[str, Json]:
            table = pd.concat([read_samples(part, "") for part in parts], ignore_index=True)
            write_samples(mark.attach(table) if in_rounds else table, work)
            return {**_sums(parts), **({"stopping": mark.sentence(name)} if in_rounds else {})}

        inputs: dict[str, Json] = {"parts": [part.key for part in parts], "stopping": json.loads(json.dumps(asdict(mark)))}
        return self._run.step("eval", inputs, build, version=SCORING_VERSION)


def _prepare(run: "Run", suite: Artifact) -> tuple["Order", dict[str, int]]:
    """The order of the suite's questions, and the round of every example: a step, so that it is worked out once."""
    from reports.stopping import plan_order, read_order

    facts = suite.facts

    def build(work: Path) -> dict[str, Json]:
        rows = suite_rows(suite)
        order = plan_order(rows, run.seed)
        rounds = dict(zip(rows["example_id"].tolist(), order.round_of(rows).tolist(), strict=True))
        write_json(work / _FILE, {"order": json.loads(json.dumps(asdict(order))), "rounds": rounds})
        return {"rounds": order.rounds, "examples": order.examples}

    step = run.step("order", {"suite": facts["digest"], "seed": run.seed}, build, version=VERSION)
    found = json.loads(read_text(step.path / _FILE))
    return read_order(found["order"]), found["rounds"]


def _blocks(order: "Order", confidence: float, end: int) -> list[tuple[int, int]]:
    """First round and end of every block: one for each look, and what larger strata have beyond the last round."""
    ends = [*order.looks(confidence), *([end] if end > order.rounds else [])]
    return list(zip([0, *ends], ends, strict=False))


def _sums(parts: Sequence[Artifact]) -> dict[str, Json]:
    """The facts of parts together: counts are added, what they agree on is kept."""
    found: dict[str, Json] = {}
    for part in parts:
        facts = part.facts
        for name, value in facts.items():
            before = found.get(name, 0)
            counted = isinstance(value, int) and not isinstance(value, bool) and isinstance(before, int)
            found[name] = before + value if counted else value  # type: ignore[operator]  # both are numbers
    return found
