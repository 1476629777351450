"""Tasks of other packages: found by name, refused in one line, scored within bounds."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.api import HarnessError
from harness.commands.root import main
from harness.evaluation.sources import Generated, find_source
from tasks import plugins
from tasks.plugins import PluginError
from tasks.suite import TASKS, select

ROOT = Path(__file__).parent.parent.parent
BOXES = (ROOT / "examples" / "boxes" / "harness_boxes.py").read_text()


class Site:
    """Packages as pip leaves them, on the path of this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        monkeypatch.syspath_prepend(folder)

    def install(self, code: str = BOXES, name: str = "boxes", package: str = "pkg", place: str = "Boxes") -> None:
        module = package.replace("-", "_")
        (self.folder / f"{module}.py").write_text(code)
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[harness.tasks]\n{name} = {module}:{place}\n")
        sys.modules.pop(module, None)
        plugins.find.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield Site(tmp_path, monkeypatch)
    plugins.find.cache_clear()
    sys.modules.pop("pkg", None)


def test_a_task_of_another_package_is_asked_by_name_alone(site: Site) -> None:
    before = select(("recall",)), select(())
    site.install()
    assert (select(("recall",)), select(())) == before, "what a category means does not depend on what is installed"
    assert [task.name for task in select(("recall", "boxes"))] == ["niah_mk", "niah_mv", "json_kv", "boxes"]
    listed = CliRunner().invoke(main, ["tasks", "list"]).output
    assert "boxes" in listed
    assert "(pkg 1.0)" in listed


def test_a_changed_task_is_another_suite_and_the_suites_own_stays(site: Site) -> None:
    alone = Generated().identity(("recall",), (512,))
    site.install()
    first = Generated().identity(("recall", "boxes"), (512,))
    site.install(BOXES + "\n# changed\n")
    assert first != Generated().identity(("recall", "boxes"), (512,))
    assert Generated().identity(("recall",), (512,)) == alone == {"wording": "full"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"boxes", "recall"', '"crates", "recall"', "name is 'crates', and has to be 'boxes', as it is registered"),
        ('("found",), 12, 3', '"found", 12, 3', "metrics is 'found', and has to be a tuple of names"),
        ('("found",), 12, 3', '("found",), 0, 3', "max_new_tokens is 0, and has to be a number, at least 1"),
        ('"recall", (', '"two words", (', "category is 'two words', and has to be one word"),
        ("def episode", "def other", "it has no episode()"),
        ("class Boxes:", "raise RuntimeError('no\\nsuch thing')\nclass Boxes:", "cannot be loaded: RuntimeError: no"),
    ],
)
def test_a_task_that_cannot_be_used_is_one_line(site: Site, old: str, new: str, words: str) -> None:
    assert old in BOXES
    site.install(BOXES.replace(old, new, 1))
    with pytest.raises(HarnessError, match="task boxes") as found:
        find_source("generated").tasks(("boxes",))
    assert words in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [("2.0", "2.0 in found; a score is in"), ("float('nan')", "nan in found"), ("'x'", "'x' in found"), ("1 / 0", "ZeroDivisionError")],
)
def test_scores_that_are_none(site: Site, value: str, words: str) -> None:
    site.install(BOXES.replace("float(example.targets[0] in output)", value))
    source = find_source("generated")
    (task,) = source.tasks(("boxes",))
    (example,) = source.build("boxes", 512, lambda text, prefix: len(text) // 4, 1, 0)
    with pytest.raises(HarnessError, match="task boxes") as found:
        source.score(task, 512, [(example, example.answer)], "strict", None)
    assert words in str(found.value)


def test_right_answers_score_1_and_empty_ones_0(site: Site) -> None:
    site.install()
    source = find_source("generated")
    (task,) = source.tasks(("boxes",))
    examples = list(source.build("boxes", 512, lambda text, prefix: len(text) // 4, 6, 0))
    outputs = [(example, answer) for example in examples for answer in (example.answer, "")]
    assert [scored.metrics["found"] for scored in source.score(task, 512, outputs, "strict", None)] == [1.0, 0.0] * 6


def test_two_packages_with_one_name_and_the_names_of_the_suite(site: Site) -> None:
    site.install()
    site.install(package="other-pkg")
    with pytest.raises(PluginError, match=r"two packages bring a task boxes \(other-pkg 1.0, pkg 1.0\); uninstall one of them"):
        plugins.find("boxes")
    site.install(BOXES.replace('"boxes", "recall"', '"json_kv", "recall"'), name="json_kv", package="third")
    assert select(("json_kv",)) == (TASKS["json_kv"],)


def test_an_unknown_task_is_told_what_there_is(site: Site) -> None:
    site.install()
    with pytest.raises(HarnessError, match=r"unknown task 'bxes'; did you mean 'boxes'"):
        find_source("generated").tasks(("bxes",))
