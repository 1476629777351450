"""What a method plugin sees: the contract of the entry-point group ``harness.methods``.

A method is a class with a ``name`` and a ``run``; it turns the baseline model into an ordinary Hugging Face checkpoint::

    class Identity:
        name = "identity"

        def run(self, context: RunContext) -> Outcome:
            artifact = context.step("copy", {"model": context.model.digest}, lambda work: copytree(context.model.path, work / "model"))
            return Outcome(checkpoint=artifact.path / "model")

Everything expensive goes through :meth:`RunContext.step`. A step is identified by the hash of its inputs, so two methods that ask for
the same step (the same detection, the same chosen responses) share one execution, and a repeated command reuses it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


class HarnessError(Exception):
    """A mistake the user can mend: shown as one line on stderr, exit code 2. Say what happened, where, and what to do next."""

    exit_code = 2


class IncompleteError(HarnessError):
    """Some of the work could not be done, and all else is finished and kept: exit code 3. Say which, and how to go on."""

    exit_code = 3


@dataclass(frozen=True)
class Model:
    """A causal language model in a Hugging Face directory."""

    name: str
    """As the user typed it: a path, a Hub id or ``builtin``."""
    path: Path
    """The directory that holds config, tokenizer and safetensors weights."""
    digest: str
    """Hash of weights, config, tokenizer and chat template."""
    trust_remote_code: bool = False
    """Whether the user asked for the Python files in the directory to be run; the digest covers them then."""


@dataclass(frozen=True)
class Artifact:
    """A finished step on disk."""

    name: str
    key: str
    """Hash of the step's name, version and inputs."""
    path: Path
    manifest: Mapping[str, Json]
    reused: bool
    """True when an earlier command had already finished it."""

    @property
    def facts(self) -> Mapping[str, Json]:
        """What its ``build`` returned."""
        facts = self.manifest.get("facts")
        return facts if isinstance(facts, dict) else {}

    @property
    def seconds(self) -> float:
        """What building it took."""
        seconds = self.manifest.get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else 0.0


@dataclass(frozen=True)
class Work:
    """What a method's step has to compute, for ``harness plan``: about as much as is read, and at most as much as is written."""

    step: str
    """Its name, as :meth:`RunContext.step` gets it. A method that takes a step twice, of different inputs, has two of that name."""
    prompts: int = 0
    """Prompts that the model reads."""
    prefill_tokens: int = 0
    """Their tokens together."""
    new_tokens: int = 0
    """Tokens that the model writes, over all prompts."""
    in_flight: int = 0
    """Tokens in the KV cache at a time."""
    train_tokens: int = 0
    """Tokens that a training sees, over all its epochs."""
    train_batch_tokens: int = 0
    """Tokens of one forward pass in training."""
    full_training: bool = True
    """Whether every parameter is trained."""
    shared: bool = False
    """Whether other methods of a run share this step."""
    inputs: str = ""
    """Of a shared step: what tells it from one of the same name that a variant with other options takes."""
    passes: int = 0
    """Passes in which it writes them, each a token for every row of a batch; 0 where nothing is known of batches."""
    train_passes: int = 4
    """Forward passes that a token costs: its own, two for the way back, one for the reference model."""
    updates: int = 0
    """Steps of the optimizer."""
    checkpoints: int = 0
    """Checkpoints that a training writes, with the optimizer's state."""
    title: str = ""
    """What the plan calls it, where that is something else."""


@dataclass(frozen=True)
class Outcome:
    """What a method hands back."""

    checkpoint: Path
    """Hugging Face directory with the trained model."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """Short figures for the report, such as ``{"masked heads": 8, "pairs": 512}``."""
    head_scores: tuple[tuple[float, ...], ...] | None = None
    """Retrieval scores, layers x heads, if the method measured them."""
    head_scores_after: tuple[tuple[float, ...], ...] | None = None
    """The same, measured on the trained model. Pages show the first alone, and what ``facts`` say of the change."""
    masked_heads: tuple[tuple[int, int], ...] = ()
    """(layer, head) pairs that the method ablated."""
    instructions: tuple[str, ...] = ()
    """A few of those that the model was trained on, for a person to read."""


@dataclass(frozen=True)
class EvaluationSuite:
    """What the model is evaluated on, for a method that has to keep its training data clear of it."""

    digest: str
    """Hash of every example; empty if nothing is evaluated."""
    texts: Callable[[], Iterator[tuple[str, str]]]
    """(task, prompt) of every example, one at a time: together they can be larger than memory."""


class RunContext(Protocol):
    """The run a method is part of."""

    @property
    def model(self) -> Model:
        """The baseline model."""

    @property
    def seed(self) -> int:
        """The run's seed; derive every other seed from it."""

    @property
    def training_seed(self) -> int:
        """The seed of what ``--seeds`` repeats: training, and the draws of a control. The run's seed where nothing is repeated."""

    @property
    def options(self) -> Mapping[str, Json]:
        """The ``[method]`` table of the preset, with the command line's overrides."""

    @property
    def device(self) -> str:
        """A torch device string."""

    def step(
        self, name: str, inputs: Mapping[str, Json], build: Callable[[Path], Mapping[str, Json] | None], *, version: int = 1
    ) -> Artifact:
        """Run ``build(work_dir)`` once for these inputs; what it writes below ``work_dir`` becomes the artifact's content.

        ``inputs`` holds everything that can change the result and nothing that cannot; raise ``version`` when ``build`` itself comes to
        give another result. The mapping that ``build`` returns lands in the manifest under ``facts``. If ``build`` raises, nothing is
        published; the work directory stays, so ``build`` may resume from it.
        """

    def suite(self) -> EvaluationSuite:
        """Give the examples of the run's evaluation."""

    def say(self, message: str) -> None:
        """Show one line of progress for the person watching."""


class Method:
    """A training method: the entry point's object is a class with no constructor arguments, which may inherit from this one.

    ``run`` is all that a method needs; the others do nothing unless it says otherwise.
    """

    name: ClassVar[str]
    settings: ClassVar[type | None] = None
    """The dataclass of its options, for ``harness methods NAME``: fields with defaults, a text below each. None where it does not say."""

    def check(self, options: Mapping[str, Json]) -> None:
        """Raise HarnessError on options that it cannot use; called before anything is computed."""

    def settled(self, options: Mapping[str, Json]) -> Mapping[str, Json]:
        """Give the options with every default, by which two variants of a method are told apart.

        An option that is left out decides nothing beside the others, and a variant that has it is refused.
        """
        return options

    def prepare(self, context: RunContext) -> None:
        """Take cheap steps that show whether it can run at all; called for every training seed before the first evaluation."""

    def plan(self, options: Mapping[str, Json], model: Model) -> Sequence[Work]:
        """Say what each of its steps has to compute, in order, for ``harness plan``; nothing where that is not known."""
        return ()

    def run(self, context: RunContext) -> Outcome:
        """Make a new model from ``context.model``."""
        raise NotImplementedError


@runtime_checkable
class StagedMethod(Protocol):
    """A method whose stages can be run one at a time: ``harness pairs`` and ``harness train`` over a shared run directory.

    Each does what is missing of the stages before it, so that ``run`` afterwards finds them all finished.
    """

    def prompts(self, context: RunContext) -> Artifact:
        """Build the step whose ``prompts.jsonl`` holds the instructions that are answered."""

    def pairs(self, context: RunContext) -> Artifact:
        """Build the step whose ``pairs.jsonl`` holds what is trained on."""

    def train(self, context: RunContext) -> Artifact:
        """Build the step whose ``model`` is the trained checkpoint."""
