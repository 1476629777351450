"""The report page of a run: written when the run ends, and again from what lies on disk (`harness report`)."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import HarnessError, Json
from harness.evaluation.extra_tasks import STEP
from harness.files import read_json, read_sealed
from harness.publishing.described import of_evaluation
from harness.publishing.evaluation_page import described
from harness.store.find import by_method, find_one
from harness.store.manifest import RunManifest
from harness.store.reading import reading
from harness.store.steps import check, step_folder
from tasks.files import read_text, write_text

if TYPE_CHECKING:
    import pandas as pd

    from reports.compare import MethodComparisons
    from reports.contents import ReportData
    from reports.difficulty import Adjusted
    from reports.examples import Key, Packed, Prompt

#: What a run says about itself beside its numbers, for its page.
DESCRIPTION: Final = "report.json"
PAGE: Final = "report.html"
SUITE_FILE: Final = "examples.jsonl"


def write_page(
    folder: Path,
    description: Mapping[str, Json],
    found: "MethodComparisons",
    tables: "Mapping[str, pd.DataFrame]",
    suite: Path | None,
    *,
    name: str = PAGE,
    budget: int | None = None,
    prompt_budget: int | None = None,
    pictures: Path | None = None,
    adjusted: "Sequence[Adjusted]" = (),
) -> None:
    """Write the page and, in a folder that is named after it, the files it loads on demand into ``folder``.

    ``description`` holds whatever of :func:`describe` is known; ``tables`` the samples, baseline first; ``suite`` the directory of the
    suite's step; ``budget`` the bytes of examples' texts inside the page, ``prompt_budget`` of whole prompts beside it; ``pictures``
    a folder for the figures as files; ``adjusted`` what earlier evaluations of more questions add.
    """
    from reports import anchors, contents, depth, extra_tasks, studies
    from reports.compare import sentences
    from reports.stopping import shared

    tables = shared(tables)
    packed = _pack(tables, suite, name, budget, prompt_budget)
    known: dict[str, Any] = dict(description)
    data = contents.ReportData(
        title=str(known.get("title", folder.name)),
        verdict=sentences(found),
        methods=tuple(found.methods),
        comparisons=found.methods,
        contrasts=found.contrasts,
        settings=known.get("settings", {}),
        head_scores=known.get("head_scores"),
        masked_heads={method: [(layer, head) for layer, head in heads] for method, heads in known.get("masked_heads", {}).items()},
        threshold=known.get("threshold"),
        instructions=tuple(map(str, known.get("instructions", ()))),
        other_instructions={method: tuple(map(str, texts)) for method, texts in known.get("other_instructions", {}).items()},
        unmapped=tuple(map(str, known.get("unmapped", ()))),
        facts=known.get("facts", {}),
        steps=tuple(contents.Step(each["name"], each["seconds"], each["reused"]) for each in known.get("steps", [])),
        curves=known.get("curves", {}),
        depths=depth.heat_maps(packed.tables),
        examples=packed.examples,
        extra=extra_tasks.from_records(known.get("elsewhere", [])),
        anchors=anchors.from_record(known.get("references")),
        adjusted=[each.sentence() for each in adjusted],
        studies=studies.from_records(known.get("studies", [])),
        notes=(*map(str, known.get("notes", ())), *found.notes),
    )
    _publish(folder, name, data, packed, pictures)


@dataclass(frozen=True)
class _Packed:
    """The examples of a page, and what lies beside it."""

    tables: "dict[str, pd.DataFrame]"
    """As the page shows them: one row for all answers to a prompt."""
    examples: "Packed"
    source: Path | None
    """The suite's file of prompts."""
    places: "dict[Key, tuple[int, int]]"


def _pack(tables: "Mapping[str, pd.DataFrame]", suite: Path | None, name: str, budget: int | None, prompt_budget: int | None) -> _Packed:
    from reports import beside, examples
    from reports.generations import shown

    source = suite / SUITE_FILE if suite and (suite / SUITE_FILE).is_file() else None
    prompts: dict[Key, Prompt] = examples.read_prompts(source) if source else {}
    whole = {each: shown(table) for each, table in tables.items()}
    compared = {key: prompts[key] for key in examples.keys(whole) if key in prompts}
    places = examples.place_prompts(compared, examples.changed(whole), examples.PROMPT_BUDGET if prompt_budget is None else prompt_budget)
    packed = examples.pack(
        whole,
        prompts,
        budget=examples.BUDGET if budget is None else budget,
        places=places,
        suite=f"steps/{source.parent.name}/{source.name}" if source else "",
        folder=beside.folder_of(name),
    )
    return _Packed(whole, packed, source, places)


def _publish(folder: Path, name: str, data: "ReportData", packed: _Packed, pictures: Path | None) -> None:
    """Write the page, the files beside it, and its figures as files."""
    from reports import examples, page, plates

    text = page.render(data)

    def fill(files: Path) -> None:
        for file, content in packed.examples.files.items():
            (files / file).write_text(content, encoding="utf-8")
        if packed.source and packed.places:
            examples.write_prompts(packed.source, packed.places, files, packed.examples.digest)

    replace_files(folder, name, fill)
    write_text(folder / name, text)
    if pictures is not None:
        plates.save(data, pictures)


