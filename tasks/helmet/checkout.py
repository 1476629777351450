"""HELMET's own wordings, read from the user's checkout of it: its ``prompts/*.json`` and the template strings of its ``data.py``.

``data.py`` is parsed and never run: :func:`strings` follows the assignments of string constants through one loader function, as they
would be made for a given dataset name. A template in an f-string (the worked example of re-ranking) becomes one with named fields.
"""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tasks.files import read_bytes
from tasks.helmet.wordings import CiteShot, Wording, WordingError, Wordings, check

#: Nothing in the checkout that we read is near this large.
_LARGEST: Final = 20_000_000
CODE: Final = "data.py"
#: Family -> prompt file, as HELMET's configs name it.
_PROMPTS: Final = MappingProxyType({"cite_asqa": "prompts/asqa_revised.json", "cite_qampari": "prompts/qampari_revised.json"})


def read(directory: Path) -> tuple[Wordings, dict[str, str]]:
    """Read (wordings, SHA-256 of each file they were read from).

    Raises:
        WordingError: the directory is no checkout of HELMET, or of an edition whose templates are not where they used to be.
    """
    used: dict[str, str] = {}
    try:
        found = _families(functions(text_of(directory, CODE, used)), directory, used)
    except RecursionError:
        raise WordingError(f"{directory} holds expressions nested too deeply; point at a checkout of the benchmark's repository") from None
    return MappingProxyType({family: check(family, wording) for family, wording in found.items()}), used


def _families(code: Mapping[str, ast.FunctionDef], directory: Path, used: dict[str, str]) -> dict[str, Wording]:
    return {
        "ruler": _plain(code, "load_ruler", "ruler_niah_mk_2"),
        "ruler_values": _plain(code, "load_ruler", "ruler_niah_mv"),
        "json_kv": _plain(code, "load_json_kv", "json_kv", demo="demo_template"),
        "qa": _plain(code, "load_qa", "kilt_nq", demo="demo_template", passage="passage_template"),
        "icl": _plain(code, "load_icl", "icl_trec_coarse_400shot_balance", passage="item_template"),
        "rerank": _rerank(code),
        **{family: _cite(code, family, text_of(directory, path, used)) for family, path in _PROMPTS.items()},
    }


def text_of(directory: Path, name: str, used: dict[str, str]) -> str:
    """Read a file of the checkout, and note its SHA-256 in ``used``."""
    path = directory / name
    try:
        if not path.is_file():
            raise WordingError(f"{path} is no file; point at a checkout of the benchmark's repository")
        if path.stat().st_size > _LARGEST:
            raise WordingError(f"{path} is larger than any file of HELMET; point at a checkout of the benchmark's repository")
        content = read_bytes(path, _LARGEST)
        text = content.decode()
    except OSError as error:
        raise WordingError(f"{path} cannot be read ({error.strerror}); point at a checkout of the benchmark's repository") from None
    except UnicodeDecodeError as error:
        raise WordingError(f"{path} is not UTF-8 text ({error.reason})") from None
    used[name] = sha256(content).hexdigest()
    return text


