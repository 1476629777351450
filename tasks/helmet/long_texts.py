"""What the loaders of long published sets share: a context is cut, demonstrations are answers without their text, and examples are made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.build import BudgetError
from tasks.example import Example
from tasks.helmet.cutting import Cutter, longest
from tasks.helmet.fit import Fitted
from tasks.helmet.longer_wordings import LongWording
from tasks.helmet.records import DataError
from tasks.helmet.request import Request
from tasks.helmet.selection import hashed, permutation
from tasks.helmet.wordings import fill

Shot = Mapping[str, str]
"""The fields of a demonstration."""


@dataclass(frozen=True)
class Asked:
    """One record, ready to be asked."""

    number: int
    """Line or row in the file, from 1."""
    text: str
    """What names its context: examples with one context share a cluster, because whoever misreads it misses all of its questions."""
    context: str
    """Cut to the tokens in the set's name."""
    shots: Sequence[Shot]
    values: Mapping[str, str]
    """Fields of the prompt besides the context and the demonstrations."""
    targets: tuple[str, ...]
    answer: str
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class LongRequest:
    """One long set at one length."""

    request: Request
    wording: LongWording
    cutter: Cutter

    def long_enough(self, text: str, least: int) -> bool:
        """Say whether a text has ``least`` tokens. A word takes one at least, so that few texts have to be counted."""
        return len(text) >= least and (len(text.split()) >= least or self.cutter.tokens(text) >= least)

    def cut(self, text: str) -> str:
        """Cut a context to the tokens in the set's name."""
        return self.cutter.cut(text, self.request.size, self.wording.omitted)

    def example(self, asked: Asked) -> Example:
        """Make an example, its context cut further where the prompt has no room for it on the tested model's tokenizer.

        Raises BudgetError where there is no room even without a context.
        """
        request, wording = self.request, self.wording
        demo = "\n\n".join(fill(wording.demo, shot) for shot in asked.shots)
        values = {**asked.values, "demo": fill(wording.demos, {"demos": demo}) if demo else ""}

        def prompt(context: str) -> str:
            return fill(wording.user, {**values, "context": context})

        def tokens(context: str) -> int:
            return request.count(prompt(context), wording.joint + wording.prefix)

        total = spent = tokens(asked.context)
        context = asked.context
        if total > request.room:
            context = longest(context, tokens, request.room)
            spent = tokens(context)
        if spent > request.room or not context:
            raise BudgetError(
                f"{request.title}: the question with its demonstrations alone takes {spent} tokens of the {request.room} "
                "that the answer leaves; ask for a longer length"
            )
        return request.example(
            asked.number,
            asked.text,
            Fitted(prompt(context), (), total - spent, 0, float("nan")),
            prefix=wording.prefix,
            targets=asked.targets,
            answer=asked.answer,
            meta={"answer": list(asked.targets), **asked.meta},
        )


def drawn(pool: Sequence[Shot], key: str, request: Request) -> list[Shot]:
    """Draw demonstrations by a hash of ``key``, the same on every machine. HELMET draws these without a seed.

    Raises DataError where there are too few.
    """
    shots = request.dataset.shots
    if len(pool) < shots:
        raise too_few(request, len(pool))
    return [pool[index] for index in permutation(len(pool), hashed(key, request.seed))[:shots]]


def too_few(request: Request, found: int) -> DataError:
    """Make the error for a file with fewer demonstrations than are shown."""
    return DataError(
        f"{request.train_file()}: {found} records to choose {request.dataset.shots} demonstrations from; the file is cut short: "
        "get it again with `harness data fetch`"
    )


def none_long_enough(request: Request, least: int, cutter: Cutter, paths: Iterable[object]) -> DataError:
    """Make the error for files without a text of ``least`` tokens."""
    return DataError(
        f"{', '.join(map(str, paths))}: no text has {least} tokens by {cutter.name}; these are not the files of {request.dataset.name}: "
        "get them again with `harness data fetch`"
    )
