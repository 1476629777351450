"""What programs and notebooks call to look at heads (docs/api.md); ``harness heads detect`` calls it too."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api import HarnessError
from harness.models.lookup import resolve
from harness.options import check_types, read_lengths
from harness.screen.quiet import quietly
from harness.screen.terminal import echo
from retmask.heads import masks
from retmask.heads.masks import HeadMask
from retmask.heads.protocols import GRID, PARITY
from retmask.heads.scores import Head, HeadScores

if TYPE_CHECKING:
    import pandas as pd

    from reports.plates import Plate
    from retmask.heads.detectors import TrialResult


@dataclass(frozen=True, eq=False)
class MeasuredHeads:
    """What every attention head of a model scored."""

    model: str
    place: Path = field(repr=False)
    """The directory of its checkpoint."""
    scores: HeadScores = field(repr=False)
    """Trial by trial (:class:`retmask.heads.scores.HeadScores`)."""

    @property
    def frame(self) -> "pd.DataFrame":
        """Heads as rows, the highest score first: layer, head, score."""
        import pandas as pd

        return pd.DataFrame([(head.layer, head.head, score) for head, score in self.scores.ranked()], columns=["layer", "head", "score"])

    def top(self, k: int) -> list[Head]:
        """List the k heads with the highest scores. HarnessError for a ``k`` of less than one."""
        check_types("top()", k=(k, int))
        if k < 1:
            raise HarnessError(f"top(): k is {k}; give at least 1")
        return [head for head, _ in self.scores.top(k)]

    def map(self, masked: Sequence[tuple[int, int]] = ()) -> "Plate":
        """Draw the scores by layer and head, those of ``masked`` framed: a notebook shows it, ``.save(path)`` writes it.

        HarnessError for a head that the model does not have.
        """
        from functools import partial

        from reports.headfigures import head_map
        from reports.plates import Plate

        layers, heads = self.scores.shape
        if absent := [head for head in masked if tuple(head) not in self.scores.heads()]:
            raise HarnessError(f"map(): the model has {layers} layers of {heads} heads each, and no head {absent[0]}; give (layer, head)")
        values = [[float(score) for score in layer] for layer in self.scores.mean]
        marked: Mapping[str, Sequence[tuple[int, int]]] = {"masked": masked} if masked else {}
        return Plate("heads", partial(head_map, values, marked), f"Retrieval score of {self.model} by layer and head")

    def ablated(self, path: str | Path, *, top_k: int | None = None, threshold: float = 0.1) -> Path:
        """Write a checkpoint whose retrieval heads are silent: the ``top_k`` best, or those that score ``threshold`` or more; its path.

        HarnessError if there is something at ``path``, or no head scores so much.
        """
        mask = masks.retrieval(self.scores, top_k=top_k, threshold=threshold if top_k is None else None)
        write_ablated(self.place, mask, Path(path))
        return Path(path)

    def save(self, path: str | Path) -> None:
        """Write the scores for ``harness heads show`` and the other commands."""
        try:
            self.scores.save(Path(path))
        except OSError as error:
            raise HarnessError(f"cannot write {path}: {error.strerror}; choose another place") from None


def detect(
    model: str | Path,
    *,
    lengths: str | int | Sequence[str | int] = (512, 1024),
    trials: int = 20,
    counted: int | None = None,
    depths: int = 10,
    protocol: str = GRID,
    detector: str = "copy",
    haystack: str | Path | None = None,
    needles: str | Path | None = None,
    max_new_tokens: int = 50,
    seed: int = 42,
    dtype: str = "auto",
    device: str = "auto",
    allow_unsafe_weights: bool = False,
    verbose: bool = False,
) -> MeasuredHeads:
    """Measure the score of every head, as ``harness heads detect`` does; its options have the same names there.

    HarnessError for what cannot be done, and if the model finds no needle.
    """
    check_types(
        "detect()",
        trials=(trials, int),
        depths=(depths, int),
        max_new_tokens=(max_new_tokens, int),
        seed=(seed, int),
        protocol=(protocol, str),
        detector=(detector, str),
        dtype=(dtype, str),
        device=(device, str),
        model=(model, str | Path),
        counted=(counted, int | None),
        haystack=(haystack, str | Path | None),
        needles=(needles, str | Path | None),
    )
    for name, count in (("trials", trials), ("depths", depths), ("max_new_tokens", max_new_tokens)):
        if count < 1:
            raise HarnessError(f"detect(): {name} is {count}; give at least 1")
    with quietly(verbose=verbose):
        return measure(
            str(model), lengths=_lengths(lengths), trials=trials, counted=counted, depths=depths, protocol=protocol, detector=detector,
            haystack=None if haystack is None else Path(haystack), needles=None if needles is None else Path(needles),
            max_new_tokens=max_new_tokens, seed=seed, dtype=dtype, device=device, allow_unsafe_weights=allow_unsafe_weights,
        )  # fmt: skip


def measure(
    model_name: str,
    *,
    lengths: Sequence[int],
    trials: int,
    counted: int | None,
    depths: int,
    protocol: str,
    detector: str,
    haystack: Path | None,
    needles: Path | None,
    max_new_tokens: int,
    seed: int,
    dtype: str,
    device: str,
    allow_unsafe_weights: bool,
    keep: "Callable[[Sequence[TrialResult]], None]" = lambda _: None,
) -> MeasuredHeads:
    """Measure heads: what :func:`detect` and ``harness heads detect`` share. ``keep`` gets every trial's result first."""
    if counted is not None and protocol != GRID:
        raise HarnessError(f"--counted adds trials to the grid; the {protocol} protocol has a fixed number")
    found = resolve(model_name, allow_unsafe_weights=allow_unsafe_weights)
    from harness.models.footprint import device_of, number_format
    from retmask.heads import protocols
    from retmask.heads.counting import Counting
    from retmask.heads.detect import detect as run
    from retmask.heads.detect import short
    from retmask.heads.detectors import find_detector
    from retmask.heads.needle_texts import read_texts
    from retmask.heads.trials import Trial, build_trials, evenly
    from retmask.model import load_model, load_tokenizer

    if protocol not in protocols.PROTOCOLS:
        raise HarnessError(f"unknown protocol {protocol!r}; choose from {', '.join(protocols.PROTOCOLS)}")
    chosen = find_detector(detector)
    texts = read_texts(haystack, needles)
    tokenizer = load_tokenizer(found.path)
    counting = None
    if protocol == GRID:

        def asked(first: int, number: int) -> list[Trial]:
            return build_trials(tokenizer, lengths, number, evenly(depths), seed, texts, first)

        built = asked(0, trials)
        counting = None if counted is None else Counting(counted, trials, asked)
    else:
        layout = protocols.parity_trials if protocol == PARITY else protocols.paper_trials
        built = layout(tokenizer, seed, texts, needles=len(texts.needles) or protocols.NEEDLES, depths=depths)
    place = device_of(device)
    scores = run(
        load_model(found.path, number_format(dtype, place, found.path), place),
        tokenizer,
        built,
        found.digest,
        lambda line: echo(line, err=True),
        short(protocols.rules(protocol), max_new_tokens),
        detector=chosen,
        protocol=protocol,
        keep=keep,
        counting=counting,
    )
    return MeasuredHeads(model_name, found.path, scores)


def write_ablated(model: Path, mask: HeadMask, out: Path) -> None:
    """Write the checkpoint in ``model`` with the mask's heads silent into ``out``. HarnessError if there is something."""
    if out.exists() and any(out.iterdir()):
        raise HarnessError(f"{out} is not empty; name a new directory with --out")
    from retmask.heads.ablate import save_ablated
    from retmask.model import load_model, load_tokenizer

    save_ablated(load_model(model, "float32", "cpu"), mask, out, load_tokenizer(model))


def _lengths(values: str | int | Sequence[str | int]) -> tuple[int, ...]:
    found = read_lengths(values, "detect(): lengths")
    if not found or min(found) < 1:
        raise HarnessError(f"detect(): lengths are {list(found)}; give at least one, above 0")
    return found
