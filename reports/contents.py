"""What a report shows: the page and the figures are drawn from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reports import extra_tasks
from reports.anchors import Anchors
from reports.comparison import Comparison
from reports.estimates import Score
from reports.examples import Packed
from reports.studies import Study


@dataclass(frozen=True)
class Step:
    """What one step of the run cost."""

    name: str
    seconds: float
    reused: bool
    """An earlier command had already finished it; ``seconds`` is then what it cost at that time."""


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows of a run."""

    title: str
    verdict: Sequence[Sequence[str]]
    """Plain sentences, see :func:`reports.compare.sentences`: for each verdict its outcome, its figures, and the rest."""
    methods: tuple[str, ...] = ()
    """Names in the order of columns and legends; the keys of ``comparisons``. None on the page of a single evaluation."""
    comparisons: Mapping[str, Sequence[Comparison]] = field(default_factory=dict)
    """Each method against the baseline."""
    scores: Sequence[Score] = ()
    """Of a single evaluation."""
    extra_rows: Sequence[Sequence[str]] = ()
    """The extra tasks of a single evaluation: name, metric, documents, value."""
    contrasts: Mapping[str, Sequence[Comparison]] = field(default_factory=dict)
    """"a minus b" -> differences between methods."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Whatever identifies the run: digests, versions, seeds, generation settings."""
    head_scores: Sequence[Sequence[float]] | None = None
    """Retrieval scores, layers x heads."""
    masked_heads: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    """Method -> (layer, head) pairs it ablated."""
    threshold: float | None = None
    """Retrieval score from which a head counts as a retrieval head."""
    instructions: Sequence[str] = ()
    """A few of those that the methods trained on."""
    other_instructions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Likewise, by method, where one trained on others than the first."""
    unmapped: Sequence[str] = ()
    """Methods whose masks are not on the map of ``head_scores``: of another detector's heads, or of no heads."""
    facts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Method -> short figures, such as ``{"pairs": 512}``."""
    steps: Sequence[Step] = ()
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    """Method -> its training curve: points with ``step`` and any figures."""
    depths: str = ""
    """Success by depth, see :func:`reports.depth.heat_maps`."""
    examples: Packed | None = None
    """For the example browser."""
    extra: extra_tasks.ByName = field(default_factory=dict)
    """Each method's extra tasks against the baseline's."""
    anchors: Anchors | None = None
    """Ceilings and floors of the baseline."""
    adjusted: Sequence[str] = ()
    """Sentences of :class:`reports.difficulty.Adjusted`."""
    studies: Sequence[Study] = ()
    """Options that a method was tried with several values of."""
    notes: Sequence[str] = ()
    """Warnings that a reader must see before the numbers."""

    def __post_init__(self) -> None:
        """Raise ValueError if a method has no comparisons."""
        missing = [name for name in self.methods if name not in self.comparisons]
        if missing or not (self.methods or self.scores):
            raise ValueError(f"a report needs comparisons for every method; none for {', '.join(missing) or 'any'}")
