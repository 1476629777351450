"""The single examples behind a comparison, packed for the report's browser: what fits goes into the page, the rest beside it.

The page holds an index of every example (task, length, depth, scores). Texts, which are long, fill the page up to a budget; those
beyond it go into files that the page loads when a reader opens one of their examples. A script file can be loaded from disk where
fetching one is forbidden, hence ``harnessTexts("3f9c", 3, [...])``, where the page takes only
texts with its own digest. Whole prompts, which are longest, lie beside the page alone, up to a budget of
their own; of the others the page says where in the run directory they are.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

import pandas as pd

from tasks.files import open_bytes, read_lines

#: (task, length, example id)
Key: TypeAlias = tuple[str, int, str]

BUDGET: Final = 12 << 20
PROMPT_BUDGET: Final = 256 << 20
_CHUNK: Final = 2 << 20
_PROMPTS: Final = 1 << 20
_START, _END, _OUTPUT, _TARGET = 400, 800, 4000, 1000


@dataclass(frozen=True)
class Prompt:
    """Both ends of a prompt: the task's explanation, and the question."""

    start: str
    end: str
    hidden: int
    """Characters between them."""
    line: int = 0
    """Of the suite's file, from 1."""
    size: int = 0
    """Bytes of that line."""


@dataclass(frozen=True)
class Packed:
    """JSON for the page and the files beside it."""

    embedded: str
    """Safe inside a script element: no "<", no line separators that end a string."""
    files: Mapping[str, str]
    """Name inside the page's folder -> content."""
    digest: str = ""
    """Of everything the page shows; its files carry it."""


def ends(text: str, line: int = 0, size: int = 0) -> Prompt:
    """Take the ends of a prompt."""
    if len(text) <= _START + _END:
        return Prompt(text, "", 0, line, size)
    return Prompt(text[:_START], text[-_END:], len(text) - _START - _END, line, size)


def read_prompts(path: Path) -> dict[Key, Prompt]:
    """Read the ends of every prompt of a suite: one JSON object a line with task, length, id and prompt."""
    found = {}
    with open_bytes(path) as file:
        for number, line in enumerate(read_lines(file, path), 1):
            record = json.loads(line)
            found[_key(record)] = ends(str(record["prompt"]), number, len(line))
    return found


def place_prompts(prompts: Mapping[Key, Prompt], first: Set[Key], budget: int) -> dict[Key, tuple[int, int]]:
    """Choose file and place in it of the whole prompts that ``budget`` bytes hold, those of ``first`` before the others.

    Prompts that the page shows whole need no place.
    """
    long = [key for key, prompt in prompts.items() if prompt.hidden]
    chosen: set[Key] = set()
    for key in sorted(long, key=lambda key: key not in first):
        if prompts[key].size <= budget:
            budget -= prompts[key].size
            chosen.add(key)
    places: dict[Key, tuple[int, int]] = {}
    file = place = size = 0
    for key in sorted(chosen, key=lambda key: prompts[key].line):
        if place and size + prompts[key].size > _PROMPTS:
            file, place, size = file + 1, 0, 0
        places[key] = (file, place)
        place, size = place + 1, size + prompts[key].size
    return places


def write_prompts(suite: Path, places: Mapping[Key, tuple[int, int]], folder: Path, digest: str) -> None:
    """Write the whole prompts of the suite's file into scripts in ``folder``; one is in memory at a time.

    ``digest`` is that of the page (:attr:`Packed.digest`).
    """
    at: int | None = None
    out: TextIO | None = None
    try:
        with open_bytes(suite) as file:
            for line in read_lines(file, suite):
                record = json.loads(line)
                place = places.get(_key(record))
                if place is None:
                    continue
                if place[0] != at:
                    if out is not None:
                        out.write("]);\n")
                        out.close()
                    at = place[0]
                    out = (folder / f"prompts-{at:04}.js").open("w", encoding="utf-8")
                    out.write(f'harnessPrompts("{digest}", {at}, [')
                assert out is not None
                out.write(("," if place[1] else "") + _json(str(record["prompt"])))
        if out is not None:
            out.write("]);\n")
    finally:
        if out is not None:
            out.close()


def changed(tables: Mapping[str, pd.DataFrame]) -> set[Key]:
    """List the examples that some evaluation scores otherwise than the first."""
    order = ["task", "length", "example_id", "metric"]
    first, *others = (table.sort_values(order, ignore_index=True) for table in tables.values())
    apart = pd.Series(False, index=first.index)
    for other in others:
        apart |= (first["score"] - other["score"]).abs() > 1e-9
    return keys({"": first[apart]})


def _key(record: Mapping[str, Any]) -> Key:
    return str(record["task"]), int(record["length"]), str(record["id"])