def rebuild(
    root: Path,
    output: Path | None,
    budget: int | None,
    prompt_budget: int | None = None,
    history: Sequence[str] = (),
    pictures: Path | None = None,
) -> Path:
    """Write the page of a finished run again, and its figures into ``pictures``; the page's path.

    ``history`` names evaluations of more questions, these among them.
    """
    with reading(root):
        return _rebuilt(root, output, budget, prompt_budget, history, pictures)


def _rebuilt(
    root: Path, output: Path | None, budget: int | None, prompt_budget: int | None, history: Sequence[str], pictures: Path | None
) -> Path:
    from reports.compare import CompareError, compare_methods
    from reports.difficulty import adjust

    evaluations = by_method(root)
    manifest = RunManifest.read(root)
    if len(evaluations) < 2:
        if history:
            raise HarnessError(f"{root} holds one evaluation, and --history sharpens the intervals of differences; leave it out")
        return _alone(root, manifest, evaluations[0].tables(), output or root / PAGE, budget, prompt_budget, pictures)
    description = read_json(root / DESCRIPTION) if (root / DESCRIPTION).is_file() else {"title": evaluations[0].model}
    settings = manifest.config
    every = {each.name: each.tables() for each in evaluations}
    tables = {name: seeds[0] for name, seeds in every.items()}
    baseline, *methods = tables
    how = bootstrap_settings(manifest)
    candidates = {name: every[name] for name in methods}
    if history and settings.get("stop_early") is True:
        raise HarnessError("--history sharpens intervals of whole evaluations, and this run stopped early; leave it out")
    try:
        found = compare_methods(
            tables[baseline],
            candidates,
            **how,
            common=settings.get("stop_early") is True,
            margin=float(_number(settings.get("margin"), math.nan)) / 100,
        )
        earlier = [table for name in history for table in find_one(name).tables()]
        adjusted = adjust(tables[baseline], candidates, earlier, **how) if earlier else []
    except CompareError as error:
        raise HarnessError(str(error)) from None
    page = output or root / PAGE
    with _writing(root, page):
        write_page(
            page.parent,
            description,
            found,
            tables,
            suite_folder(root, manifest.suite_digest),
            name=page.name,
            budget=budget,
            prompt_budget=prompt_budget,
            pictures=pictures,
            adjusted=adjusted,
        )
    return page


def _alone(
    root: Path,
    manifest: RunManifest,
    tables: "Sequence[pd.DataFrame]",
    page: Path,
    budget: int | None,
    prompt_budget: int | None,
    pictures: Path | None,
) -> Path:
    """Write the page of a run that holds one evaluation."""
    from harness.evaluation.references import recorded
    from reports import extra_tasks

    with _writing(root, page):
        packed = _pack({"model": tables[0]}, suite_folder(root, manifest.suite_digest), page.name, budget, prompt_budget)
        extra = [extra_tasks.read(step_folder(root, STEP, key)) for key in manifest.extra]
        data = described(
            of_evaluation(manifest),
            tables,
            packed.examples,
            how=bootstrap_settings(manifest),
            anchored=recorded(root) if manifest.references else None,
            extra=extra[0] if extra else None,
        )
        _publish(page.parent, page.name, data, packed, pictures)
    return page


def bootstrap_settings(manifest: RunManifest) -> dict[str, Any]:
    """Give the resamples, seed and confidence that a run was asked for."""
    settings = manifest.config
    return {
        "resamples": _number(settings.get("resamples"), 10_000),
        "seed": _number(settings.get("seed"), 0),
        "confidence": float(_number(settings.get("confidence"), 0.95)),
    }


@contextmanager
def _writing(root: Path, page: Path) -> Iterator[None]:
    """Make one line of what goes wrong while the page of ``root`` is written, and its folder before."""
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise HarnessError(f"cannot write the report of {root} ({where}{error.strerror}); choose another place for it") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HarnessError(
            f"cannot write the report of {root} ({type(error).__name__}: {error}); is {root / DESCRIPTION} damaged?"
        ) from None


def training_curve(checkpoint: Path) -> list[Json]:
    """Read the points that a method logged beside its checkpoint, in ``curve.jsonl``; none if it did not."""
    file = checkpoint.parent / "curve.jsonl"
    if not file.is_file():
        return []
    points: list[Json] = []
    for line in read_text(file).splitlines():
        point = json.loads(line)
        points.append({str(name): float(value) for name, value in point.items() if isinstance(value, int | float)})
    return points


def replace_files(folder: Path, page: str, fill: Callable[[Path], None]) -> None:
    """Make the folder beside the page ``page`` in ``folder`` hold what ``fill`` writes. HarnessError if it is not ours."""
    from reports.beside import NotOursError, folder_of, replace_files

    try:
        replace_files(folder / folder_of(page), fill)
    except NotOursError as error:
        raise HarnessError(f"{error}, and the page's own files go there; move it, or call the page otherwise with --output") from None


def _number(value: Json, default: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def suite_folder(root: Path, digest: str) -> Path | None:
    """Find the step that built the suite of this digest; None if the run has none."""
    for path in sorted(root.glob("steps/suite-*/manifest.json")):
        found = read_sealed(path).get("facts")
        if isinstance(found, dict) and found.get("digest") == digest:
            check(path.parent)
            return path.parent
    return None
