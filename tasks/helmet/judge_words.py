"""In which words a model is asked to judge: our own by default; HELMET's from ``scripts/eval_gpt4_*.py`` of the user's checkout.

The scripts are parsed and never run. Whatever the words, a verdict ends with the JSON object that :mod:`tasks.judgements` reads.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tasks.helmet.checkout import text_of
from tasks.helmet.wordings import WordingError, names

_SCRIPTS: Final = MappingProxyType(
    {
        "scripts/eval_gpt4_longqa.py": {"answer": "judge_prompt"},
        "scripts/eval_gpt4_summ.py": {
            "fluency_book": "fluency_prompt_book",
            "recall_book": "recall_prompt_book",
            "precision_book": "precision_prompt_book",
            "fluency_case": "fluency_prompt",
            "recall_case": "recall_prompt",
            "precision_case": "precision_prompt",
        },
    }
)


@dataclass(frozen=True)
class JudgeWords:
    """The prompts of a judge, with named fields; ``{{`` and ``}}`` are braces."""

    answer: str
    """NarrativeQA: ``question``, ``correct_answers``, ``parsed_output``."""
    fluency_book: str
    """``text``."""
    recall_book: str
    """``keypoints``, ``summary``."""
    precision_book: str
    """``expert_summary``, ``summary``."""
    fluency_case: str
    recall_case: str
    precision_case: str


_FIELDS: Final = MappingProxyType(
    {
        "answer": frozenset({"question", "correct_answers", "parsed_output"}),
        "fluency": frozenset({"text"}),
        "recall": frozenset({"keypoints", "summary"}),
        "precision": frozenset({"expert_summary", "summary"}),
    }
)


def check(words: JudgeWords) -> JudgeWords:
    """Give ``words`` back if every prompt has the fields it needs and no others. Raises WordingError."""
    for part, template in asdict(words).items():
        wanted, found = _FIELDS[part.partition("_")[0]], names(template)
        if found != wanted:
            raise WordingError(f"the judge's {part} prompt has the fields {', '.join(sorted(found))}, not {', '.join(sorted(wanted))}")
    return words


def digest(words: JudgeWords) -> str:
    """SHA-256 of all prompts: part of a judge's identity."""
    return sha256(dump(words).encode()).hexdigest()


def dump(words: JudgeWords) -> str:
    """Write them as JSON, to be kept."""
    return json.dumps(asdict(words), sort_keys=True, indent=1)


def load(text: str) -> JudgeWords:
    """Read what :func:`dump` wrote. Raises WordingError."""
    try:
        values = json.loads(text)
        return check(JudgeWords(**{field.name: _text(values[field.name]) for field in fields(JudgeWords)}))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WordingError(f"the judge's stored prompts cannot be read ({error})") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a prompt is not a string")
    value.encode()
    return value


def read(directory: Path) -> tuple[JudgeWords, dict[str, str]]:
    """Read (HELMET's prompts, SHA-256 of each file they were read from). Raises WordingError."""
    used: dict[str, str] = {}
    found: dict[str, str] = {}
    for script, prompts in _SCRIPTS.items():
        strings = _assigned(text_of(directory, script, used), script)
        for part, variable in prompts.items():
            if variable not in strings:
                raise WordingError(f"{script} sets no {variable}; this edition of HELMET is not known")
            found[part] = strings[variable]
    return check(JudgeWords(**found)), used


def _assigned(code: str, script: str) -> Mapping[str, str]:
    """The strings that a script's own variables are set to."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise WordingError(f"{script} is not Python ({error})") from None
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


_JUDGE: Final = "You judge a text that somebody else wrote. Be impartial and go by the rules below alone."
_FLUENCY: Final = """Fluency:
0: not coherent, incomplete, or repetitive, be it in other words; empty texts, mere headings and signs without sense are 0 too
1: coherent, grammatical, and free of repetition"""
_CUT: Final = "A text that reads well and is only cut short in its last sentence is still 1."
_END: Final = "Think step by step, then end with a JSON object such as"

_FLUENT: Final = f'{_JUDGE}\n\n{_FLUENCY}\n{_CUT}\n\nText:\n{{text}}\n\n{_END} {{{{"fluency": 1}}}}'
_RECALL: Final = (
    f"{_JUDGE}\n\nBelow are the key points of {{kind}}, numbered, and a summary of it. A key point counts if the summary states it, in "
    "whatever words; a point that is only hinted at, or stated otherwise, does not count. Go through the key points one by one and say "
    "for each where the summary states it, then count those that it states.\n\nKey points:\n{{keypoints}}\n\nSummary:\n{{summary}}\n\n"
    f'{_END} {{{{{{{{"recall": 2}}}}}}}}'
)
_PRECISION: Final = (
    f"{_JUDGE}\n\nBelow are an expert's summary of {{kind}} and another summary of it. Go through the sentences of the other summary one "
    "by one. A sentence counts if the expert's summary supports all that it says; what is not mentioned there is not supported. Count the "
    "sentences that count, and all sentences.\n\nExpert's summary:\n{{expert_summary}}\n\nOther summary:\n{{summary}}\n\n"
    f'{_END} {{{{{{{{"precision": 7, "sentence_count": 20}}}}}}}}'
)
_BOOK: Final = "a novel"
_CASE: Final = "a civil rights lawsuit, which should tell its background, its parties and its outcome"

#: Our own words, the default.
OWN: Final = JudgeWords(
    answer=f"{_JUDGE}\n\nBelow are a question about a long text that you are not given, answers to it that are correct, and the answer to "
    f"judge.\n\n{_FLUENCY}\n\nCorrectness:\n0: agrees with none of the correct answers\n1: agrees with one of them in part\n"
    "2: agrees with one of them, and adds what has nothing to do with the question\n3: agrees with one of them, and all that it adds has "
    "to do with the question, however long it is\n\n"
    f"Question: {{question}}\nCorrect answers: {{correct_answers}}\nAnswer: {{parsed_output}}\n\n"
    f'{_END} {{{{"fluency": 1, "correctness": 2}}}}',
    fluency_book=_FLUENT,
    recall_book=_RECALL.format(kind=_BOOK),
    precision_book=_PRECISION.format(kind=_BOOK),
    fluency_case=_FLUENT,
    recall_case=_RECALL.format(kind=_CASE),
    precision_case=_PRECISION.format(kind=_CASE),
)
