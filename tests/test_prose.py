"""The first line of a public function's docstring has a verb and its object (docs/contributing.md)."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for package in ("harness", "tasks", "retmask", "reports") for path in (ROOT / package).rglob("*.py"))
#: How a line begins that has none: with an article, a question word, a pronoun, a number, a name in code, an error.
NO_VERB = re.compile(
    r"(?:The|An?|All|Also|And|As|Both|By|Each|Every|Everything|False|For|From|How|If|In|It|Its|None|Of|On|One|Our|Some|That|This|Those|True|Two"
    r"|What|When|Where|Whether|Which|Who|With|Without)\b|\w+Error\b|\w+'s?\b|[`:\"(\d]"
)


def without_verb(source: str) -> list[str]:
    """Name the public functions whose docstring begins so; a property is named for what it is, and a command's line is its help."""
    found = []
    for owner in ast.walk(ast.parse(source)):
        if not isinstance(owner, ast.Module | ast.ClassDef):
            continue
        for each in owner.body:
            if not isinstance(each, ast.FunctionDef) or each.name.startswith("_"):
                continue
            text = ast.get_docstring(each)
            named = [ast.unparse(decorator) for decorator in each.decorator_list]
            if text and NO_VERB.match(text) and not any(re.search("property|command|group", name) for name in named):
                found.append(f"{each.name}: {text.splitlines()[0]}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_functions_first_line_has_a_verb(path: Path) -> None:
    assert without_verb(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line", ["The scores.", "What it is.", "Whether it is.", "``config`` with lengths.", "HarnessError if not.", "2 of it."]
)
def test_the_look_for_verbs_misses_them(line: str) -> None:
    assert without_verb(f'def scores():\n    """{line}"""\n') == [f"scores: {line}"]
    assert without_verb(f'class Run:\n    @property\n    def scores(self):\n        """{line}"""\n') == []
