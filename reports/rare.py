"""What a suite did not ask: how much questions of a kind that never turned up could still change a mean difference.

A bootstrap only repeats what was seen. Of 100 questions that all score the same it says "0.0 to 0.0"; yet a loss of every hundredth
question would show nothing in 100 questions more than a third of the time. So the limits of an interval leave room for one more
question, the worst that was not seen:

    mean = (1 - B) * resampled mean  -  share * B * reach,        B ~ Beta(1, N), N questions of the largest weight

With one task of 0/1 differences of which none differs that is the exact bound of Clopper & Pearson 1934 (Biometrika 26), 1 - level**(1/N);
with a few it is theirs up to the bootstrap's steps (the same construction with Dirichlet weights is Gaffke's 2005 bound for means of
bounded variables, which is theirs for 0/1 scores). A cluster of several rows counts as one question, whatever its rows do.

*share* is how much of the suite looks like one value (most often: no difference), where rarity can hide. Where every question has a
difference of its own, the tail was seen, and nothing is added. *reach* is how far the unseen may lie from that value: one whole score
where nothing differs, less the more differing questions were seen, since the next is larger than all k before it with chance 1 / (k + 1).

Several tasks: with equal weights the suite is at least as good as one sample of all its questions (Hoeffding 1956, Ann. Math. Statist.
27: the sum of differing chances varies no more), so N counts all of them; a task whose questions weigh more counts for fewer.
"""

from dataclasses import dataclass

import numpy as np

from reports.hierarchy import Design, Floats

_SAME = 1e-9


@dataclass(frozen=True)
class Unseen:
    """What to leave room for."""

    questions: Floats
    """Questions that the heaviest weight is worth, (targets,)."""
    share: Floats
    """Targets x columns."""
    reach: Floats
    """Targets x columns."""

    def widened(self, draws: Floats, side: int, chances: Floats) -> Floats:
        """Widen ``draws`` of means, (resamples, targets, columns), each with one more question of the ``side`` (-1 or 1).

        ``chances`` are uniform in (0, 1), (resamples,).
        """
        extra = 1 - chances[:, None] ** (1 / self.questions)  # resamples x targets, Beta(1, questions)
        return np.asarray(draws + side * extra[:, :, None] * self.share * self.reach)


def unseen(plan: Design, differences: Floats) -> Unseen:
    """Compute how much room each target's mean of ``differences`` (rows of the table, columns) needs."""
    targets, columns = len(plan.targets), differences.shape[1]
    questions = np.empty(targets)
    share, reach = np.zeros((targets, columns)), np.ones((targets, columns))
    for target, (weights, means) in enumerate(plan.per_question(differences)):
        questions[target] = 1 / weights.max()
        for column in range(columns):
            share[target, column], reach[target, column] = hidden(means[:, column])
    return Unseen(questions, share, reach)


def hidden(means: Floats) -> tuple[float, float]:
    """Compute the share of questions that look alike beyond the first, and how far the unseen may lie from them, from differences,
    (questions,).
    """
    if len(means) < 2:
        return 1.0, 1.0
    values, counts = np.unique(np.round(means / _SAME), return_counts=True)
    alike = int(counts.max())
    usual = float(values[counts.argmax()]) * _SAME
    others = np.abs(means - usual)
    largest = min(1.0, float(others.max()))
    return (alike - 1) / (len(means) - 1), largest + (1 - largest) / (len(means) - alike + 1)
