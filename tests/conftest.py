"""Sample tables, run directories and a browser for the tests; small enough to reason about."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.api import HarnessError
from harness.store.steps import seal
from reports.samples import COLUMNS, OPTIONAL, write

# Tests run side by side, one thread each; and commands that look at the load would say so in some runs and not in others.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else str(len(os.sched_getaffinity(0))))

# What the user of this machine has chosen (data, wordings, a tokenizer) is no part of any test.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="harness-tests-config-")

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
MakeSamples = Callable[..., pd.DataFrame]
SUITE = (("niah", "recall", ("ruler_recall",)), ("asqa", "cite", ("str_em", "citation_rec")), ("nq", "rag", ("sub_em",)))


@pytest.fixture
def make_samples() -> MakeSamples:
    """Random scores for a suite of (task, category, metrics); each question is asked at several depths."""

    def make(
        *,
        seed: int = 0,
        suite: Sequence[tuple[str, str, Sequence[str]]] = SUITE,
        lengths: Sequence[int] = (512, 1024),
        questions: int = 6,
        depths: int = 2,
        shift: float = 0.0,
    ) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        rows = [
            row(
                task=task,
                category=category,
                metric=metric,
                length=length,
                cluster=f"q{question}",
                depth=depth / max(1, depths - 1),
                example_id=f"q{question}d{depth}",
                score=float(np.clip(rng.normal(0.5 + shift, 0.2), 0, 1)),
            )
            for task, category, metrics in suite
            for length in lengths
            for question in range(questions)
            for depth in range(depths)
            for metric in metrics
        ]
        return table(rows)

    return make


def row(**values: object) -> dict[str, object]:
    defaults: dict[str, object] = {
        "run": "r", "model_digest": "m", "suite_digest": "s", "backend": "hf", "task": "niah", "category": "recall", "length": 512,
        "example_id": "e0", "cluster": "q0", "depth": 0.5, "metric": "em", "score": 1.0, "output": "x", "targets": "[]",
        "prompt_tokens": 500, "output_tokens": 3, "finish_reason": "stop", "truncated_tokens": 0, "template": "", "scorer": "",
        "thinking": "", "thinking_tokens": 0, "dropped_tokens": 0, "dropped_passages": 0,
    }  # fmt: skip
    return defaults | values


def table(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype(COLUMNS | OPTIONAL)


@pytest.fixture
def make_row() -> Callable[..., dict[str, object]]:
    return row


@pytest.fixture
def make_table() -> Callable[..., pd.DataFrame]:
    return table


@pytest.fixture
def make_run(make_samples: MakeSamples) -> Callable[..., Path]:
    """A finished run directory as `harness run` leaves it, with these samples; no model was involved."""

    def make(root: Path, baseline: pd.DataFrame, model: str = "tiny", **methods: pd.DataFrame) -> Path:
        keys = [f"{position:x}" * 64 for position, _ in enumerate([baseline, *methods.values()])]
        for key, frame in zip(keys, [baseline, *methods.values()], strict=True):
            write(frame, root / "steps" / f"eval-{key[:12]}" / "samples.parquet")
            seal(root / "steps" / f"eval-{key[:12]}", {"step": "eval", "key": key})
        manifest = {"model": {"name": model}, "methods": list(methods), "evaluations": keys}
        (root / "manifest.json").write_text(json.dumps(manifest))
        return root

    return make


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The directory of a real language model, smollm2-135m, which is in the user's cache when a test gets it."""
    from harness.models.named import ready
    from harness.models.wheels import PipError

    try:
        return ready("smollm2-135m")
    except HarnessError as error:
        if isinstance(error.__cause__, PipError):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium of the system, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser: pip install playwright")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[(1400, 900), (390, 844)], ids=["wide", "phone"])
def page(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    """A page that fails the test on any console error."""
    width, height = request.param
    opened = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if width < 500 else "light")
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    assert errors == []
    assert opened.evaluate("window.hacked") is None
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page is wider than the screen"
    opened.close()
