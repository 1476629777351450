"""Preference pairs by self-synthesis: the intact model's answer is chosen, the ablated model's rejected.

Method: RetMask (arXiv 2601.11020), section 3.3. The k-th answer of one is paired with the k-th of the other. Pairs that teach nothing
are dropped and counted, and the rest is looked at for what else but retrieval could tell its two sides apart.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Final

from harness.api import HarnessError, Json
from retmask.heads.needle_texts import is_encodable
from retmask.pairs.responses import Response
from tasks.files import LARGEST_TEXT, read_text, write_text

#: Shares above which a person should know before training.
_MANY_IDENTICAL: Final = 0.5
_MANY_DEGENERATE: Final = 0.1
_MANY_UNFINISHED: Final = 0.2
#: Share of pairs whose chosen answer is the longer one, beyond which length alone nearly tells the two apart.
_LENGTH_BIAS: Final = 0.7
#: Above this share of repeated n-grams an answer is degenerate; text that people write stays far below.
_REPETITIVE: Final = 0.5
_NGRAM: Final = 4
_FEWEST: Final = 20


@dataclass(frozen=True)
class PreferencePair:
    """One row of DPO training."""

    prompt: str
    """The user's instruction, without the chat template."""
    chosen: str
    rejected: str
    """Empty in the rows of a training on chosen answers alone."""
    chosen_ids: tuple[int, ...] = ()
    """The sampled tokens, so that training sees exactly what was generated; empty for pairs that come as text."""
    rejected_ids: tuple[int, ...] = ()
    chosen_finished: bool | None = True
    """Whether an answer that comes as text ended by itself: only then training shows the end of its turn.

    None where a file does not say: it ended, unless the other one comes as tokens and did not.
    """
    rejected_finished: bool | None = True
    chosen_weights: tuple[float, ...] = ()
    """How much each token counts in the loss (:mod:`retmask.pairs.disagreement`); empty where all count alike."""
    rejected_weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class PairFilter:
    """Which pairs are left out, beside those that are empty or identical."""

    repetitive: bool = False
    """Also those with a repetitive answer."""
    unfinished: bool = False
    """Also those with an answer that was cut off at ``max_new_tokens``."""


@dataclass(frozen=True)
class Pairs:
    """The pairs that can be trained on, what was left out, and figures that warn."""

    kept: tuple[PreferencePair, ...]
    dropped: Mapping[str, int]
    """Reason -> count: ``empty`` (one of the answers says nothing), ``identical``, ``repetitive``, ``unfinished``."""
    mean_chosen_tokens: float
    mean_rejected_tokens: float
    """Both over all prompts, before anything was dropped, as are the following."""
    unfinished: int
    """Answers of either kind that were cut off at ``max_new_tokens``."""
    degenerate_chosen: float
    """Share of chosen answers that repeat themselves (:func:`repetition`)."""
    degenerate_rejected: float
    longer_chosen: float
    """Share of the kept pairs whose chosen answer is the longer one; those of equal length count half. 0.5 is no bias."""

    @property
    def total(self) -> int:
        """Pairs before anything was dropped."""
        return len(self.kept) + sum(self.dropped.values())

    @property
    def identical_share(self) -> float:
        """Share of pairs whose two answers were the same."""
        return self.dropped["identical"] / self.total

    def warnings(self) -> list[str]:
        """Say what a person should know before they train on these, in words."""
        found = []
        if self.identical_share > _MANY_IDENTICAL:
            found.append(
                f"{self.identical_share:.0%} of the pairs were identical, so the two models hardly differ; "
                "mask more heads or raise temperature"
            )
        if self.degenerate_rejected > _MANY_DEGENERATE:
            found.append(
                f"{self.degenerate_rejected:.0%} of the rejected answers repeat themselves ({self.degenerate_chosen:.0%} of the chosen): "
                "training may learn to avoid broken text and little else; mask fewer heads or set drop_repetitive"
            )
        if not 1 - _LENGTH_BIAS <= self.longer_chosen <= _LENGTH_BIAS and len(self.kept) >= _FEWEST:
            which = "longer" if self.longer_chosen > 0.5 else "shorter"
            share = self.longer_chosen if self.longer_chosen > 0.5 else 1 - self.longer_chosen
            found.append(f"the chosen answer is the {which} one in {share:.0%} of the pairs: training may learn length")
        cut = self.unfinished / (2 * self.total)
        if cut > _MANY_UNFINISHED:
            found.append(f"{cut:.0%} of the answers were cut off; raise max_new_tokens or set drop_unfinished")
        return found

    def facts(self) -> dict[str, Json]:
        """Give the figures for a manifest and a report."""
        return {
            "pairs": len(self.kept),
            **{f"dropped_{reason}": count for reason, count in self.dropped.items()},
            "identical_share": round(self.identical_share, 3),
            "mean_chosen_tokens": round(self.mean_chosen_tokens, 1),
            "mean_rejected_tokens": round(self.mean_rejected_tokens, 1),
            "chosen_longer_share": round(self.longer_chosen, 3),
            "degenerate_chosen_share": round(self.degenerate_chosen, 3),
            "degenerate_rejected_share": round(self.degenerate_rejected, 3),
            "unfinished_responses": self.unfinished,
            "warnings": list(self.warnings()),
        }


