"""Links between the project's own pages, and names of files and modules in pages and docstrings: what one names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("harness/*/*.md")])
SOURCES = sorted(path for package in ("harness", "tasks", "retmask", "reports") for path in (ROOT / package).rglob("*.py"))
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:harness|tasks|retmask|reports|tests|benchmarks|examples|recipes|docs)/[\w./-]*\w/?)`")
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?((?:harness|tasks|retmask|reports)(?:\.\w+)+)`")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def names(file: Path) -> set[str]:
    """Every name that a module's code has, its docstrings apart."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    return {each for node in nodes for field in ("id", "attr", "name", "arg") if isinstance(each := getattr(node, field, None), str)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / ".github/ISSUE_TEMPLATE/bug.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    if page.name != "CHANGELOG.md":  # which tells of what was
        assert [name for name in _PATH.findall(page.read_text()) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_docstring_refers_to_is_there(path: Path) -> None:
    for name in _ROLE.findall(path.read_text(encoding="utf-8")):
        parts = name.split(".")
        places = ((ROOT.joinpath(*parts[:depth]), parts[depth:]) for depth in range(len(parts), 0, -1))
        files = ((file, rest) for place, rest in places for file in (place.with_suffix(".py"), place / "__init__.py"))
        file, rest = next((file, rest) for file, rest in files if file.is_file())
        assert set(rest) <= names(file), f"{file.relative_to(ROOT)} has no {name}"
