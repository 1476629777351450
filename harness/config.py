"""What a run is made of: presets in TOML, overridden by the command line. An unknown key is an error with a suggestion."""

import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

from harness.api import HarnessError, Json
from harness.engines.framing import FRAMINGS, Framing
from harness.engines.options import BACKENDS, EngineConfig
from harness.options import check_keys, read_table
from harness.variants import of_table
from tasks.editions import EDITIONS, NEWEST, Edition
from tasks.files import read_text
from tasks.wording import WORDINGS, Wording

#: Settings that a file of somebody else's must not make.
_ASKED: Final = ("allow_unsafe_weights", "trust_remote_code")
#: Settings that say which questions are asked.
SUITE_SETTINGS: Final = ("tasks", "lengths", "examples", "clip", "data", "edition", "wording", "framing", "think_tokens", "seed")
BUILTIN_PRESET: Final = "builtin"
DEFAULT_PRESET: Final = "default"
SMALL_PRESET: Final = "small"


@dataclass(frozen=True)
class RunConfig(EngineConfig):
    """The ``[run]`` table of a preset, and its ``[method]`` table as ``options``."""

    tasks: tuple[str, ...] = ()
    """Tasks or categories; empty for the whole suite."""
    lengths: tuple[int, ...] = (8_192, 16_384, 32_768, 65_536, 131_072)
    """Context lengths in tokens, prompt and answer together."""
    examples: int | None = None
    """Of each task at each length; ``None``: 100, or as many as HELMET takes."""
    seed: int = 42
    seeds: tuple[int, ...] = ()
    """Training seeds: each method is trained and evaluated once for each. Empty: once, with ``seed``."""
    data: str = "generated"
    """Where examples come from: ``generated`` or ``helmet``, the published files."""
    scoring: Literal["parity", "strict"] | None = None
    """As the published scorers, quirks included, or corrected; ``None``: parity for published data, strict for generated."""
    framing: Framing = "task"
    """How prompts are put to the model (:mod:`harness.engines.framing`): as each task's published twin does, or all in one way."""
    reference_points: bool = False
    """Also ask every question with its gold passages alone, and without them."""
    wording: Wording = "full"
    """Of generated tasks: ``full`` says what form the answer has, ``terse`` is for the shipped model, which was trained on it."""
    edition: Edition = NEWEST
    """Of HELMET, whose ICL sets were drawn otherwise before (:mod:`tasks.editions`)."""
    judge: str | None = None
    """Judges the citations of published data: an NLI model, or ``exact-words``."""
    judge_model: str | None = None
    """Judges the prose of published data (NarrativeQA, summaries): a model, or with the backend ``served`` the server's name for it."""
    judge_backend: str = "hf"
    judge_url: str = ""
    """Where a served judge is."""
    judge_tokens: int | None = None
    """A verdict's budget; ``None``: as published."""
    judge_generations: int = 1
    """Verdicts on each answer; their mean is its score."""
    clip: bool = False
    """Leave out lengths that the model cannot take, instead of refusing them."""
    allow_unsafe_weights: bool = False
    """Take weights from pickled files too (``pytorch_model.bin``); otherwise from safetensors alone."""
    trust_remote_code: bool = False
    """Run the Python files that come with the model; for evaluations alone."""
    stop_early: bool = False
    """Ask in rounds, and stop when the difference to the baseline is known."""
    stop_margin: float = 1.0
    """Points: with ``stop_early``, a difference known to be smaller is known."""
    margin: float | None = None
    """Points of difference that do not matter: verdicts then also say where two are equal within them."""
    resamples: int = 10_000
    """Of the bootstrap."""
    confidence: float = 0.95
    extra_tasks: tuple[str, ...] = ()
    """Tasks and groups of lm-eval, by name or .yaml file, asked beside the suite and kept out of its means."""
    include_path: str = ""
    """A folder with YAML files of further lm-eval tasks."""
    extra_limit: int | None = None
    """Documents of each extra task, from its first; ``None`` for all."""
    extra_fewshot: int | None = None
    """Examples before each question of the extra tasks; ``None`` for each task's own number."""
    extra_chat_template: bool = False
    """Whether the extra tasks are put into the model's chat template. lm-eval by itself does not."""
    methods: tuple[str, ...] = ()
    """Methods to try where the command line names none, each with options of its own if it has some (:mod:`harness.variants`)."""
    options: Mapping[str, Json] = field(default_factory=dict)
    """What every method gets; each method checks its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.examples is not None and self.examples < 1:
            raise HarnessError(f"examples is {self.examples}; ask for at least 1")
        if self.seed < 0:
            raise HarnessError(f"seed is {self.seed}; give a whole number from 0")
        if self.framing not in FRAMINGS:
            raise HarnessError(f"unknown framing {self.framing!r}; choose from {', '.join(FRAMINGS)}")
        if self.wording not in WORDINGS:
            raise HarnessError(f"unknown wording {self.wording!r}; choose from {', '.join(WORDINGS)}")
        if self.edition not in EDITIONS:
            raise HarnessError(f"unknown edition {self.edition!r} of HELMET; choose from {', '.join(EDITIONS)}")
        if self.framing in ("completion", "prefill"):
            if self.served_api == "chat":
                raise HarnessError(f"--served-api chat begins no answer: for --framing {self.framing} use --served-api completions")
            if self.think_tokens:
                raise HarnessError(f"--think-tokens needs a turn that begins with thoughts, not --framing {self.framing}; use chat")
        if self.resamples < 1:
            raise HarnessError(f"resamples is {self.resamples}; give at least 1, better 10000")
        if not self.lengths or min(self.lengths) < 64:
            raise HarnessError(f"lengths are {list(self.lengths)}; give at least one, none below 64 tokens")
        if len(set(self.seeds)) < len(self.seeds) or any(type(seed) is not int or seed < 0 for seed in self.seeds):
            raise HarnessError(f"seeds are {list(self.seeds)}; give different whole numbers, such as [1, 2, 3]")
        if self.stop_early and self.seeds:
            raise HarnessError("--stop-early looks at one training of a method; leave out --seeds, or evaluate in full")
        self._check_judge()
        if not 0 <= self.stop_margin <= 100:
            raise HarnessError(f"stop_margin is {self.stop_margin}; give points from 0 to 100, such as 1.0")
        if self.margin is not None and not 0 < self.margin <= 100:
            raise HarnessError(f"margin is {self.margin}; give points above 0, up to 100, such as 1.0")
        if self.extra_limit is not None and self.extra_limit < 1:
            raise HarnessError(f"extra_limit is {self.extra_limit}; ask for at least 1 document")
        if self.extra_fewshot is not None and self.extra_fewshot < 0:
            raise HarnessError(f"extra_fewshot is {self.extra_fewshot}; give 0 or more")
        if not 0 < self.confidence < 1:
            raise HarnessError(f"confidence is {self.confidence}; give a number between 0 and 1, such as 0.95")

    def _check_judge(self) -> None:
        if self.judge_model is None:
            if self.judge_url or self.judge_backend != "hf":
                raise HarnessError("--judge-backend and --judge-url say how a judge is asked; name it with --judge-model")
            return
        if self.judge_backend not in BACKENDS:
            raise HarnessError(f"unknown judge_backend {self.judge_backend!r}; choose from {', '.join(BACKENDS)}")
        if (self.judge_backend == "served") != bool(self.judge_url):
            raise HarnessError("--judge-backend served and --judge-url go together, such as --judge-url http://localhost:8000/v1")
        if self.judge_generations < 1 or (self.judge_tokens is not None and self.judge_tokens < 16):
            raise HarnessError("a judge gives at least one verdict (judge_generations), of 16 tokens or more (judge_tokens)")
        if self.stop_early:
            raise HarnessError("--stop-early needs scores of every example asked, and a judge's verdict may be unreadable; leave one out")

    @property
    def margin_share(self) -> float:
        """``margin`` as a fraction of 1; NaN if none was named."""
        return math.nan if self.margin is None else self.margin / 100

    @property
    def suite_framing(self) -> Framing:
        """``framing``, except that thoughts and messages to a server are chats, whatever the task."""
        return "chat" if self.framing == "task" and (self.think_tokens or self.served_api == "chat") else self.framing


def load_preset(name: str) -> RunConfig:
    """Read a preset by name, or from a TOML file of the user's."""
    path = Path(name)
    if path.suffix == ".toml":
        text, where = _read(path), str(path)
    else:
        if name not in preset_names():
            raise HarnessError(f"unknown preset {name!r}; choose from {', '.join(preset_names())}, or give a .toml file")
        text, where = preset_text(name), f"preset {name}"
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for a number of thousands of digits
        raise HarnessError(f"{where} is not TOML: {error}") from None
    check_keys(table, ("run", "method"), where)
    settings = table.get("run", {})
    if not isinstance(settings, dict):
        raise HarnessError(f"{where}: run has to be a table, [run]")
    variants, options = _methods(table.get("method", {}), where)
    if variants and "methods" in settings:
        raise HarnessError(f"{where}: methods stand in [run] and as [[method]]; leave one out")
    read = _checked(settings, f"{where} [run]")
    return RunConfig(**read | ({"methods": variants} if variants else {}), options=options)


