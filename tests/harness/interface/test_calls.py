"""`from harness import evaluate, run, load, compare, Samples`: what a program or a notebook has of it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness import Results, Samples, compare, evaluate, load, run
from harness.api import HarnessError
from harness.options import read_lengths, read_names

MakeSamples = Callable[..., pd.DataFrame]
MakeRun = Callable[..., Path]


@pytest.fixture
def finished(tmp_path: Path, make_samples: MakeSamples, make_run: MakeRun) -> Path:
    base = make_samples(questions=20)
    return make_run(tmp_path / "run", base, retmask=base.assign(score=(base["score"] + 0.2).clip(0, 1)), randmask=base)


def test_importing_it_loads_nothing() -> None:
    code = (
        "import sys, harness, retmask\n"
        "print(sorted(name for name in ('click', 'numpy', 'pandas', 'torch', 'matplotlib', 'harness.context') if name in sys.modules))\n"
        "print(harness.__version__, callable(harness.run), 'evaluate' in dir(harness))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", f"{harness.__version__} True True"]
    assert done.stderr == ""


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = harness.evalute


def test_a_run_is_loaded_with_its_verdict_table_and_figures(finished: Path, tmp_path: Path) -> None:
    found = load(finished)
    assert isinstance(found, Results)
    assert list(found) == ["baseline", "retmask", "randmask"]
    assert found.baseline.frame.equals(found["baseline"].frame)
    assert "retmask improved on the baseline" in found.verdict
    assert set(found.frame["name"]) == {"retmask", "randmask", "retmask minus randmask"}
    assert "<svg" in (found.plot()._repr_svg_() or "")
    svg, png = found.plot("lengths").save(tmp_path / "curves.png")
    assert svg.name == "curves.svg"
    assert png.is_file()
    assert found.plot().figure.get_axes()


def test_samples_have_scores_with_intervals(finished: Path) -> None:
    found = load(f"{finished}:retmask")
    assert isinstance(found, Samples)
    scores = found.scores(resamples=200)
    overall = scores[(scores["scope"] == "overall") & scores["length"].isna()].iloc[0]
    assert overall["low"] < overall["score"] < overall["high"]
    cell = scores[(scores["task"] == "niah") & (scores["length"] == 512)].iloc[0]
    mine = found.frame[(found.frame["task"] == "niah") & (found.frame["length"] == 512)]
    assert cell["score"] == pytest.approx(mine["score"].mean())
    assert "<svg" in (found.plot()._repr_svg_() or "")


def test_evaluations_are_compared_however_they_are_named(finished: Path, make_samples: MakeSamples) -> None:
    loaded = load(finished)
    assert isinstance(loaded, Results)
    named = compare(f"{finished}:baseline", f"{finished}:retmask", resamples=200)
    given = compare(loaded["baseline"], loaded["retmask"], resamples=200)
    tables = compare(loaded["baseline"].frame, loaded["retmask"].frame, resamples=200)
    assert named.frame.equals(given.frame)
    assert named.frame.drop(columns="name").equals(tables.frame.drop(columns="name"))
    assert "retmask improved on the baseline" in named.verdict
    equal = compare(loaded["baseline"], loaded["randmask"], margin=5, resamples=200)
    assert "equal within 5 points" in equal.verdict


def test_a_comparison_is_written_in_every_format(finished: Path, tmp_path: Path) -> None:
    found = compare(f"{finished}:baseline", f"{finished}:retmask", resamples=200)
    found.save(tmp_path / "table.md")
    assert "retmask improved" in (tmp_path / "table.md").read_text()
    with pytest.raises(HarnessError, match=r"cannot write .*table\.doc"):
        found.save(tmp_path / "table.doc")
    with pytest.raises(HarnessError, match="unknown kind of plot 'curve'"):
        found.plot("curve")  # type: ignore[arg-type]


def test_two_of_one_name_are_told_apart_by_another(finished: Path) -> None:
    one = load(f"{finished}:baseline")
    assert isinstance(one, Samples)
    with pytest.raises(HarnessError, match=r"two evaluations are called .*named"):
        compare(one, one)
    assert "No detectable difference between again" in compare(one, one.named("again"), resamples=200).verdict


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"evaluate\(\): unknown key 'exmaples'; did you mean 'examples'"):
        evaluate("builtin", exmaples=3)
    with pytest.raises(HarnessError, match="'short' is not a length"):
        evaluate("builtin", lengths=["short"])
    with pytest.raises(HarnessError, match=r"evaluate\(\): seed holds something else than a whole number"):
        evaluate("builtin", seed="one")
    with pytest.raises(HarnessError, match="no evaluation at"):
        load(tmp_path / "nothing")


def test_an_evaluation_is_quiet_and_is_the_commands_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from click.testing import CliRunner

    from harness.commands.eval_ import eval_command

    root = tmp_path / "run"
    found = evaluate("builtin", tasks=["rag"], lengths="256", examples=3, output=root)
    assert capfd.readouterr() == ("", "")
    assert isinstance(found, Samples)
    assert found.page == root / "report.html"
    assert set(found.frame["category"]) == {"rag"}
    prompts = found.with_prompts()
    assert prompts["prompt"].str.len().min() > 100
    assert len(prompts) == len(found.frame)
    before = sorted(path.name for path in (root / "steps").iterdir())
    typed = ["--model", "builtin", "--tasks", "rag", "--lengths", "256", "--examples", "3", "--output", str(root)]
    done = CliRunner().invoke(eval_command, typed)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (root / "steps").iterdir()) == before, "the command finds everything done"
    assert f"report: {root / 'report.html'}" in done.output
    assert "Overall score" in (root / "report.html").read_text()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluate(None), "model holds something else than text or a path: None"),
        (lambda: evaluate("builtin", tasks=5), "tasks: 5 is no name"),
        (lambda: evaluate("builtin", tasks=None), "tasks: None is no list"),
        (lambda: evaluate("builtin", tasks=[1]), "tasks: 1 is no name"),
        (lambda: evaluate("builtin", tasks={"recall": 1}), "is no list"),
        (lambda: evaluate("builtin", lengths=[256.5]), "lengths: 256.5 is not a length"),
        (lambda: evaluate("builtin", lengths=True), "lengths: True is not a length"),
        (lambda: evaluate("builtin", lengths=None), "lengths: None is no list"),
        (lambda: evaluate("builtin", examples=1.5), "examples holds something else than a whole number: 1.5"),
        (lambda: evaluate("builtin", examples="2"), "examples holds something else than a whole number: '2'"),
        (lambda: evaluate("builtin", output=3), "output holds something else than text or a path: 3"),
        (lambda: evaluate("builtin", preset=5), "preset holds something else"),
        (lambda: evaluate("builtin", temperature=float("nan")), "temperature holds something else than a number: nan"),
        (lambda: run("builtin", None), "methods: None is no list"),
        (lambda: run("builtin", [3]), "methods: 3 is no name"),
        (lambda: run("builtin", "retmask", options=[1]), "options are"),
        (lambda: run("builtin", "retmask", options={5: 1}), "options are"),
        (lambda: compare(None, 3), "None is no evaluation"),
        (lambda: compare("a", "b", margin=float("nan")), "margin holds something else than a number: nan"),
        (lambda: compare("a", "b", margin="1"), "margin holds something else than a number: '1'"),
        (lambda: compare("a", "b", margin=-1), "margin is -1"),
        (lambda: compare("a", "b", interval="bootstrap"), "interval holds something else than 'percentile' or 'bca'"),
    ],
)
def test_arguments_of_other_types_are_one_line_at_once(
    call: Callable[[], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    """Where nothing was said of examples = 1.5 until the questions were drawn."""
    monkeypatch.chdir(tmp_path)
    for name, label in (("a", "baseline"), ("b", "retmask")):
        (tmp_path / f"{name}.parquet").symlink_to(load(f"{finished}:{label}").path)
    with pytest.raises(HarnessError) as error:
        call()
    assert words in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_lengths_and_names_are_taken_from_whatever_holds_several() -> None:
    numpy = pytest.importorskip("numpy")
    assert read_lengths(numpy.array([512, 1024]), "here") == read_lengths(range(512, 1025, 512), "here") == (512, 1024)
    assert read_lengths(numpy.int64(512), "here") == read_lengths("512", "here") == (512,)
    assert read_names((each for each in ("a", "b")), "here") == read_names("a, b", "here") == ("a", "b")
