"""In which words the long published sets are asked: our own by default; HELMET's from the user's checkout of it.

Kept apart from the wordings of the other sets (:mod:`tasks.helmet.wordings`), whose digest is part of older suites.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tasks.helmet.checkout import CODE, functions, one, strings, text_of
from tasks.helmet.wordings import WordingError, names


@dataclass(frozen=True)
class LongWording:
    """Templates of one set."""

    user: str
    """The prompt, less the answer's prefix."""
    prefix: str
    joint: str
    """Between prompt and prefix."""
    demo: str
    """One demonstration: an answer without its text."""
    demos: str
    """What stands around all of them."""
    omitted: str
    """What a context ends with that was cut."""


LongWordings = Mapping[str, LongWording]
"""By the name of the set."""

#: Set -> template -> the fields it may have; those marked ! it must have.
_FIELDS: Final[dict[str, dict[str, str]]] = {
    "narrativeqa": {"user": "demo context! question!", "demo": "question! answer!"},
    "infbench_qa_eng": {"user": "demo context! question!", "demo": "question! answer!"},
    "infbench_choice_eng": {"user": "demo context! question! options!", "demo": "question! options! answer!"},
    "infbench_sum_eng": {"user": "demo context!", "demo": "answer!"},
    "multi_lexsum": {"user": "demo context!", "demo": "answer!"},
}
_SHARED: Final = {"prefix": "", "joint": "", "demos": "demos!", "omitted": ""}


def check(name: str, wording: LongWording) -> LongWording:
    """Check ``wording``: give it if its templates have the fields they need and no others. Raises WordingError."""
    for part, allowed in {**_FIELDS[name], **_SHARED}.items():
        template = str(getattr(wording, part))
        try:
            template.encode()
        except UnicodeEncodeError:
            raise WordingError(f"the {part} template of {name} holds half of a surrogate pair, which no tokenizer reads") from None
        found = names(template)
        unknown = found - {each.rstrip("!") for each in allowed.split()}
        absent = {each.rstrip("!") for each in allowed.split() if each.endswith("!")} - found
        if unknown or absent:
            problem = f"unknown field {sorted(unknown)[0]!r}" if unknown else f"no field {sorted(absent)[0]!r}"
            raise WordingError(f"the {part} template of {name} has {problem}: {template[:60]!r}")
    return wording


def dump(wordings: LongWordings) -> str:
    """Write as JSON, to be kept."""
    return json.dumps({name: asdict(wordings[name]) for name in sorted(wordings)}, sort_keys=True, indent=1)


def digest(wordings: LongWordings) -> str:
    """Compute the SHA-256 of everything a wording says."""
    return sha256(dump(wordings).encode()).hexdigest()