def functions(code: str) -> dict[str, ast.FunctionDef]:
    """Parse a module and find its functions by name."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise WordingError(f"{CODE} is not Python ({error})") from None
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _plain(code: Mapping[str, ast.FunctionDef], function: str, dataset: str, demo: str = "", passage: str = "") -> Wording:
    found = strings(code, function, dataset)
    return Wording(
        user=one(found, "user_template", function),
        prefix=one(found, "system_template", function),
        demo=one(found, demo, function) if demo else "",
        passage=one(found, passage, function) if passage else "",
    )


def _rerank(code: Mapping[str, ast.FunctionDef]) -> Wording:
    function = "load_msmarco_rerank"
    found = strings(code, function, "msmarco_rerank_psg")
    passages = found.get("passage_template", [])
    titled = next((text for text in passages if "{title}" in text), None)
    untitled = next((text for text in passages if "{title}" not in text), None)
    tail = next((text for text in _formatted(code[function]) if "{question}" in text and "{answer}" in text), None)
    if titled is None or untitled is None or tail is None:
        raise WordingError(f"{CODE}: {function} does not have its templates where they used to be")
    return Wording(
        user=one(found, "user_template", function),
        prefix=one(found, "system_template", function),
        passage=titled,
        untitled=untitled,
        demo="{documents}" + tail,
    )


def _cite(code: Mapping[str, ast.FunctionDef], family: str, text: str) -> Wording:
    found, path = strings(code, "load_alce", "alce_asqa_30"), _PROMPTS[family]
    try:
        prompt = json.loads(text)
        shots = tuple(
            CiteShot(
                _string(shot["question"]),
                _string(shot["answer"]),
                tuple((_string(doc["title"]), _string(doc["text"])) for doc in shot["docs"]),
            )
            for shot in prompt["demos"]
        )
        return Wording(
            user=one(found, "user_template", "load_alce"),
            prefix=one(found, "system_template", "load_alce"),
            joint="\n\n",
            passage=_string(prompt["doc_prompt"]),
            demo=_string(prompt["demo_prompt"]),
            demo_joint="\n\n\n",
            instruction=_string(prompt["instruction"]),
            shots=shots,
        )
    except KeyError as error:
        raise WordingError(f"{path}: field {error.args[0]!r} is missing") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise WordingError(f"{path} is not a prompt file of HELMET ({error})") from None


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, found {str(value)[:40]!r}")
    return value


def one(found: Mapping[str, Sequence[str]], name: str, function: str) -> str:
    """Find the last value that a variable takes."""
    if not found.get(name):
        raise WordingError(f"{CODE}: {function} sets no {name}; this edition of HELMET is not known")
    return found[name][-1]


def strings(code: Mapping[str, ast.FunctionDef], function: str, dataset: str) -> dict[str, list[str]]:
    """Map each variable -> the string constants that ``function`` gives it for ``dataset``, in order; inner functions included."""
    if function not in code:
        raise WordingError(f"{CODE} has no function {function}; this edition of HELMET is not known")
    found: dict[str, list[str]] = {}
    for statement in _statements(code[function].body, dataset):
        target = statement.targets[0]
        if len(statement.targets) == 1 and isinstance(target, ast.Name):
            found.setdefault(target.id, []).extend(_constants(statement.value, found))
    return found


def _statements(body: Sequence[ast.stmt], dataset: str) -> Iterator[ast.Assign]:
    for statement in body:
        if isinstance(statement, ast.Assign):
            yield statement
        elif isinstance(statement, ast.If):
            holds = _holds(statement.test, dataset)
            if holds is not False:
                yield from _statements(statement.body, dataset)
            if holds is not True:
                yield from _statements(statement.orelse, dataset)
        elif isinstance(statement, ast.FunctionDef | ast.For | ast.With):
            yield from _statements(statement.body, dataset)


def _holds(test: ast.expr, dataset: str) -> bool | None:
    """Whether ``"..." in dataset``, or several of that joined by ``or`` / ``and``, is so; None where that cannot be told."""
    if isinstance(test, ast.BoolOp):
        parts = [_holds(value, dataset) for value in test.values]
        decisive = isinstance(test.op, ast.Or)
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Constant) and len(test.ops) == 1 and isinstance(test.ops[0], ast.In):
        subject = test.comparators[0]
        if isinstance(subject, ast.Call) and isinstance(subject.func, ast.Attribute) and subject.func.attr == "lower":
            subject = subject.func.value
        if isinstance(subject, ast.Name) and subject.id == "dataset" and isinstance(test.left.value, str):
            return test.left.value in dataset
    return None


def _constants(value: ast.expr, found: Mapping[str, Sequence[str]]) -> list[str]:
    """The string that an expression makes: one, two for a conditional expression, none if it is no constant."""
    if isinstance(value, ast.Constant):
        return [value.value] if isinstance(value.value, str) else []
    if isinstance(value, ast.IfExp):
        return _constants(value.body, found) + _constants(value.orelse, found)
    if isinstance(value, ast.Name):
        return list(found.get(value.id, [])[-1:])
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        left, right = _constants(value.left, found), _constants(value.right, found)
        return [left[0] + right[0]] if len(left) == len(right) == 1 else []
    return []


def _formatted(function: ast.FunctionDef) -> Iterator[str]:
    """The f-strings of a function as templates: ``{d['query']}`` becomes ``{question}``, ``{ranking}`` becomes ``{answer}``."""
    fields = {"query": "question", "ranking": "answer"}
    for node in ast.walk(function):
        if isinstance(node, ast.JoinedStr):
            parts = []
            for part in node.values:
                if isinstance(part, ast.Constant):
                    parts.append(str(part.value).replace("{", "{{").replace("}", "}}"))
                elif isinstance(part, ast.FormattedValue):
                    name = _last_name(part.value)
                    parts.append("{" + fields.get(name, name) + "}")
            yield "".join(parts)


def _last_name(value: ast.expr) -> str:
    if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant):
        return str(value.slice.value)
    return value.id if isinstance(value, ast.Name) else "expression"
