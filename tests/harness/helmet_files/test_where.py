"""Published files: fetched from a Hub on this machine, unpacked from an archive, found on disk; and the commands for it."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that the helpers below are found however pytest was started

from harness.api import HarnessError
from harness.commands.data import data
from harness.commands.root import HarnessGroup
from harness.engines.framing import rendered_prompt
from harness.evaluation.sources import find_source
from harness.helmet_files import where as store
from harness.helmet_files.fetch import FILES_REPO, fetch
from harness.helmet_files.hub import Hub, Snapshot
from harness.models.lookup import resolve
from harness.models.tokenizers import load_tokenizer
from tasks.editions import EDITIONS
from tasks.helmet import DATASETS, LENGTHS, OWN, select
from tasks.helmet.catalog import HUB_PARQUET, files
from tasks.helmet.request import locate
from tests.harness.hubstub import COMMIT, Stub, serve
from tests.tasks.helmet.published import MAKERS, checkout

LENGTH = 8_192


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without settings, and no environment of ours."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home/cache"))
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    return tmp_path / "home"


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """A Hub with everything that 8K needs."""
    root = tmp_path / "upstream"
    for make in MAKERS.values():
        make(root)
    with serve() as running:
        for file in files(select([]), [LENGTH]):
            content = (root / file.path).read_bytes()
            if file.path in HUB_PARQUET:
                origin = HUB_PARQUET[file.path]
                repository = running.files.setdefault(f"{origin.repo}@refs/convert/parquet", {})
                repository[f"{origin.config}/{origin.split}/0000.parquet"] = content
            else:
                running.files.setdefault(FILES_REPO, {"README.md": b"hello"})[file.path] = content
        yield running


def hub(stub: Stub) -> Hub:
    return Hub(stub.endpoint, pause=0)


def harness(*arguments: str | Path) -> Result:
    """The command line with our group in it, however the package is installed."""
    return CliRunner().invoke(HarnessGroup("harness", commands={"data": data}), ["data", *(str(argument) for argument in arguments)])


def complains(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    line = result.output.strip().splitlines()[-1]
    for word in words:
        assert word in line
    assert "Traceback" not in result.output


def leftovers(directory: Path) -> list[str]:
    """Files that are neither data nor manifest."""
    return [path.name for path in directory.rglob("*") if path.is_file() and path.name.startswith(".") and path.name != ".lock"]


def count(prompt: str, prefix: str) -> int:
    return len(prompt.split()) + len(prefix.split())


# Fetching


def test_everything_that_8k_needs_is_fetched_checked_and_loads(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "data"
    got = fetch(select([]), [LENGTH], directory, hub=hub(stub))
    wanted = {file.path for file in files(select([]), [LENGTH])}
    assert set(got) == wanted
    assert {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()} == {
        *wanted,
        ".lock",
        "manifest.json",
    }
    for name, source in store.sources(directory).items():
        content = (directory / name).read_bytes()
        assert (source.size, source.sha256, source.commit) == (len(content), hashlib.sha256(content).hexdigest(), COMMIT)
    monkeypatch.setenv("HARNESS_DATA", str(directory))
    for dataset in DATASETS.values():
        assert next(store.published(dataset, LENGTH, count, 1, 42)).task == dataset.name
    known = store.identity(select([]), [LENGTH])
    assert known["files"] == {name: source.sha256 for name, source in store.sources(directory).items()}


def test_only_what_the_tasks_and_lengths_need_is_fetched_and_only_once(stub: Stub, tmp_path: Path) -> None:
    fetch(select(["json_kv"]), [LENGTH], tmp_path / "data", hub=hub(stub))
    assert stub.transfers == [("json_kv/test_k105_dep6.jsonl", None)]
    fetch(select(["recall"]), [LENGTH], tmp_path / "data", hub=hub(stub))
    assert len(stub.transfers) == 4
    assert len(store.sources(tmp_path / "data")) == 4
    fetch(select(["recall"]), [LENGTH], tmp_path / "data", hub=hub(stub))
    assert len(stub.transfers) == 4


def test_the_folders_may_begin_elsewhere_in_the_repository(stub: Stub, tmp_path: Path) -> None:
    stub.files[FILES_REPO] = {f"data/{name}": content for name, content in stub.files[FILES_REPO].items()}
    got = fetch(select(["json_kv"]), [LENGTH], tmp_path / "data", hub=hub(stub))
    assert [(name, source.path) for name, source in got.items()] == [("json_kv/test_k105_dep6.jsonl", "data/json_kv/test_k105_dep6.jsonl")]


def test_later_files_come_from_the_commit_that_the_first_came_from(stub: Stub, tmp_path: Path) -> None:
    fetch(select(["json_kv"]), [LENGTH], tmp_path, hub=hub(stub))
    stub.asked.clear()
    fetch(select(["recall"]), [LENGTH], tmp_path, hub=hub(stub))
    assert stub.asked == [(FILES_REPO, COMMIT)]


def test_other_folders_between_are_no_hindrance() -> None:
    names = ("kilt/8k/a.jsonl", "kilt/8k/old/a.jsonl", "other/a.jsonl", "ruler/x/16k/validation.jsonl", "ruler/y/validation.jsonl")
    snapshot = Snapshot("a/b", COMMIT, names)
    assert snapshot.locate("kilt/a.jsonl") == "kilt/8k/a.jsonl"
    assert snapshot.locate("ruler/x/validation.jsonl") == "ruler/x/16k/validation.jsonl"
    assert snapshot.locate("ruler/z/validation.jsonl") is None


def test_a_cut_transfer_is_gone_on_from_where_it_stopped(stub: Stub, tmp_path: Path) -> None:
    stub.cuts = [4_000]
    content = stub.files[FILES_REPO]["json_kv/test_k105_dep6.jsonl"]
    got = fetch(select(["json_kv"]), [LENGTH], tmp_path / "data", hub=hub(stub))
    assert got["json_kv/test_k105_dep6.jsonl"].sha256 == hashlib.sha256(content).hexdigest()
    asked = [ranges for _, ranges in stub.transfers]
    assert asked[0] is None
    starts = [int(str(ranges)[6:-1]) for ranges in asked[1:]]
    assert len(starts) >= len(content) // 4_000 - 1
    assert starts == sorted(set(starts))


def test_a_fetch_that_gave_up_leaves_nothing_half_written_and_the_next_one_goes_on(stub: Stub, tmp_path: Path) -> None:
    directory, path = tmp_path / "data", "json_kv/test_k105_dep6.jsonl"
    content = stub.files[FILES_REPO][path]
    stub.cuts = [5_000, 0]
    with pytest.raises(HarnessError, match="goes on where it stopped"):
        fetch(select(["json_kv"]), [LENGTH], directory, hub=hub(stub))
    (part,) = (directory / "json_kv").iterdir()
    assert part.name.startswith(".")
    assert part.read_bytes() == content[:5_000]
    assert not (directory / "manifest.json").exists()
    stub.cuts, stub.transfers = [], []
    fetch(select(["json_kv"]), [LENGTH], directory, hub=hub(stub))
    assert stub.transfers == [(path, "bytes=5000-")]
    assert (directory / path).read_bytes() == content
    assert not leftovers(directory)


def test_a_server_that_knows_no_ranges_sends_it_all_again(stub: Stub, tmp_path: Path) -> None:
    path = "json_kv/test_k105_dep6.jsonl"
    content = stub.files[FILES_REPO][path]
    stub.no_ranges = True
    part = tmp_path / "json_kv" / f".test_k105_dep6.jsonl.{hashlib.sha256(content).hexdigest()[:12]}.part"
    part.parent.mkdir()
    part.write_bytes(content[:5_000])
    fetch(select(["json_kv"]), [LENGTH], tmp_path, hub=hub(stub))
    assert (tmp_path / path).read_bytes() == content


@pytest.mark.parametrize("plain", [False, True])
def test_a_file_with_another_digest_is_thrown_away(stub: Stub, tmp_path: Path, plain: bool) -> None:
    path = "json_kv/test_k105_dep6.jsonl"
    stub.lie = True
    stub.plain = {path} if plain else set()
    with pytest.raises(HarnessError, match=r"json_kv/test_k105_dep6\.jsonl has the digest .* thrown away: run the same command again"):
        fetch(select(["json_kv"]), [LENGTH], tmp_path, hub=hub(stub))
    assert not (tmp_path / path).exists()
    assert not leftovers(tmp_path)
    stub.lie = False
    assert fetch(select(["json_kv"]), [LENGTH], tmp_path, hub=hub(stub))


def test_a_damaged_copy_on_disk_is_replaced_and_a_whole_one_is_kept(stub: Stub, tmp_path: Path) -> None:
    path = tmp_path / "json_kv/test_k105_dep6.jsonl"
    content = stub.files[FILES_REPO]["json_kv/test_k105_dep6.jsonl"]
    path.parent.mkdir()
    path.write_bytes(content)
    fetch(select(["json_kv"]), [LENGTH], tmp_path, hub=hub(stub))
    assert not stub.transfers
    path.write_bytes(content[:-1])
    fetch(select(["json_kv"]), [LENGTH], tmp_path, hub=hub(stub))
    assert path.read_bytes() == content


def test_files_that_the_user_may_not_see(stub: Stub, tmp_path: Path) -> None:
    stub.closed = {FILES_REPO}
    with pytest.raises(HarnessError, match=r"HTTP 401.*hf auth login.*data\.tar\.gz.*harness data fetch --archive") as caught:
        fetch(select(["json_kv"]), [LENGTH], tmp_path, hub=hub(stub))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_any_more(stub: Stub, tmp_path: Path) -> None:
    del stub.files[FILES_REPO]["json_kv/test_k105_dep6.jsonl"]
    with pytest.raises(HarnessError, match=r"does not have json_kv/test_k105_dep6\.jsonl.*--archive"):
        fetch(select(["json_kv"]), [LENGTH], tmp_path, hub=hub(stub))
    stub.files.pop("CogComp/trec@refs/convert/parquet")
    with pytest.raises(HarnessError, match=r"CogComp/trec has no single Parquet file of its test split"):
        fetch(select(["icl_trec_fine"]), [LENGTH], tmp_path, hub=hub(stub))


def test_parquet_from_the_main_branch_where_the_converters_is_gone(stub: Stub, tmp_path: Path) -> None:
    converted = stub.files.pop("CogComp/trec@refs/convert/parquet")
    stub.files["CogComp/trec"] = {
        "data/train-00000-of-00001.parquet": converted["default/train/0000.parquet"],
        "data/test-00000-of-00001.parquet": converted["default/test/0000.parquet"],
    }
    got = fetch(select(["icl_trec_fine"]), [LENGTH], tmp_path, hub=hub(stub))
    assert {source.path for source in got.values()} == set(stub.files["CogComp/trec"])


def test_no_hub_at_all(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="run the same command again when the network is there"):
        fetch(select(["json_kv"]), [LENGTH], tmp_path, hub=Hub("http://127.0.0.1:9", pause=0))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(HarnessError, match="cannot write to"):
        fetch(select(["json_kv"]), [LENGTH], tmp_path / "data", hub=hub(stub))


def test_a_directory_that_is_a_file(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(HarnessError, match=r"cannot write to .*--output"):
        fetch(select(["json_kv"]), [LENGTH], tmp_path / "data", hub=hub(stub))


# The archive


def pack(archive: Path, root: Path, prefix: str = "data/", extra: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    """The files below ``root`` as HELMET packs them, after ``extra`` members."""
    with tarfile.open(archive, "w:gz") as tar:
        for member in extra:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            tar.add(path, prefix + path.relative_to(root).as_posix())
    return archive


@pytest.fixture
def recall(tmp_path: Path) -> Path:
    """The recall files, as upstream has them."""
    for name in ("json_kv", "ruler_niah_mk_2", "ruler_niah_mk_3", "ruler_niah_mv"):
        MAKERS[name](tmp_path / "upstream")
    return tmp_path / "upstream"


@pytest.mark.parametrize("prefix", ["data/", "./data/", ""])
def test_an_archive_gives_only_what_is_needed(recall: Path, tmp_path: Path, prefix: str) -> None:
    archive = pack(tmp_path / "data.tar.gz", recall, prefix)
    got = fetch(select(["json_kv"]), [LENGTH], tmp_path / "out", archive=archive)
    assert list(got) == ["json_kv/test_k105_dep6.jsonl"]
    assert (tmp_path / "out/json_kv/test_k105_dep6.jsonl").read_bytes() == (recall / "json_kv/test_k105_dep6.jsonl").read_bytes()
    assert not (tmp_path / "out/ruler").exists()
    assert not leftovers(tmp_path / "out")


@pytest.mark.parametrize("name", ["../evil", "/evil", "data/../../evil", "data/json_kv/../../../evil", "..\\evil"])
def test_an_archive_that_leads_out_of_the_directory_is_refused(recall: Path, tmp_path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = 3
    archive = pack(tmp_path / "data.tar.gz", recall, extra=(member,))
    with pytest.raises(HarnessError, match="leads out of the directory"):
        fetch(select(["json_kv"]), [LENGTH], tmp_path / "in" / "out", archive=archive)
    assert not list(tmp_path.rglob("*evil*"))
    assert not (tmp_path / "in/out/manifest.json").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_an_archive_with_a_link_in_place_of_a_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("data/json_kv/test_k105_dep6.jsonl")
    member.type, member.linkname = kind, "/etc/passwd"
    (tmp_path / "empty").mkdir()
    archive = pack(tmp_path / "data.tar.gz", tmp_path / "empty", extra=(member,))
    with pytest.raises(HarnessError, match="should be a file"):
        fetch(select(["json_kv"]), [LENGTH], tmp_path / "out", archive=archive)
    assert not (tmp_path / "out/json_kv/test_k105_dep6.jsonl").exists()


def test_an_archive_whose_folder_is_a_link_out_is_not_followed(recall: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tarfile.TarInfo("data/json_kv")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "elsewhere")
    archive = tmp_path / "data.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(link)
        tar.add(recall / "json_kv", "data/json_kv")
    fetch(select(["json_kv"]), [LENGTH], tmp_path / "out", archive=archive)
    assert (tmp_path / "out/json_kv/test_k105_dep6.jsonl").is_file()
    assert not (tmp_path / "out/json_kv").is_symlink()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_truncated_archive_and_one_without_the_file(recall: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "data.tar.gz", recall)
    with pytest.raises(HarnessError, match=r"does not have json_kv/test_k1800_dep6\.jsonl"):
        fetch(select(["json_kv"]), [131_072], tmp_path / "out", archive=archive)
    whole = archive.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        b"",
        b"\x1f\x8b\x08",
        b"\x1f\x8b\x08\r",
        b"no archive at all",
        whole[:200] + b"\0" * 400 + whole[600:],
    ):
        archive.write_bytes(damaged)
        with pytest.raises(HarnessError, match=r"no tar archive, or is cut short|does not have"):
            fetch(select(["ruler_niah_mv"]), [LENGTH], tmp_path / "out", archive=archive)
        assert not (tmp_path / "out/ruler/niah_multivalue/validation_8192.jsonl").exists()
        assert not leftovers(tmp_path / "out")


# Settings


def test_a_copy_on_disk_is_remembered_and_the_environment_outranks_it(
    recall: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = harness("path", recall)
    assert result.exit_code == 0, result.output
    assert store.roots()[0] == recall
    assert next(store.published(DATASETS["json_kv"], LENGTH, count, 1, 42))
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "other"))
    assert store.roots() == (tmp_path / "other",)
    with pytest.raises(HarnessError, match=re.escape(f"not in {tmp_path / 'other'}; `harness data fetch --tasks json_kv --lengths 8k`")):
        next(store.published(DATASETS["json_kv"], LENGTH, count, 1, 42))


def test_a_second_directory_stands_beside_the_first(recall: Path, tmp_path: Path) -> None:
    store.remember(recall)
    MAKERS["icl_nlu"](tmp_path / "second")
    store.remember(tmp_path / "second", beside=True)
    assert store.roots() == (tmp_path / "second", recall, store.default_directory())
    for name in ("icl_nlu", "json_kv"):
        assert next(store.published(DATASETS[name], LENGTH, count, 1, 42))
    store.remember(recall)
    assert store.roots() == (recall, store.default_directory())


def test_one_line_tells_how_to_get_all_that_is_missing(recall: Path) -> None:
    store.remember(recall)
    asked = select(["json_kv", "kilt_nq", "icl_nlu"])
    with pytest.raises(HarnessError) as caught:
        store.identity(asked, [LENGTH, 16_384])
    assert "--tasks json_kv,kilt_nq,icl_nlu --lengths 8k,16k` gets them (about " in str(caught.value)
    assert str(caught.value).startswith("5 of HELMET's files are not in ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["json_kv", "ruler_niah_mv", "kilt_hotpotqa", "alce_asqa", "msmarco_rerank_psg", "icl_trec_fine"])
def test_prompts_fit_on_the_shipped_models_tokenizer(name: str, tmp_path: Path) -> None:
    """Its few words make many tokens of the published texts, so that much has to go."""
    tokenizer, dataset = load_tokenizer(resolve("builtin")), DATASETS[name]
    MAKERS[name](tmp_path)
    store.remember(tmp_path)

    def tokens(prompt: str, prefix: str) -> int:
        return len(tokenizer(rendered_prompt(tokenizer, prompt, prefix))["input_ids"])

    def wasteful(prompt: str, prefix: str) -> int:
        return 3 * tokens(prompt, prefix)

    for counted in (tokens, wasteful):
        example = next(store.published(dataset, LENGTH, counted, 1, 42))
        assert counted(example.prompt, example.answer_prefix) + dataset.max_new_tokens <= LENGTH
        assert example.category in ("icl", "cite") or any(target in example.prompt for target in example.targets)


def test_a_directory_without_helmets_files(tmp_path: Path) -> None:
    complains(harness("path", tmp_path), "holds none of HELMET's files", "kilt/nq-dev-multikilt_1000_k50_dep6.jsonl")
    complains(harness("path", tmp_path / "nowhere"), "is not a directory")


def test_the_identity_of_a_copy_changes_with_its_files_and_with_the_wordings(recall: Path, tmp_path: Path) -> None:
    store.remember(recall)
    datasets = select(["json_kv"])
    first = store.identity(datasets, [LENGTH])
    assert store.identity(datasets, [LENGTH]) == first
    path = recall / "json_kv/test_k105_dep6.jsonl"
    path.write_bytes(path.read_bytes() + b"\n")
    second = store.identity(datasets, [LENGTH])
    assert second["files"] != first["files"]
    store.use_templates(checkout(tmp_path / "checkout"))
    third = store.identity(datasets, [LENGTH])
    assert third["files"] == second["files"]
    assert find_source("helmet").notes()["wordings"]["source"] == str(tmp_path / "checkout")
    assert third["wordings"] != second["wordings"]


def test_the_identity_names_the_edition_where_it_makes_a_difference(tmp_path: Path) -> None:
    for name in ("json_kv", "icl_nlu"):
        MAKERS[name](tmp_path)
    store.remember(tmp_path)
    for names, differs in ((["json_kv"], False), (["icl_nlu"], True), (["json_kv", "icl_nlu"], True)):
        new, old = (store.identity(select(names), [LENGTH], edition) for edition in EDITIONS)
        assert (new != old, new.get("edition"), old.get("edition")) == (differs, *(EDITIONS if differs else (None, None)))


def test_a_fetched_file_that_changed_is_noticed(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(select(["json_kv"]), [LENGTH], tmp_path / "data", hub=hub(stub))
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    path = tmp_path / "data/json_kv/test_k105_dep6.jsonl"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(HarnessError, match="not as long as when it was fetched; delete it"):
        store.identity(select(["json_kv"]), [LENGTH])


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"wordings": {"qa": 1}}'])
def test_damaged_settings_say_which_file_to_delete(home: Path, content: str) -> None:
    folder = home / "config/retmask-harness"
    folder.mkdir(parents=True)
    (folder / "templates.json").write_text(content)
    with pytest.raises(HarnessError, match=r"templates\.json"):
        store.wordings()


# Commands


def test_templates_are_read_kept_and_dropped(tmp_path: Path) -> None:
    result = harness("templates", checkout(tmp_path / "checkout"))
    assert result.exit_code == 0, result.output
    digest = hashlib.sha256((tmp_path / "checkout/data.py").read_bytes()).hexdigest()
    assert f"data.py  sha256 {digest}" in result.output
    (tmp_path / "checkout/data.py").write_text("gone")
    wordings, origin = store.wordings()
    assert wordings["qa"].user.startswith("QA please.")
    assert origin["files"] == {**origin["files"], "data.py": digest}  # type: ignore[dict-item]
    assert str(tmp_path / "checkout") in harness("show").output
    assert harness("templates", "--own").exit_code == 0
    assert store.wordings() == (OWN, {"source": "own"})
    complains(harness("templates"), "--own")
    complains(harness("templates", tmp_path / "checkout"), "no function")
    complains(harness("templates", tmp_path / "nowhere"), "point at a checkout")


def test_fetch_says_what_it_would_fetch(tmp_path: Path) -> None:
    result = harness("fetch", "--tasks", "kilt_nq,json_kv", "--lengths", "8k", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "kilt/nq-train-multikilt_1000_k3_dep6.jsonl" in result.output
    assert re.search(r"3 files, about \d+ MB, estimated, into .*home/cache/retmask-harness/helmet", result.output)
    complains(harness("fetch", "--tasks", "kilt", "--dry-run"), "unknown task 'kilt'", "did you mean 'kilt_nq'")
    complains(harness("fetch", "--lengths", "4k", "--dry-run"), "no length 4096", "8k,16k")


@pytest.mark.parametrize("by", ["path", "environment"])
def test_fetch_takes_what_a_copy_on_disk_has(by: str, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.helmet_files.fetch.Hub", lambda: hub(stub))
    copy = tmp_path / "copy"
    for name in ("json_kv", "icl_nlu"):
        MAKERS[name](copy / "data")
    if by == "path":
        store.remember(copy)
    else:
        monkeypatch.setenv("HARNESS_DATA", str(copy))
    asked = ("fetch", "--tasks", "json_kv,icl_nlu", "--lengths", "8k")
    for more in ((), ("--dry-run",)):
        result = harness(*asked, *more)
        assert result.exit_code == 0, result.output
        assert f"{copy}: 2 files there already" in result.output
        assert not stub.asked
        assert not store.default_directory().exists()
    assert "nothing to fetch" in result.output
    more = harness("fetch", "--tasks", "json_kv,ruler_niah_mk_2", "--lengths", "8k", "--dry-run").output
    assert "json_kv/" not in more
    assert "ruler/niah_multikey_2/validation_8192.jsonl" in more
    assert "1 file, about" in more
    assert "1 new file" in harness("fetch", "--tasks", "json_kv,ruler_niah_mk_2", "--lengths", "8k").output
    assert "nothing to fetch" in harness("fetch", "--tasks", "json_kv,ruler_niah_mk_2", "--lengths", "8k", "--dry-run").output
    whole = harness("fetch", "--tasks", "json_kv", "--lengths", "8k", "--output", tmp_path / "out")
    assert "1 new file" in whole.output, "--output gathers everything in one place"


def test_a_copy_that_was_cut_since_it_was_fetched_is_fetched_again(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.helmet_files.fetch.Hub", lambda: hub(stub))
    assert harness("fetch", "--tasks", "json_kv", "--lengths", "8k", "--output", tmp_path / "out").exit_code == 0
    assert "there already" in harness("fetch", "--tasks", "json_kv", "--lengths", "8k", "--dry-run").output
    (path,) = (tmp_path / "out").rglob("test_k105*")
    path.write_bytes(path.read_bytes()[:-1])
    assert "1 file, about" in harness("fetch", "--tasks", "json_kv", "--lengths", "8k", "--dry-run").output


def test_fetch_from_an_archive_into_a_directory_that_is_remembered(recall: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "data.tar.gz", recall)
    arguments = ("fetch", "--tasks", "recall", "--lengths", "8k", "--archive", archive, "--output", tmp_path / "out")
    result = harness(*arguments)
    assert result.exit_code == 0, result.output
    assert "4 new files" in result.output
    assert store.roots()[0] == tmp_path / "out"
    assert "nothing new" in harness(*arguments).output


def test_show_tells_what_is_there_and_what_is_missing(recall: Path) -> None:
    store.remember(recall)
    result = harness("show")
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.output.splitlines() if line and line.split()[0] in DATASETS}
    assert set(rows) == set(DATASETS)
    assert rows["json_kv"].split()[1] == "there"
    assert rows["json_kv"].count("there") == 1
    assert "GB" in rows["kilt_nq"]
    assert "our own" in result.output


def test_a_manifest_of_something_else_is_no_manifest(recall: Path) -> None:
    (recall / "manifest.json").write_text(json.dumps({"files": [1, 2]}))
    assert store.sources(recall) == {}


def test_the_command_fetches_from_where_hf_endpoint_points(stub: Stub, tmp_path: Path) -> None:
    code = "import sys\nfrom harness.commands.data import data\ndata(sys.argv[1:], 'harness data')"
    arguments = ["fetch", "--tasks", "json_kv", "--lengths", "8k", "--output", str(tmp_path / "out")]
    environment = {**os.environ, "HF_ENDPOINT": stub.endpoint}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 new file, " in done.stdout
    assert "fetching 1 file, " in done.stderr
    assert (tmp_path / "out/json_kv/test_k105_dep6.jsonl").is_file()


def test_the_package_brings_the_command() -> None:
    table = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert EntryPoint("data", table["project"]["entry-points"]["harness.commands"]["data"], "harness.commands").load() is data


@pytest.mark.parametrize("command", ["fetch", "path", "templates", "show"])
def test_every_help_shows_an_example(command: str) -> None:
    result = harness(command, "--help")
    assert result.exit_code == 0
    assert f"harness data {command}" in result.output.split("Example", 1)[1]


def test_files_of_a_checkout_are_found_below_data(tmp_path: Path) -> None:
    MAKERS["json_kv"](tmp_path / "data")
    assert locate((tmp_path,), DATASETS["json_kv"].test_file(LENGTHS[0]).path)
