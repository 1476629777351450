"""LongQA and summaries from the command line: fetched, cut, and no part of what is not named."""

import json
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from harness.api import HarnessError
from harness.evaluation.sources import find_source
from harness.helmet_files import where as store
from harness.helmet_files.fetch import FILES_REPO, fetch
from tasks.helmet import LONGER, select
from tasks.helmet.catalog import files
from tasks.helmet.judge_words import OWN
from tasks.helmet.longer import LONGER_FILES, LONGER_PARQUET
from tests.harness.helmet_files.test_where import complains, count, harness, home, hub  # noqa: F401  # a fixture
from tests.harness.hubstub import Stub, serve
from tests.tasks.helmet.long_files import LONG_MAKERS, shorten
from tests.tasks.helmet.published import MAKERS, checkout
from tests.tasks.helmet.test_judged import scripts

LENGTH = 8_192
NAMES = ("longqa", "summ")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """A Hub with the files of both categories, each split in as many parts as it has there."""
    root = tmp_path / "upstream"
    for make in LONG_MAKERS.values():
        make(root)
    with serve() as running:
        for path, origin in LONGER_PARQUET.items():
            repository = running.files.setdefault(f"{origin.repo}@refs/convert/parquet", {})
            for part in range(origin.parts):
                repository.setdefault(f"{origin.config}/{origin.split}/{part:04d}.parquet", b"another part")
            repository[f"{origin.config}/{origin.split}/{origin.part:04d}.parquet"] = (root / path).read_bytes()
        for path, whole in LONGER_FILES.items():
            running.files.setdefault(whole.repo, {})[whole.name] = (root / path).read_bytes()
        yield running


def test_both_categories_are_fetched_part_by_part_and_load(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "data"
    got = fetch(select(NAMES), [LENGTH], directory, hub=hub(stub))
    assert set(got) == {file.path for file in files(LONGER.values(), [LENGTH])}
    monkeypatch.setenv("HARNESS_DATA", str(directory))
    for dataset in LONGER.values():
        assert next(store.published(dataset, LENGTH, count, 1, 42)).task == dataset.name
    assert fetch(select(NAMES), [LENGTH], directory, hub=hub(stub)) == {}


def test_a_split_in_other_parts_says_where_to_place_one(stub: Stub, tmp_path: Path) -> None:
    stub.files["deepmind/narrativeqa@refs/convert/parquet"]["default/test/0008.parquet"] = b"a ninth"
    with pytest.raises(
        HarnessError, match=r"no longer 8 Parquet files of its test split.* place part 1 at narrativeqa/test-00000-of-00008"
    ):
        fetch(select(["narrativeqa"]), [LENGTH], tmp_path, hub=hub(stub))
    stub.files["xinrongzhang2022/InfiniteBench"].pop("longbook_qa_eng.jsonl")
    with pytest.raises(HarnessError, match=r"does not have longbook_qa_eng\.jsonl; place it at infbench/"):
        fetch(select(["infbench_qa_eng"]), [LENGTH], tmp_path, hub=hub(stub))


def test_a_tokenizer_is_named_and_is_part_of_what_a_suite_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tasks.helmet.test_long_sets import words_file

    for make in (*LONG_MAKERS.values(), MAKERS["json_kv"]):
        make(tmp_path / "data")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    long, five = select(["infbench_qa_eng"]), select(["json_kv"])
    before, plain = store.identity(long, [LENGTH]), store.identity(five, [LENGTH])
    assert find_source("helmet").notes()["long contexts cut by"] == "the model's own tokenizer"
    own = next(store.published(long[0], LENGTH, count, 1, 42))
    (tmp_path / "llama").mkdir()
    words_file(tmp_path / "llama/tokenizer.json")
    result = harness("tokenizer", tmp_path / "llama")
    assert "tokenizer.json sha256" in result.output
    assert str(tmp_path / "llama") in str(find_source("helmet").notes()["long contexts cut by"])
    assert store.identity(long, [LENGTH]) != before
    assert store.identity(five, [LENGTH]) == plain, "other sets do not depend on it"
    assert next(store.published(long[0], LENGTH, count, 1, 42)).prompt != own.prompt
    (tmp_path / "llama/tokenizer.json").write_text((tmp_path / "llama/tokenizer.json").read_text() + " ")
    with pytest.raises(HarnessError, match="holds another tokenizer than when it was named"):
        next(store.published(long[0], LENGTH, count, 1, 42))
    harness("tokenizer", "--own")
    assert store.identity(long, [LENGTH]) == before
    complains(harness("tokenizer"), "name the directory of a tokenizer")
    complains(harness("tokenizer", tmp_path), "tokenizer.json", "cannot be read")


def test_one_checkout_gives_all_words(tmp_path: Path) -> None:
    assert store.long_wordings()["narrativeqa"].user.startswith("Below is a story")
    assert harness("templates", checkout(tmp_path)).exit_code == 0
    assert store.long_wordings()["narrativeqa"].user.startswith("A story.")
    path = store._config("templates.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "longer": None}))
    with pytest.raises(HarnessError, match="run `harness data templates DIR` again"):
        store.long_wordings()


def test_what_is_not_named_is_as_before() -> None:
    source = find_source("helmet")
    assert len(source.tasks(())) == 16
    assert [task.name for task in source.tasks(NAMES)] == list(LONGER)
    assert all(task.chat for task in source.tasks(NAMES))
    assert len(source.tasks(("seven",))) == 21
    shown = harness("show").output
    assert all(name in shown for name in ("json_kv", *LONGER))


def test_key_points_are_fetched_where_the_hub_has_them_and_named_where_not(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "without"))
    assert "infbench/longbook_sum_eng_keypoints.jsonl" not in fetch(
        select(["infbench_sum_eng"]), [LENGTH], tmp_path / "without", hub=hub(stub)
    )
    assert "HELMET's key points, are not among the files" in " ".join(capsys.readouterr().err.split())
    points = (tmp_path / "upstream/infbench/longbook_sum_eng_keypoints.jsonl").read_bytes()
    stub.files.setdefault(FILES_REPO, {})["infbench/longbook_sum_eng_keypoints.jsonl"] = points
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "with"))
    fetch(select(["infbench_sum_eng"]), [LENGTH], tmp_path / "with", hub=hub(stub))
    assert (tmp_path / "with/infbench/longbook_sum_eng_keypoints.jsonl").read_bytes() == points
    known, digest = store.key_points(LONGER["infbench_sum_eng"])
    assert known["0"] == ("Point 0.1", "Point 0.2")
    assert digest == sha256(points).hexdigest()


def test_an_archive_gives_the_key_points_too(stub: Stub, tmp_path: Path) -> None:
    archive = tmp_path / "data.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "upstream", "data")
    fetch(select(["multi_lexsum"]), [LENGTH], tmp_path / "out", hub=hub(stub), archive=archive)
    assert (tmp_path / "out/multi_lexsum/multi_lexsum_val.jsonl").is_file()


def test_a_checkouts_judge_is_kept_with_its_wordings(tmp_path: Path, home: Path) -> None:  # noqa: F811  # the fixture
    store.use_templates(checkout(tmp_path / "old"))
    with pytest.raises(HarnessError, match="lack a judge's prompts"):
        store.judge_words()
    store.use_templates(scripts(checkout(tmp_path / "new")))
    assert store.judge_words().answer.startswith("Q {question}")
    store.use_own_wordings()
    assert store.judge_words() == OWN
