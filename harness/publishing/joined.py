"""Samples with the prompts that they answer: the samples table has the answers, the suite's step the prompts."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import HarnessError
from harness.publishing.pages import SUITE_FILE, suite_folder
from harness.store.reading import reading
from tasks.files import open_bytes, read_lines

if TYPE_CHECKING:
    import pandas as pd

#: What of a suite's examples can stand beside their samples.
COLUMNS: Final = ("prompt", "answer_prefix")
_KEY: Final = ("task", "length", "example_id")


def joined(frame: "pd.DataFrame", root: Path | None, columns: Collection[str] = ("prompt",)) -> "pd.DataFrame":
    """Give the samples with these :data:`COLUMNS` of their examples; rows and their order stay.

    HarnessError if the samples are not part of a run, or its suite is not there or has not all of their examples.
    """
    if not columns:
        return frame
    digests = sorted(map(str, frame["suite_digest"].unique()))
    if root is None:
        raise HarnessError("a samples file holds no prompts; name the run directory that it comes from, or RUN:METHOD")
    with reading(root):
        folders = [folder for digest in digests if (folder := suite_folder(root, digest)) is not None]
        if len(folders) < len(digests):
            raise HarnessError(f"{root} has no suite for these samples (it was imported, or its suite was deleted), so no prompts")
        texts = {key: values for folder in folders for key, values in _texts(folder / SUITE_FILE, columns)}
    keys = list(zip(*(frame[name].tolist() for name in _KEY), strict=True))
    lacking = next((key for key in keys if key not in texts), None)
    if lacking is not None:
        raise HarnessError(f"the suite in {root} lacks example {lacking[2]!r} of task {lacking[0]!r} at length {lacking[1]}")
    return frame.assign(**{name: [texts[key][at] for key in keys] for at, name in enumerate(columns)})


def _texts(path: Path, columns: Collection[str]) -> Iterator[tuple[tuple[str, int, str], tuple[str, ...]]]:
    with open_bytes(path) as file:
        for line in read_lines(file, path):
            record: dict[str, Any] = json.loads(line)
            yield (str(record["task"]), int(record["length"]), str(record["id"])), tuple(str(record[name]) for name in columns)
