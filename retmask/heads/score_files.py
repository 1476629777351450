"""Score files of other origins: the JSON that the published detectors write.

    {"0-0": [0.0, 0.0], "0-1": [0.5, 0.25], ...}         "layer-head": its score in each counted trial

:func:`read_scores` takes either kind of file, so that whatever reads scores reads both.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from harness.api import HarnessError
from retmask.heads.scores import Head, HeadScores, TrialFacts, write_atomically
from tasks.files import open_bytes, read_text

#: Written so and no other way ("00-0", "٠-0"), or two keys could mean one head.
_HEAD: Final = re.compile(r"(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,8})")


def read_scores(path: Path) -> HeadScores:
    """Read the scores in ``path``: our safetensors file, or a published JSON one."""
    try:
        with open_bytes(path) as file:
            start = file.read(8)
    except OSError as error:
        raise HarnessError(f"cannot read head scores from {path}: {error.strerror}") from error
    binary = b"\0" in start  # safetensors opens with a header length of eight bytes, whose highest is 0
    return HeadScores.load(path) if binary else import_published(path)


def import_published(path: Path, model_digest: str = "") -> HeadScores:
    """Read the format of the published score files: ``{"layer-head": [score in each counted trial, ...], ...}``.

    Scores above 1 are kept as they are: the published detector counts a needle token again each time it is copied.
    HarnessError names the file and the key that is wrong.
    """
    try:
        table = json.loads(read_text(path), object_pairs_hook=_each_once)
    except (OSError, ValueError, RecursionError) as error:
        raise HarnessError(f"cannot read head scores from {path}: {error}") from error
    if not isinstance(table, dict) or not table:
        raise HarnessError(f'{path}: expected an object such as {{"0-0": [0.0, 0.12], ...}}')
    rows = {_parse_head(path, key): _parse_scores(path, key, values) for key, values in table.items()}
    layers, heads = (1 + max(head[axis] for head in rows) for axis in (0, 1))
    grid = (Head(layer, head) for layer in range(layers) for head in range(heads))
    missing = next((head for head in grid if head not in rows), None)  # comes early, however large an index the file holds
    if missing is not None:
        raise HarnessError(f'{path}: "{missing.layer}-{missing.head}" is missing, though there are {layers} layers of {heads} heads')
    counts = {len(row) for row in rows.values()}
    if len(counts) != 1:
        raise HarnessError(f"{path}: the heads have different numbers of trials, from {min(counts)} to {max(counts)}")
    if not min(counts):
        raise HarnessError(f"{path}: no head has a score; the detector that wrote it counted no trial")
    flat = np.array([rows[head] for head in sorted(rows)], dtype=np.float32)
    per_trial = np.ascontiguousarray(flat.T).reshape(-1, layers, heads)
    return HeadScores(model_digest, per_trial, (TrialFacts(success=True),) * len(per_trial))


def export_published(scores: HeadScores, path: Path) -> None:
    """Write the counted trials in the published format."""
    table = {f"{layer}-{head}": scores.counted[:, layer, head].astype(float).tolist() for layer, head in scores.heads()}
    write_atomically(path, json.dumps(table).encode())


def _parse_head(path: Path, key: str) -> Head:
    found = _HEAD.fullmatch(key)
    if found is None:
        raise HarnessError(f'{path}: "{key}" is no head; keys look like "13-18" (layer-head)')
    return Head(int(found[1]), int(found[2]))


def _each_once(items: Sequence[tuple[str, object]]) -> dict[str, object]:
    """A JSON object. ValueError if a key comes twice, of which JSON readers silently keep the last."""
    table = dict(items)
    if len(table) < len(items):
        seen: set[str] = set()
        twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f'"{twice}" is there twice')
    return table


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30  # False for NaN, too


def _parse_scores(path: Path, key: str, values: object) -> list[float]:
    if not isinstance(values, list) or not all(map(_is_score, values)):
        raise HarnessError(f'{path}: the value of "{key}" is not a list of numbers')
    return [float(value) for value in values]