def _methods(table: Any, where: str) -> tuple[tuple[str, ...], dict[str, Json]]:
    """The variants of a list of tables, and the options of all methods: those of ``[method]``, or of the table without a name."""
    if isinstance(table, dict):
        return (), table
    if not isinstance(table, list) or not all(isinstance(each, dict) for each in table):
        raise HarnessError(f"{where}: method has to be a table, [method], or several, [[method]] with a name in each")
    named, shared = [each for each in table if "name" in each], [each for each in table if "name" not in each]
    if len(shared) > 1:
        raise HarnessError(f"{where}: {len(shared)} tables [[method]] have no name; at most one, with the options of all methods, has none")
    return tuple(str(of_table(each, f"{where} [[method]]")) for each in named), shared[0] if shared else {}


def from_manifest(table: Mapping[str, Any], where: str, granted: Collection[str] = ()) -> RunConfig:
    """Read the settings that a run's manifest recorded.

    ``granted`` are the risks that the command line takes on, such as ``trust_remote_code``.

    HarnessError for settings that this version does not know, of another type, or whose risk was not granted.
    """
    risks: dict[str, Any] = {key: True for key in _ASKED if key in granted and table.get(key) is True}
    settings = {key: value for key, value in table.items() if key not in ("options", *risks) and not (key in _ASKED and value is False)}
    settings.setdefault("edition", "2024-12")  # runs that name none are older than the choice
    options = table.get("options", {})
    if not isinstance(options, dict):
        raise HarnessError(f"{where}: options has to be a table")
    return RunConfig(**_checked(settings, where), **risks, options=options)


def _checked(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A file's settings as :class:`RunConfig` takes them."""
    for name in _ASKED:
        if name in settings:
            flag = f"--{name.replace('_', '-')}"
            raise HarnessError(f"{where}: {name} is not for files; whoever runs the command takes that risk, with {flag}")
    return read_table(RunConfig, settings, where, apart_from=("options", *_ASKED))


def preset_names() -> list[str]:
    """List the presets that ship with the project."""
    return sorted(
        item.name.removesuffix(".toml") for item in (resources.files("harness") / "presets").iterdir() if item.name.endswith(".toml")
    )


def preset_text(name: str) -> str:
    """Read the file of a preset that ships with the project."""
    return (resources.files("harness") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def override(config: RunConfig, settings: Mapping[str, Any], options: Mapping[str, Json]) -> RunConfig:
    """Give ``config`` with the command line's choices; ``None`` leaves a setting as it is."""
    given = {key: value for key, value in settings.items() if value is not None and value != ()}
    return replace(config, **given, options={**config.options, **options})


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise HarnessError(f"cannot read preset {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise HarnessError(f"preset {path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