def load(text: str) -> LongWordings:
    """Read what :func:`dump` wrote. Raises WordingError."""
    try:
        table = json.loads(text)
        found = {name: _wording(values) for name, values in table.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WordingError(f"the stored templates cannot be read ({error})") from None
    if set(found) != set(_FIELDS):
        raise WordingError(f"the stored templates are those of {', '.join(sorted(found))}, not of {', '.join(sorted(_FIELDS))}")
    return MappingProxyType({name: check(name, wording) for name, wording in found.items()})


def _wording(values: Mapping[str, object]) -> LongWording:
    texts = {field.name: values[field.name] for field in fields(LongWording)}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("a template is not a string")
    return LongWording(**texts)  # type: ignore[arg-type]  # checked above


def read(directory: Path) -> tuple[LongWordings, dict[str, str]]:
    """Read (HELMET's wordings, SHA-256 of each file they were read from). The code is parsed and never run. Raises WordingError."""
    used: dict[str, str] = {}
    try:
        code = functions(text_of(directory, CODE, used))
        omitted = _default(code, "truncate_llama2", "postfix_text")
        found = {name: _read(code, name, omitted) for name in _FIELDS}
    except RecursionError:
        raise WordingError(f"{directory} holds expressions nested too deeply; point at a checkout of the benchmark's repository") from None
    return MappingProxyType({name: check(name, wording) for name, wording in found.items()}), used


def _read(code: Mapping[str, ast.FunctionDef], name: str, omitted: str) -> LongWording:
    function = "load_infbench" if name.startswith("infbench") else f"load_{name}"
    found = strings(code, function, name)
    user, prefix = one(found, "user_template", function), one(found, "system_template", function)
    whole = one(found, "prompt_template", function)
    demo, demos = _demonstrations(code[function], name, found)
    if demo is None or demos is None or not (whole.startswith(user) and whole.endswith(prefix)):
        raise WordingError(f"{CODE}: {function} does not have its templates where they used to be")
    return LongWording(user, prefix, whole[len(user) : len(whole) - len(prefix)], demo, demos, omitted)


def _default(code: Mapping[str, ast.FunctionDef], function: str, parameter: str) -> str:
    """The string that a parameter is by default."""
    arguments = code[function].args if function in code else ast.arguments([], [], None, [], [], None, [])
    for argument, value in zip(reversed(arguments.args), reversed(arguments.defaults), strict=False):
        if argument.arg == parameter and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    raise WordingError(f"{CODE}: {function} has no {parameter}; this edition of HELMET is not known")


def _demonstrations(function: ast.FunctionDef, name: str, found: Mapping[str, list[str]]) -> tuple[str | None, str | None]:
    """(one demonstration, what stands around all): out of ``"..." + sep.join([...]) + "..."``, or of f-strings with ``{demo}``."""
    joined = {id(node): _element(node) for node in ast.walk(function) if _is_join(node)}
    made = [text for text in joined.values() if text is not None and "{answer}" in text]
    texts = [text for node in ast.walk(function) if isinstance(node, ast.BinOp | ast.JoinedStr) and "{demos}" in (text := _template(node))]
    frame = max(texts, key=len, default=None)
    if not name.startswith("infbench"):
        return (made[0] if made else None), frame
    told = found.get("temp", [])
    return (told[-1].replace("{answer[0]}", "{answer}") if told else made[-1] if made else None), frame


def _is_join(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join" and len(node.args) == 1


def _element(call: ast.AST) -> str | None:
    """What each item is made from, of ``"...".join([item for ...])``."""
    assert isinstance(call, ast.Call)
    return _template(call.args[0].elt) if isinstance(call.args[0], ast.ListComp) else None


#: The last name in what a template shows -> our name for it.
_NAMES: Final = MappingProxyType({"answers": "answer", "summary/short": "answer", "demo": "demos"})


def _template(node: ast.AST) -> str:
    """An expression that makes a text, as a template with named fields; empty where it is something else."""
    if isinstance(node, ast.Constant):
        return str(node.value).replace("{", "{{").replace("}", "}}")
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"{{{_field(node.value)}}}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    if _is_join(node):
        return "{demos}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format" and len(node.args) == 1:
        told = node.func.value
        return (
            told.value.replace("{}", f"{{{_field(node.args[0])}}}")
            if isinstance(told, ast.Constant) and isinstance(told.value, str)
            else ""
        )
    return ""


def _field(node: ast.AST) -> str:
    """What a shown value is called: the first of the names that it is looked up by which a template knows."""
    looked = [str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    looked += [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    known = {"question", "answer", "options", *_NAMES}
    name = next((each for each in looked if each in known), "expression")
    return _NAMES.get(name, name)


_MARK: Final = " ... [here the rest is left out]"
_SHORTLY: Final = "Answer in as few words as you can."

#: Our own words, the default.
OWN: Final[LongWordings] = MappingProxyType(
    {
        "narrativeqa": LongWording(
            user=f"Below is a story, a novel or the script of a film, and then a question about it. {_SHORTLY}\n\n"
            "{demo}{context}\n\nQuestion: {question}",
            prefix="Answer:",
            joint="\n",
            demo="Question: {question}\nAnswer: {answer}",
            demos="Questions about other stories were answered so:\n\n{demos}\n\nThis is the story that you will be asked about:\n\n",
            omitted=_MARK,
        ),
        "infbench_qa_eng": LongWording(
            user=f"Below is a story, and then a question about it. {_SHORTLY}\n\n{{demo}}{{context}}\n\nQuestion: {{question}}",
            prefix="Answer:",
            joint="\n\n",
            demo="(a story)\nQuestion: {question}\nAnswer: {answer}",
            demos="Other questions were answered so:\n\n{demos}\n\nThis is the story that you will be asked about:\n\n",
            omitted=_MARK,
        ),
        "infbench_choice_eng": LongWording(
            user="Below is a story, and then a question about it with four options, one of which is right. Answer with its letter, A, B, C "
            "or D, and nothing more.\n\n{demo}{context}\n\nQuestion: {question}\nOptions:\n{options}",
            prefix="Answer:",
            joint="\n\n",
            demo="(a story)\nQuestion: {question}\nOptions:\n{options}\nAnswer: {answer}",
            demos="Other questions were answered so:\n\n{demos}\n\nThis is the story that you will be asked about:\n\n",
            omitted=_MARK,
        ),
        "infbench_sum_eng": LongWording(
            user="Summarise the book below in 1000 to 1200 words. Tell its plot and who is in it; leave out what it is about in a wider "
            "sense, how it came to be, and what you think of it.\n\n{demo}{context}\n\nNow write the summary of the book.",
            prefix="Summary:",
            joint="\n\n",
            demo="(a book)\nSummary: {answer}",
            demos="Other books were summarised so:\n\n{demos}\n\nThis is the book to summarise:\n\n",
            omitted=_MARK,
        ),
        "multi_lexsum": LongWording(
            user="Below are the documents of a civil rights lawsuit. Summarise the case in one paragraph of 200 to 250 words: what led to "
            "it, who took part, and how it ended.\n\n{demo}Documents:\n{context}\n\nNow write the summary of the case.",
            prefix="Summary:",
            joint="\n\n",
            demo="Summary: {answer}",
            demos="Other cases were summarised so:\n\n{demos}\n\nThese are the documents of the case to summarise.\n",
            omitted=_MARK,
        ),
    }
)
