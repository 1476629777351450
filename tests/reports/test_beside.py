"""The folder beside a page: only what the harness wrote there goes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reports.beside import MARK, NotOursError, replace_files


def writing(**files: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name, text in files.items():
            (folder / f"{name}.js").write_text(text)

    return fill


def held(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != MARK}


def test_files_take_the_place_of_those_before(tmp_path: Path) -> None:
    folder = tmp_path / "a_files"
    replace_files(folder, writing(one="1", two="2"))
    replace_files(folder, writing(two="two", three="3"))
    assert held(folder) == {"two.js": "two", "three.js": "3"}
    replace_files(folder, writing())
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_put_into_our_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "a_files"
    replace_files(folder, writing(one="1"))
    (folder / "notes.txt").write_text("mine")
    replace_files(folder, writing(two="2"))
    assert held(folder) == {"two.js": "2", "notes.txt": "mine"}
    (folder / "three.js").write_text("mine")
    with pytest.raises(NotOursError, match=r"three.js was not written"):
        replace_files(folder, writing(three="3"))
    replace_files(folder, writing())
    assert held(folder) == {"three.js": "mine", "notes.txt": "mine"}


@pytest.mark.parametrize("text", ["", "photo.jpg\n", "files of something else\nphoto.jpg\n"])
def test_a_folder_without_our_mark_is_not_ours(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "a_files"
    folder.mkdir()
    (folder / "photo.jpg").write_text("wedding")
    if text:
        (folder / MARK).write_text(text)
    with pytest.raises(NotOursError, match="not written by the harness"):
        replace_files(folder, writing(one="1"))
    assert (folder / "photo.jpg").read_text() == "wedding"
    assert not (folder / "one.js").exists()


def test_no_link_is_followed_and_no_name_leaves_the_folder(tmp_path: Path) -> None:
    real, link = tmp_path / "real_files", tmp_path / "a_files"
    replace_files(real, writing(one="1"))
    link.symlink_to(real)
    with pytest.raises(NotOursError, match="is a link"):
        replace_files(link, writing())
    assert held(real) == {"one.js": "1"}
    (tmp_path / "photo.jpg").write_text("wedding")
    with (real / MARK).open("a") as file:
        file.write("../photo.jpg\n")
    replace_files(real, writing())
    assert (tmp_path / "photo.jpg").exists()


def test_files_of_an_earlier_version_are_known_by_their_names_and_beginnings(tmp_path: Path) -> None:
    folder = tmp_path / "report_files"
    folder.mkdir()
    (folder / "texts-0001.js").write_text("harnessTexts(1, []);")
    replace_files(folder, writing(one="1"))
    assert held(folder) == {"one.js": "1"}
    other = tmp_path / "other_files"
    other.mkdir()
    (other / "texts-0001.js").write_text("my texts")
    with pytest.raises(NotOursError):
        replace_files(other, writing(one="1"))