def pack(
    tables: Mapping[str, pd.DataFrame],
    prompts: Mapping[Key, Prompt],
    *,
    budget: int = BUDGET,
    places: Mapping[Key, tuple[int, int]] | None = None,
    suite: str = "",
    folder: str = "report_files",
) -> Packed:
    """Pack the samples tables of a baseline (first) and its methods, which hold the same examples.

    ``budget`` is the size of the texts in the page, in bytes; ``prompts`` may lack any; ``places`` says which whole prompts lie beside the
    page, ``suite`` where in the run directory all of them are, ``folder`` what the page's own folder is called.
    """
    names = list(tables)
    tasks: dict[str, dict[str, Any]] = {}
    index: list[list[Any]] = []
    chunks: list[list[dict[str, Any]]] = [[]]
    size = 0
    for key, rows in _examples(tables):
        first = rows[names[0]]
        task = tasks.setdefault(key[0], {"at": len(tasks), "category": str(first["category"].iloc[0]), "metrics": list(first["metric"])})
        text = _text(rows, prompts.get(key), (places or {}).get(key))
        cost = len(_json(text))
        if (len(chunks) == 1 and size + cost > budget) or (len(chunks) > 1 and size + cost > _CHUNK):
            chunks.append([])
            size = 0
        size += cost
        depth = float(first["depth"].iloc[0])
        scores = [[round(float(score), 4) for score in rows[name]["score"]] for name in names]
        question = str(first["cluster"].iloc[0])
        place = [len(chunks) - 1, len(chunks[-1])]
        index.append([task["at"], key[1], None if depth != depth else round(depth, 4), key[2], question, scores, *place])
        chunks[-1].append(text)
    described = [{"name": name, "category": each["category"], "metrics": each["metrics"]} for name, each in tasks.items()]
    page = {"runs": names, "tasks": described, "folder": folder, "suite": suite, "examples": index, "texts": chunks[0]}
    beside = {number: _json(chunk) for number, chunk in enumerate(chunks) if number}
    digest = hashlib.sha256("\n".join((_json(page), *beside.values())).encode()).hexdigest()[:16]
    files = {f"texts-{number:04}.js": f'harnessTexts("{digest}", {number}, {chunk});\n' for number, chunk in beside.items()}
    return Packed(_json({"digest": digest, **page}), files, digest)


def keys(tables: Mapping[str, pd.DataFrame]) -> set[Key]:
    """List the examples that the tables hold."""
    rows = next(iter(tables.values()))[["task", "length", "example_id"]].drop_duplicates()
    return {(str(task), int(length), str(example)) for task, length, example in rows.itertuples(index=False, name=None)}


def _examples(tables: Mapping[str, pd.DataFrame]) -> Iterator[tuple[Key, dict[str, pd.DataFrame]]]:
    """Every example with its rows of each table, metrics in one order."""
    order = ["task", "length", "example_id", "metric"]
    grouped = [
        table.sort_values(order, ignore_index=True).groupby(["task", "length", "example_id"], sort=True) for table in tables.values()
    ]
    for parts in zip(*grouped, strict=True):
        task, length, example = parts[0][0]
        assert all(key == parts[0][0] for key, _ in parts), "compared tables hold the same examples"
        yield (str(task), int(length), str(example)), dict(zip(tables, (rows for _, rows in parts), strict=True))


def _text(rows: Mapping[str, pd.DataFrame], prompt: Prompt | None, place: tuple[int, int] | None) -> dict[str, Any]:
    firsts = [each.iloc[0] for each in rows.values()]
    return {
        "prompt": [prompt.start, prompt.end, prompt.hidden, prompt.line, place] if prompt else None,
        "gold": _clipped(golds(str(firsts[0]["targets"])), _TARGET),
        "outputs": [_clip(str(each["output"]), _OUTPUT) for each in firsts],
        "parsed": [_clip(parsed(each), _TARGET) for each in firsts],
        "finish": [str(each["finish_reason"]) for each in firsts],
        "tokens": [[int(each["prompt_tokens"]), int(each["output_tokens"]), int(each["truncated_tokens"])] for each in firsts],
    }


def parsed(row: "pd.Series[Any]") -> str:
    """Say what was read as the answer of a row; empty where nothing says so, or the whole output was."""
    found = str(row.get("parsed", ""))
    return "" if found.strip() == str(row["output"]).strip() else found


def golds(targets: str) -> list[str]:
    """List the right answers of a row's ``targets``."""
    try:
        value = json.loads(targets)
    except ValueError:
        return [targets]
    return (
        [each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in value]
        if isinstance(value, list)
        else [targets]
    )


def _clipped(texts: Iterable[str], limit: int) -> list[str]:
    return [_clip(text, limit) for text in texts][:20]


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(character, escape)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
