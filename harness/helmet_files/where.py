"""Where HELMET's published files are on this machine, and how they get there.

    <data directory>/kilt/nq-dev-multikilt_1000_k50_dep6.jsonl, ..., manifest.json      what `harness data fetch` brings
    <config directory>/data.json, templates.json, tokenizer.json        a copy on disk; the user's wordings; what cuts long contexts

A file appears under its name only when it is whole and its digest is right; the manifest, written last, says where each came from.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from harness import cache
from harness.api import HarnessError, Json
from harness.files import file_digest, write_json
from harness.options import near
from tasks.build import BudgetError
from tasks.editions import NEWEST, Edition
from tasks.example import Example
from tasks.files import read_text
from tasks.helmet import (
    DATASETS,
    EVERY,
    LENGTHS,
    LONGER,
    OWN,
    VERSION,
    Count,
    DataError,
    Dataset,
    Wordings,
    long_examples,
    longer_wordings,
    select,
)
from tasks.helmet import examples as read_examples
from tasks.helmet import judge_words as judge_words_of
from tasks.helmet.catalog import File, files, megabytes
from tasks.helmet.checkout import read as read_checkout
from tasks.helmet.cutting import Tokenized
from tasks.helmet.judge_words import JudgeWords
from tasks.helmet.judged import key_points as key_points_of
from tasks.helmet.judged import points_file
from tasks.helmet.longer import GROUPS
from tasks.helmet.longer_wordings import LongWordings
from tasks.helmet.request import locate
from tasks.helmet.wordings import WordingError, digest, dump, load
from tasks.references import Reference

#: Names a data directory and outranks everything remembered.
ENVIRONMENT: Final = "HARNESS_DATA"
MANIFEST: Final = "manifest.json"
_APP: Final = "retmask-harness"


@dataclass(frozen=True)
class Source:
    """Where a file on disk came from."""

    size: int
    sha256: str
    repo: str
    commit: str
    path: str


def default_directory() -> Path:
    """Say where files are fetched to unless the user says otherwise."""
    return cache.directory() / "helmet"


def target_directory() -> Path:
    """Say where `harness data fetch` writes: the environment's choice, or the default."""
    chosen = os.environ.get(ENVIRONMENT)
    return Path(chosen).expanduser() if chosen else default_directory()


def roots() -> tuple[Path, ...]:
    """List the data directories, in the order in which they are searched."""
    if chosen := os.environ.get(ENVIRONMENT):
        return (Path(chosen).expanduser(),)
    return tuple(dict.fromkeys((*_remembered(), default_directory())))


def copies(wanted: Sequence[File], target: Path) -> dict[str, Path]:
    """Find those of ``wanted`` that a copy on disk holds, so that they need not be fetched to ``target``: path -> data directory.

    What is in ``target`` is not among them unless the user named it: the next fetch looks after it. A file that is shorter or longer than
    the manifest beside it says is none.
    """
    places = [root for root in roots() if root != target or ENVIRONMENT in os.environ]
    return {file.path: root for file in wanted for root in places[::-1] if _is_whole(file.path, root)}


def _is_whole(name: str, root: Path) -> bool:
    path, source = locate((root,), name), sources(root).get(name)
    return path is not None and (source is None or path.stat().st_size == source.size)


def _remembered() -> tuple[Path, ...]:
    paths = _settings("data.json").get("paths")
    return tuple(Path(path) for path in paths if isinstance(path, str)) if isinstance(paths, list) else ()


def remember(directory: Path, *, beside: bool = False) -> Path:
    """Use the files at ``directory`` from now on, ``beside`` those of other directories or instead of them; returns the absolute path."""
    path = directory.absolute()
    if not path.is_dir():
        raise HarnessError(f"{directory} is not a directory")
    known = {dataset.test_file(length).path for dataset in EVERY.values() for length in LENGTHS}
    if not any(locate((path,), name) for name in known):
        example = DATASETS["kilt_nq"].test_file(8_192).path
        raise HarnessError(f"{directory} holds none of HELMET's files, such as {example} or data/{example}; name the directory they are in")
    others = [str(other) for other in _remembered() if other != path] if beside else []
    _keep("data.json", {"paths": [str(path), *others]})
    return path


def _config(name: str) -> Path:
    return Path(click.get_app_dir(_APP)) / name