def join(
    prompts: Sequence[str],
    chosen: Sequence[Response],
    rejected: Sequence[Response],
    rules: PairFilter = PairFilter(),
) -> Pairs:
    """Pair the answers by prompt and number. HarnessError if nothing is left to train on."""
    kept: list[PreferencePair] = []
    dropped = dict.fromkeys(("empty", "identical", "repetitive", "unfinished"), 0)
    longer = 0.0
    for good, bad in zip(chosen, rejected, strict=True):
        assert (good.prompt, good.number) == (bad.prompt, bad.number)
        reason = _why_drop(good, bad, rules)
        if reason is not None:
            dropped[reason] += 1
            continue
        kept.append(PreferencePair(prompts[good.prompt], good.text, bad.text, good.ids, bad.ids, good.finished, bad.finished))
        longer += 1.0 if len(good.ids) > len(bad.ids) else 0.5 * (len(good.ids) == len(bad.ids))
    if not kept:
        raise HarnessError(
            f"none of {len(prompts)} prompts gave a usable pair ({', '.join(f'{count} {reason}' for reason, count in dropped.items())}); "
            "mask more heads, raise temperature, or give other prompts"
        )
    return Pairs(
        kept=tuple(kept),
        dropped=dropped,
        mean_chosen_tokens=fmean(len(response.ids) for response in chosen),
        mean_rejected_tokens=fmean(len(response.ids) for response in rejected),
        unfinished=sum(not response.finished for response in (*chosen, *rejected)),
        degenerate_chosen=fmean(repetition(response.ids) > _REPETITIVE for response in chosen),
        degenerate_rejected=fmean(repetition(response.ids) > _REPETITIVE for response in rejected),
        longer_chosen=longer / len(kept),
    )


def _why_drop(good: Response, bad: Response, rules: PairFilter) -> str | None:
    texts = good.text.strip(), bad.text.strip()
    if not all(texts):
        return "empty"
    if texts[0] == texts[1]:
        return "identical"
    if rules.repetitive and max(repetition(good.ids), repetition(bad.ids)) > _REPETITIVE:
        return "repetitive"
    if rules.unfinished and not (good.finished and bad.finished):
        return "unfinished"
    return None


