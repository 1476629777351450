"""In which words the published questions are asked: our own by default; HELMET's, once the user has pointed us at a checkout of it.

A wording is a handful of templates with named fields, filled in once and never evaluated. What comes after ``Answer:`` and the like is what
HELMET's scorers read, so those words are the same in every wording.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from hashlib import sha256
from string import Formatter
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class CiteShot:
    """A worked example of an answer with citations."""

    question: str
    answer: str
    documents: tuple[tuple[str, str], ...]
    """(title, text), numbered from 1."""


@dataclass(frozen=True)
class Wording:
    """Templates of one family of datasets."""

    user: str
    """The prompt, less the answer's prefix."""
    prefix: str
    joint: str = "\n"
    """Between prompt and prefix."""
    passage: str = ""
    """A document, or a shot of ICL."""
    untitled: str = ""
    """A document without a title."""
    demo: str = ""
    """A worked example before the context."""
    demo_joint: str = "\n\n"
    """After each worked example."""
    instruction: str = ""
    shots: tuple[CiteShot, ...] = ()
    """Cite: worked examples to choose from."""


Wordings = Mapping[str, Wording]
"""By family: see :data:`OWN`."""


class WordingError(ValueError):
    """A template that cannot be filled in."""


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace the fields of ``template``; a field is a plain name, so a template can read nothing but ``values``."""
    parts: list[str] = []
    for literal, name, form, conversion in _parse(template):
        parts.append(literal)
        if name is None:
            continue
        if name not in values or form or conversion:
            raise WordingError(f"template {template[:60]!r} has the field {{{name}}}; known here: {', '.join(sorted(values))}")
        parts.append(values[name])
    return "".join(parts)


def names(template: str) -> frozenset[str]:
    """List the fields of a template."""
    return frozenset(name for _, name, _, _ in _parse(template) if name is not None)


@cache
def _parse(template: str) -> tuple[tuple[str, str | None, str | None, str | None], ...]:
    try:
        return tuple(Formatter().parse(template))
    except ValueError as error:
        raise WordingError(f"template {template[:60]!r} is malformed ({error})") from None


#: Family -> template -> the fields it may have; those marked ! it must have.
_FIELDS: Final[dict[str, dict[str, str]]] = {
    "ruler": {"user": "context! query! type_needle_v", "prefix": "query type_needle_v"},
    "ruler_values": {"user": "context! query! type_needle_v", "prefix": "query type_needle_v"},
    "json_kv": {"user": "context! demos question!", "prefix": "", "demo": "key! value!"},
    "qa": {"user": "context! demos question!", "prefix": "", "passage": "title text!", "demo": "documents question! answer!"},
    "cite_asqa": {
        "user": "context! demo_text question! instruction",
        "prefix": "",
        "passage": "ID! title text!",
        "demo": "instruction question! context! answer!",
    },
    "rerank": {
        "user": "context! demos question!",
        "prefix": "",
        "passage": "id! title text!",
        "untitled": "id! text!",
        "demo": "documents! question! answer!",
    },
    "icl": {"user": "context! question!", "prefix": "", "passage": "text! label!"},
}
_FIELDS["cite_qampari"] = _FIELDS["cite_asqa"]


def check(family: str, wording: Wording) -> Wording:
    """Check ``wording``: give it if its templates have the fields they need and no others. Raises WordingError."""
    try:
        json.dumps(asdict(wording), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise WordingError(f"the templates of {family} hold half of a surrogate pair, which no tokenizer reads") from None
    for part, allowed in _FIELDS[family].items():
        found = names(getattr(wording, part))
        known = {name.rstrip("!") for name in allowed.split()}
        needed = {name.rstrip("!") for name in allowed.split() if name.endswith("!")}
        if found - known or needed - found:
            problem = f"unknown field {sorted(found - known)[0]!r}" if found - known else f"no field {sorted(needed - found)[0]!r}"
            raise WordingError(f"the {part} template of {family} has {problem}: {getattr(wording, part)[:60]!r}")
    if family.startswith("cite") and len(wording.shots) < 2:
        raise WordingError(f"{family} has {len(wording.shots)} worked examples; at least 2 are needed")
    return wording


def digest(wordings: Wordings) -> str:
    """Compute the SHA-256 of everything a wording says: part of what identifies a suite."""
    return sha256(dump(wordings).encode()).hexdigest()


def dump(wordings: Wordings) -> str:
    """Write as JSON, to be kept."""
    return json.dumps({family: asdict(wordings[family]) for family in sorted(wordings)}, sort_keys=True, indent=1)


def load(text: str) -> Wordings:
    """Read what :func:`dump` wrote. Raises WordingError."""
    try:
        table = json.loads(text)
        found = {family: _wording(values) for family, values in table.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WordingError(f"the stored templates cannot be read ({error})") from None
    if set(found) != set(_FIELDS):
        raise WordingError(f"the stored templates are those of {', '.join(sorted(found))}, not of {', '.join(sorted(_FIELDS))}")
    return MappingProxyType({family: check(family, wording) for family, wording in found.items()})


def _wording(values: Mapping[str, object]) -> Wording:
    texts = {field.name: values[field.name] for field in fields(Wording) if field.name != "shots"}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("a template is not a string")
    shots = values["shots"]
    if not isinstance(shots, list):
        raise TypeError("shots is not a list")
    made = tuple(
        CiteShot(str(shot["question"]), str(shot["answer"]), tuple((str(title), str(text)) for title, text in shot["documents"]))
        for shot in shots
    )
    return Wording(**texts, shots=made)  # type: ignore[arg-type]  # checked above


_CITE_DEMO: Final = "{instruction}\n\nQuestion: {question}\n\n{context}\n\nAnswer: {answer}"
_CITE_DOCUMENT: Final = "Document [{ID}] (Title: {title}): {text}"
_CITE_USER: Final = "{demo_text}{instruction}\n\nQuestion: {question}\n\n{context}"

_ASQA_SHOTS: Final = (
    CiteShot(
        "Which planet has the most moons?",
        "Saturn has the most known moons, 145 by the count of 2023 [1]. Jupiter held the record for a short time before that, "
        "when 92 of its moons were known [3].",
        (
            ("Moons of Saturn", "With the discoveries announced in 2023, Saturn has 145 known moons, more than any other planet."),
            ("Titan (moon)", "Titan is the largest moon of Saturn and the only moon known to have a dense atmosphere."),
            (
                "Moons of Jupiter",
                "Early in 2023 the number of known moons of Jupiter rose to 92, which for a while was the highest of all planets.",
            ),
        ),
    ),
    CiteShot(
        "When was the printing press invented?",
        "Printing with movable type made of clay began in China about 1040 [2]. In Europe, Johannes Gutenberg built his press around "
        "1440 [1].",
        (
            ("Johannes Gutenberg", "Gutenberg, a goldsmith from Mainz, built a press with movable metal type around 1440."),
            ("Bi Sheng", "Bi Sheng invented movable type in China about 1040; his characters were made of baked clay."),
            ("Newspaper", "The first weekly newspapers in German appeared at the beginning of the 17th century."),
        ),
    ),
    CiteShot(
        "How long is the Channel Tunnel?",
        "The Channel Tunnel is 50.46 km long in all [1]. Some 38 km of it run under the sea [1][3].",
        (
            (
                "Channel Tunnel",
                "The Channel Tunnel links Folkestone and Coquelles. It is 50.46 km long, of which 37.9 km are under the sea.",
            ),
            ("English Channel", "At its narrowest, the Strait of Dover, the English Channel is 34 km wide."),
            ("Undersea tunnels", "No tunnel has a longer stretch under the sea than the Channel Tunnel, with almost 38 km."),
        ),
    ),
    CiteShot(
        "Who wrote the opera about the barber of Seville?",
        "Gioachino Rossini wrote the best-known opera of that name, first given in Rome in 1816 [2]. "
        "Giovanni Paisiello had set the same play to music in 1782 [1].",
        (
            (
                "Giovanni Paisiello",
                "Paisiello's Barber of Seville of 1782 was so popular that Rossini's version at first met with protest.",
            ),
            ("The Barber of Seville", "Rossini's comic opera The Barber of Seville was first performed in Rome on 20 February 1816."),
            ("Pierre Beaumarchais", "Beaumarchais wrote three plays around the figure of Figaro."),
        ),
    ),
)

_QAMPARI_SHOTS: Final = (
    CiteShot(
        "Which countries border Switzerland?",
        "Germany [1], France [3], Italy [1], Austria [2], Liechtenstein [2].",
        (
            ("Geography of Switzerland", "Switzerland has no coast. Germany lies to its north and Italy to its south."),
            (
                "Alpine Rhine",
                "Between Switzerland on one bank and Liechtenstein and Austria on the other, the Rhine flows to Lake Constance.",
            ),
            ("Jura Mountains", "The Jura form much of the border of France with Switzerland."),
        ),
    ),
    CiteShot(
        "Which novels did Jane Austen publish in her lifetime?",
        "Sense and Sensibility [1], Pride and Prejudice [1], Mansfield Park [3], Emma [3].",
        (
            ("Jane Austen", "Sense and Sensibility came out in 1811, and Pride and Prejudice two years later, both without her name."),
            ("Persuasion (novel)", "Persuasion was published at the end of 1817, six months after Austen's death."),
            (
                "John Murray",
                "The publisher brought out Emma in 1815 and the second edition of Mansfield Park, which had first appeared in 1814.",
            ),
        ),
    ),
    CiteShot(
        "Which metals are liquid near room temperature?",
        "Mercury [1], Gallium [2], Caesium [2].",
        (
            ("Mercury (element)", "Mercury is the only metal that is liquid at standard temperature and pressure."),
            ("Melting points", "Caesium melts at 28.5 °C and gallium at 29.8 °C, so both turn liquid on a warm day."),
            ("Tungsten", "Of all metals tungsten has the highest melting point."),
        ),
    ),
    CiteShot(
        "Which rivers flow into Lake Victoria?",
        "Kagera [1], Nzoia [3], Mara [3].",
        (
            ("Kagera River", "The Kagera, which rises in Burundi and Rwanda, is the largest river that flows into Lake Victoria."),
            ("White Nile", "The White Nile leaves Lake Victoria at Jinja in Uganda."),
            ("Rivers of Kenya", "Kenya's Nzoia and the Mara, known for the crossing of the wildebeest, both end in Lake Victoria."),
        ),
    ),
)

#: Our own words, the default.
OWN: Final[Wordings] = MappingProxyType(
    {
        "ruler": Wording(
            user="Somewhere in the text below a special magic {type_needle_v} for {query} is given. You will be asked for it.\n\n"
            "{context}\n\nWhat is the special magic {type_needle_v} for {query} that the text gives?",
            prefix="The special magic {type_needle_v} for {query} is",
        ),
        "ruler_values": Wording(
            user="In several places of the text below special magic {type_needle_v} for {query} are given. "
            "You will be asked for all of them at the end.\n\n"
            "{context}\n\nWhich special magic {type_needle_v} for {query} does the text give? Name every one.",
            prefix="The special magic {type_needle_v} for {query} are",
        ),
        "json_kv": Wording(
            user="{context}\n\nAbove is a JSON object. Look up a key in it and give its value.\n\n{demos}Key: {question}",
            prefix="Corresponding value:",
            demo="Key: {key}\nCorresponding value:{value}",
        ),
        "qa": Wording(
            user="Answer a question from the documents that come before it, in as few words as you can, in the form\n"
            "Answer: [answer]\n\n{demos}{context}\n\nQuestion: {question}",
            prefix="Answer:",
            passage="Document (Title: {title}): {text}",
            demo="{documents}\n\nQuestion: {question}\nAnswer: {answer}",
        ),
        "cite_asqa": Wording(
            user=_CITE_USER,
            prefix="Answer:",
            joint="\n\n",
            passage=_CITE_DOCUMENT,
            demo=_CITE_DEMO,
            demo_joint="\n\n\n",
            instruction="Task: Answer the question in a few clear sentences, from the documents below alone; not all of them are of use. "
            "Where the question can be understood in several ways, answer each. After every statement, cite the documents that support it "
            "by their numbers, such as [2] or [1][4]: at least one and at most three, and no more than are needed.",
            shots=_ASQA_SHOTS,
        ),
        "cite_qampari": Wording(
            user=_CITE_USER,
            prefix="Answer:",
            joint="\n\n",
            passage=_CITE_DOCUMENT,
            demo=_CITE_DEMO,
            demo_joint="\n\n\n",
            instruction="Task: Give all answers to the question that the documents below support, as a list separated by commas; not all "
            "documents are of use. After every answer, cite a document that supports it by its number, such as [2].",
            shots=_QAMPARI_SHOTS,
        ),
        "rerank": Wording(
            user="Below are documents, each with an ID. Put all of them in order of how well they answer the query, the best first, and "
            "write the IDs in this form:\nRanking: ID3 > ID1 > ID2\n\n{demos}{context}\n\nQuery: {question}",
            prefix="Ranking:",
            passage="[ID: {id}] Document (Title: {title}): {text}",
            untitled="[ID: {id}] Document: {text}",
            demo="{documents}\n\nQuery: {question}\nRanking: {answer}",
        ),
        "icl": Wording(
            user="Each text below has a label. Learn from them which label goes with which kind of text, then give the label of the last "
            'text. Write "label: {{label}}" and nothing more.\n\n{context}\n\n{question}',
            prefix="label:",
            passage="{text}\nlabel: {label}",
        ),
    }
)