def _settings(name: str) -> dict[str, Json]:
    """A file of our own in the config directory; empty if there is none."""
    path = _config(name)
    try:
        value = json.loads(read_text(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path} cannot be read ({error}); delete it to start afresh") from None
    if not isinstance(value, dict):
        raise HarnessError(f"{path} does not hold a JSON object; delete it to start afresh")
    return value


def _keep(name: str, value: Mapping[str, Json]) -> None:
    path = _config(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, value)
    except OSError as error:
        raise HarnessError(f"cannot write {path} ({error.strerror})") from None


def use_templates(directory: Path) -> dict[str, str]:
    """Ask in the words of the HELMET checkout at ``directory`` from now on; returns the SHA-256 of each file that they came from."""
    try:
        wordings, used = read_checkout(directory)
        longer, _ = longer_wordings.read(directory)
    except WordingError as error:
        raise HarnessError(str(error)) from None
    kept: dict[str, Json] = {"wordings": json.loads(dump(wordings)), "longer": json.loads(longer_wordings.dump(longer))}
    of_judge: dict[str, str] = {}
    with suppress(WordingError):  # a checkout without them has all else, and judge_words says what is missing
        judging, of_judge = judge_words_of.read(directory)
        kept["judge"] = json.loads(judge_words_of.dump(judging))
    _keep("templates.json", {"source": str(directory.absolute()), "files": {**used, **of_judge}, **kept})
    return {**used, **of_judge}


def use_own_wordings() -> None:
    """Ask in our own words from now on."""
    _config("templates.json").unlink(missing_ok=True)


def wordings() -> tuple[Wordings, dict[str, Json]]:
    """Give the wordings in use, and where they came from: ``{"source": "own"}``, or the checkout with its files' digests."""
    kept = _settings("templates.json")
    if not kept:
        return OWN, {"source": "own"}
    try:
        return load(json.dumps(kept.get("wordings"))), {"source": kept.get("source"), "files": kept.get("files")}
    except WordingError as error:
        raise HarnessError(f"{_config('templates.json')}: {error}; run `harness data templates DIR` again") from None


def long_wordings() -> LongWordings:
    """Give the wordings in use of the long sets, which come from the same checkout."""
    kept = _settings("templates.json")
    if not kept:
        return longer_wordings.OWN
    try:
        return longer_wordings.load(json.dumps(kept.get("longer")))
    except WordingError as error:
        raise HarnessError(f"{_config('templates.json')}: {error}; run `harness data templates DIR` again") from None


def judge_words() -> JudgeWords:
    """Give the words in which prose is judged: the checkout's, or our own."""
    kept = _settings("templates.json")
    if not kept:
        return judge_words_of.OWN
    if "judge" not in kept:
        raise HarnessError(
            f"the wordings from {kept.get('source')} lack a judge's prompts (scripts/eval_gpt4_longqa.py and eval_gpt4_summ.py); run "
            "`harness data templates DIR` with a checkout that has them, or `harness data templates --own`"
        )
    try:
        return judge_words_of.load(json.dumps(kept["judge"]))
    except WordingError as error:
        raise HarnessError(f"{_config('templates.json')}: {error}; run `harness data templates DIR` again") from None


def key_points(dataset: Dataset) -> tuple[dict[str, tuple[str, ...]], str]:
    """Find the key points that a judge of ``dataset`` needs, by record, and the SHA-256 of their file; nothing where it needs none."""
    searched, name = roots(), points_file(dataset)
    try:
        points = key_points_of(dataset, searched)
    except DataError as error:
        raise HarnessError(str(error)) from None
    path = None if name is None else locate(searched, name)
    return points, "" if name is None or path is None else _digest(name, path, searched)


def use_tokenizer(directory: Path | None) -> str:
    """Cut long contexts by the tokenizer at ``directory`` from now on, None for the tested model's own; returns what it is called."""
    if directory is None:
        _config("tokenizer.json").unlink(missing_ok=True)
        return "the model's own tokenizer"
    found = _tokenizer(directory)
    _keep("tokenizer.json", {"path": str(directory.absolute()), "sha256": found.digest})
    return found.name


def cutter() -> Tokenized | None:
    """Give what cuts long contexts: the tokenizer that the user has named, or None for the tested model's own."""
    kept = _settings("tokenizer.json")
    path = kept.get("path")
    if not isinstance(path, str):
        return None
    found = _tokenizer(Path(path))
    if found.digest != kept.get("sha256"):
        raise HarnessError(f"{path} holds another tokenizer than when it was named; run `harness data tokenizer DIR` again")
    return found


def _tokenizer(directory: Path) -> Tokenized:
    try:
        return Tokenized(directory.absolute())
    except DataError as error:
        raise HarnessError(str(error)) from None


def chosen(names: Sequence[str]) -> tuple[Dataset, ...]:
    """Choose datasets by name or category; all for none."""
    try:
        return select(tuple(names))
    except KeyError as error:
        raise HarnessError(f"unknown task {error.args[0]!r}; {near(error.args[0], (*GROUPS['seven'], *GROUPS, *EVERY))}") from None


def published(
    dataset: Dataset,
    length: int,
    count: Count,
    examples: int | None,
    seed: int,
    reference: Reference | None = None,
    edition: Edition = NEWEST,
) -> Iterator[Example]:
    """Yield the examples of ``dataset`` at ``length``, as :func:`tasks.helmet.examples` gives them, from wherever the files are."""
    if dataset.name in LONGER:
        yield from _long(dataset, length, count, examples, seed)
        return
    how: dict[str, Any] = {"examples": examples, "seed": seed, "wordings": wordings()[0], "reference": reference, "edition": edition}
    try:
        yield from read_examples(dataset, length, roots(), count, **how)
    except (DataError, BudgetError, WordingError) as error:
        raise HarnessError(str(error)) from None


def _long(dataset: Dataset, length: int, count: Count, examples: int | None, seed: int) -> Iterator[Example]:
    words, cut = long_wordings(), cutter()
    try:
        yield from long_examples(dataset, length, roots(), count, examples=examples, seed=seed, wordings=words, cutter=cut)
    except (DataError, BudgetError, WordingError) as error:
        raise HarnessError(str(error)) from None


def _long_identity(datasets: Sequence[Dataset]) -> dict[str, Json]:
    """What long contexts are cut and asked with; empty where no set has one."""
    if not any(dataset.name in LONGER for dataset in datasets):
        return {}
    cut = cutter()
    return {"tokenizer that cuts": cut.digest if cut else "the model's", "wordings of long sets": longer_wordings.digest(long_wordings())}


def identity(datasets: Sequence[Dataset], lengths: Sequence[int], edition: Edition = NEWEST) -> dict[str, Json]:
    """Say what a suite of these datasets is made of, for its key: SHA-256 of every file, the wordings, and how records become examples.

    Digests come from the manifest of the fetched files; those of another copy are measured once and remembered by size and time.

    Raises:
        HarnessError: a file is not there (says which command fetches it), or not as long as its manifest says.
    """
    words, _ = wordings()
    searched = roots()
    found: dict[str, Json] = _long_identity(datasets)
    for file in _needed(datasets, lengths, searched):
        path = locate(searched, file.path)
        assert path is not None
        found[file.path] = _digest(file.path, path, searched)
    drawn: dict[str, Json] = {"edition": edition} if any(dataset.loader == "icl" for dataset in datasets) else {}
    return {"files": found, "wordings": digest(words), "loaders": VERSION, **drawn}


def _needed(datasets: Sequence[Dataset], lengths: Sequence[int], searched: tuple[Path, ...]) -> tuple[File, ...]:
    """Every file that is needed, all of them there; or one line that says how to get those that are not."""
    try:
        wanted = files(datasets, lengths)
    except DataError as error:
        raise HarnessError(str(error)) from None
    absent = [file for file in wanted if locate(searched, file.path) is None]
    if not absent:
        return wanted
    paths = {file.path for file in absent}
    lacking = [(dataset, length) for dataset in datasets for length in lengths if paths & {file.path for file in dataset.files(length)}]
    names = ",".join(dict.fromkeys(dataset.name for dataset, _ in lacking))
    spans = ",".join(f"{length // 1024}k" for length in sorted({length for _, length in lacking}))
    size = megabytes(sum(file.size for file in absent))
    raise HarnessError(
        f"{len(absent)} of HELMET's files are not in {' or '.join(str(root) for root in searched)}, such as {absent[0].path}; "
        f"`harness data fetch --tasks {names} --lengths {spans}` gets them (about {size}, estimated), "
        "and `harness data path DIR` names a copy on disk"
    )


def _digest(name: str, path: Path, searched: tuple[Path, ...]) -> str:
    for root in searched:
        source = sources(root).get(name) if path.is_relative_to(root) else None
        if source is not None:
            if path.stat().st_size != source.size:
                raise HarnessError(f"{path} is not as long as when it was fetched; delete it and run `harness data fetch` again")
            return source.sha256
    measured, stat = _settings("digests.json"), path.stat()
    stamp: list[Json] = [stat.st_size, stat.st_mtime_ns]
    known = measured.get(str(path))
    if isinstance(known, list) and known[:2] == stamp and isinstance(known[-1], str):
        return known[-1]
    sha256 = file_digest(path)
    _keep("digests.json", {**measured, str(path): [*stamp, sha256]})
    return sha256


def sources(directory: Path) -> dict[str, Source]:
    """Read what the manifest of a data directory says; empty without one."""
    path = directory / MANIFEST
    try:
        entries = json.loads(read_text(path))["files"]
        return {name: Source(**entry) for name, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # not ours: the archive of a user may well have a manifest.json of its own
