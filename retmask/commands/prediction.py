"""What finished runs say of a model's gain before it is trained: ``harness heads audit --related``."""

from pathlib import Path
from typing import TYPE_CHECKING

from harness.api import HarnessError, Json
from retmask.heads.scores import HeadScores

if TYPE_CHECKING:
    from reports.prediction import Related


def related(path: Path) -> "Related":
    """Read what ``harness relate`` wrote. HarnessError says which file is wanted."""
    from reports.prediction import read_related
    from tasks.files import read_bytes

    try:
        return read_related(read_bytes(path))
    except (OSError, ValueError, RecursionError) as error:
        raise HarnessError(f"--related: {path} cannot be read ({error}); name relate.json in the --output of `harness relate`") from None


def predicted(runs: "Related", scores: HeadScores, k: int | None, seed: int) -> tuple[dict[str, Json], list[str]]:
    """Predict the gain from the runs, for audit.json and in words."""
    from reports.prediction import predict
    from retmask.heads.sparsity import sparsity

    found, problems = predict(runs, *sparsity(scores, runs.tau, seed, k), scores.detector)
    return {"predicted_gain": {each.measure: each.as_json() for each in found}}, [*(each.in_words() for each in found), *problems]