def repetition(ids: Sequence[int]) -> float:
    """Compute the share of 4-grams that occurred before in the same text: seq-rep-4 of Welleck et al., arXiv 1908.04319, section 6.

    0 for texts of fewer than 20 tokens, in which it says little.
    """
    if len(ids) < _FEWEST:
        return 0.0
    grams = [tuple(ids[start : start + _NGRAM]) for start in range(len(ids) - _NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams)


def is_repetitive(response: Response) -> bool:
    """Say whether more than half of its n-grams repeat others."""
    return repetition(response.ids) > _REPETITIVE


def as_text(pairs: Sequence[PreferencePair], *, rejected_only: bool = False) -> list[PreferencePair]:
    """Take the token ids out of pairs, for a model with another tokenizer than the one that wrote them."""
    plain = [replace(pair, chosen_weights=(), rejected_weights=()) for pair in pairs]
    return [replace(pair, chosen_ids=pair.chosen_ids if rejected_only else (), rejected_ids=()) for pair in plain]


def write_pairs(pairs: Sequence[PreferencePair], path: Path) -> None:
    """Write one JSON object a line, as :mod:`retmask.training.train` reads them; the file appears whole or not at all."""
    write_text(path, "".join(json.dumps(_record(pair), ensure_ascii=False) + "\n" for pair in pairs))


def _record(pair: PreferencePair) -> dict[str, object]:
    """What a line says: whether an answer ended only where it comes as text, whose tokens do not tell, and did not."""
    record = asdict(pair)
    for answer in ("chosen", "rejected"):
        if record[f"{answer}_ids"] or record[f"{answer}_finished"] is not False:
            del record[f"{answer}_finished"]
        if not record[f"{answer}_weights"]:
            del record[f"{answer}_weights"]
    return record


def read_pairs(path: Path, *, chosen_only: bool = False) -> list[PreferencePair]:
    """Read pairs. HarnessError names the line that is none. With ``chosen_only`` a row needs no rejected answer."""
    pairs = []
    try:
        lines = read_text(path, LARGEST_TEXT, "utf-8-sig").split("\n")
    except OSError as error:
        raise HarnessError(f"cannot read preference pairs: {error}") from error
    except UnicodeDecodeError as error:
        raise HarnessError(
            f"{path}: preference pairs are no UTF-8 text ({error.reason} at byte {error.start}); save the file as UTF-8"
        ) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            pairs.append(_read_pair(line, f"{path}, line {number}", chosen_only))
    return pairs


def _read_pair(line: str, where: str, chosen_only: bool) -> PreferencePair:
    needed = ("prompt", "chosen") if chosen_only else ("prompt", "chosen", "rejected")
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise HarnessError(f"{where}: not a JSON object; write one with {', '.join(needed)} a line")
        if lacking := [key for key in needed if key not in row]:
            has = ", ".join(map(repr, row)) or "nothing"
            raise HarnessError(f"{where}: not a preference pair: it lacks {', '.join(lacking)} and has {has[:200]}; rename the columns")
        texts = [row[key] for key in needed]
        ids = [tuple(row.get(key, ())) for key in ("chosen_ids", "rejected_ids")]
        known = [bool(own or not other) for own, other in (ids, ids[::-1])]
        ended = [row.get(key, sure or None) for key, sure in zip(("chosen_finished", "rejected_finished"), known, strict=True)]
        counts = [tuple(row.get(key, ())) for key in ("chosen_weights", "rejected_weights")]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise HarnessError(f"{where}: not a preference pair ({error}); expected {', '.join(needed)}") from error
    if not all(isinstance(text, str) and text for text in texts):
        raise HarnessError(f"{where}: {', '.join(needed)} must be texts that are not empty (of a chat, the words alone)")
    if not all(type(token) is int and 0 <= token < 2**31 for answer in ids for token in answer):
        raise HarnessError(f"{where}: chosen_ids and rejected_ids must be lists of token ids; leave them out to have the texts encoded")
    if not all(each is None or isinstance(each, bool) for each in ended):
        raise HarnessError(f"{where}: chosen_finished and rejected_finished must be true or false; leave them out for answers that ended")
    if not all(_are_weights(each, tokens) for each, tokens in zip(counts, ids, strict=True)) or bool(counts[0]) != bool(counts[1]):
        raise HarnessError(
            f"{where}: chosen_weights and rejected_weights must be numbers of 0 or more, one for each token of chosen_ids and "
            "rejected_ids; leave both out to have all tokens count alike"
        )
    if "\\u" in line and not all(is_encodable(text) for text in texts):
        raise HarnessError(
            f"{where}: holds half of a surrogate pair (\\ud800 to \\udfff), which no tokenizer reads; mend or remove the line"
        )
    rejected = "" if chosen_only else texts[2]
    return PreferencePair(texts[0], texts[1], rejected, ids[0], ids[1], ended[0], ended[1], counts[0], counts[1])


def _are_weights(weights: tuple[object, ...], tokens: tuple[int, ...]) -> bool:
    """Whether these are no weights, or one for each of the tokens."""
    numbers = [each for each in weights if isinstance(each, int | float) and not isinstance(each, bool) and 0 <= each < inf]
    return not weights or len(numbers) == len(weights) == len(tokens)
