"""``harness heads``: measure, look at, compare, audit and ablate heads by hand (entry-point group ``harness.commands``)."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from harness.api import HarnessError, Json
from harness.commands.groups import Listing
from harness.commands.parameters import Lengths, Number
from harness.engines.threads import threads_option
from harness.models.lookup import resolve
from harness.screen.terminal import echo
from retmask.commands import prediction
from retmask.heads import masks
from retmask.heads.protocols import GRID, PROTOCOLS
from retmask.heads.score_files import export_published, import_published, read_scores
from retmask.heads.scores import HeadScores
from retmask.heads.wording import by_lines, in_words

if TYPE_CHECKING:
    from transformers import PreTrainedModel


Command = TypeVar("Command", bound=Callable[..., object])
_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY: Final = click.Path(path_type=Path, file_okay=False)


_UNSAFE: Final = click.option(
    "--allow-unsafe-weights",
    is_flag=True,
    help="Also load pytorch_model.bin (tensors alone, no other objects) where there are no safetensors.",
)


def _model(command: Command) -> Command:
    """The options of every command that loads a model."""
    options = (
        click.option(
            "--model",
            "model_name",
            required=True,
            help="A directory, a .gguf file, a Hub id, or a name that `harness models` lists.",
        ),
        click.option(
            "--dtype", default="auto", help="Number format, such as bfloat16.  [default: float32 on a CPU, the checkpoint's own elsewhere]"
        ),
        click.option(
            "--device", default="auto", help="Torch device, such as cuda:0; 'all' spreads over all GPUs.  [default: CUDA if there is one]"
        ),
        _UNSAFE,
        threads_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _network(path: Path, dtype: str, device: str) -> "PreTrainedModel":
    """The model in ``path``, as ``--dtype`` and ``--device`` ask for it."""
    from harness.models.footprint import device_of, number_format
    from retmask.model import load_model

    place = device_of(device)
    return load_model(path, number_format(dtype, place, path), place)


def _out(help_text: str, kind: click.Path = _FILE, *, required: bool = True) -> Callable[[Command], Command]:
    return click.option("--output", "--out", "out", type=kind, required=required, help=help_text)


@click.group(cls=Listing)
def heads() -> None:
    """Retrieval heads: detect, show, compare, audit, ablate."""


@heads.command()
@_model
@click.option("--lengths", type=Lengths(), default="512,1k", show_default=True, help="Prompt lengths of the needle trials, in tokens.")
@click.option("--trials", default=20, show_default=True, type=click.IntRange(min=1), help="Trials for each length.")
@click.option("--counted", type=click.IntRange(min=1), help="Add trials until so many find their needle, at most 10 times --trials.")
@click.option("--depths", default=10, show_default=True, type=click.IntRange(min=1), help="Depths that the trials go round.")
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default=GRID,
    show_default=True,
    help="grid: --lengths x --trials. paper: 3 needles x 20 lengths to 5000 tokens x 10 depths. parity: as the published program scores.",
)
@click.option(
    "--detector",
    default="copy",
    show_default=True,
    help="What scores heads: copy, query (QRHead), causal, attribution, greedy, or another plugin.",
)
@click.option("--haystack", type=_DIRECTORY, help="Directory of text files (*.txt) to hide needles in, instead of generated prose.")
@click.option("--needles", type=_FILE, help="JSONL with needle, question and answer a line, instead of drawn needles.")
@click.option("--max-new-tokens", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=42, show_default=True)
@_out("File for the scores (.safetensors).")
@click.option("--dump-trials", type=_FILE, help="JSONL with every trial's tokens and scores, to recompute them independently.")
def detect(
    model_name: str,
    dtype: str,
    device: str,
    allow_unsafe_weights: bool,
    lengths: tuple[int, ...],
    trials: int,
    counted: int | None,
    depths: int,
    protocol: str,
    detector: str,
    haystack: Path | None,
    needles: Path | None,
    max_new_tokens: int,
    seed: int,
    out: Path,
    dump_trials: Path | None,
) -> None:
    """Measure the score of every head, and print its statistics as JSON.

    \b
    Examples:
      harness heads detect --model builtin --lengths 512,1k --trials 20 --output heads.safetensors
      harness heads detect --model builtin --lengths 512 --trials 24 --counted 30 --output heads.safetensors
      harness heads detect --model builtin --protocol paper --output paper.safetensors --dump-trials trials.jsonl
      harness heads detect --model builtin --detector query --output query.safetensors
    """
    _writable(out, dump_trials)
    from retmask.heads.dump import dump
    from retmask.interface import measure

    found = measure(
        model_name,
        lengths=lengths,
        trials=trials,
        counted=counted,
        depths=depths,
        protocol=protocol,
        detector=detector,
        haystack=haystack,
        needles=needles,
        max_new_tokens=max_new_tokens,
        seed=seed,
        dtype=dtype,
        device=device,
        allow_unsafe_weights=allow_unsafe_weights,
        keep=lambda results: dump(results, dump_trials) if dump_trials else None,
    )
    found.save(out)
    _echo_json(found.scores.summary())


@heads.command()
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the statistics as JSON.")
@click.option("--by", type=click.Choice(["length", "depth"]), help="Add a line for each length or depth.")
@click.option("--threshold", type=Number(min=0), default=0.1, show_default=True, help="Marked in the pictures.")
@click.option("--figures", type=_DIRECTORY, help="Directory for the head map, the sorted curve and the distribution, as PNG and SVG.")
def show(file: Path, as_json: bool, by: Literal["length", "depth"] | None, threshold: float, figures: Path | None) -> None:
    """Print a score file's statistics. Reads our files and the published JSON ones.

    \b
    Examples:
      harness heads show heads.safetensors
      harness heads show heads.safetensors --json
      harness heads show heads.safetensors --by depth
      harness heads show heads.safetensors --figures pictures
    """
    scores = read_scores(file)
    if figures is not None:
        _draw_scores(scores, threshold, figures)
    if as_json:
        _echo_json(scores.summary())
    else:
        echo(in_words(scores))
    if by is not None and not as_json:
        echo(by_lines(scores, by))


@heads.command("import")
@click.argument("file", type=_FILE)
@_out("File for the scores (.safetensors).")
def import_(file: Path, out: Path) -> None:
    """Read a published score file (JSON, "layer-head": scores) and write it in our format.

    \b
    Example:
      harness heads import llama-3.1-8b.json --output llama.safetensors
    """
    _writable(out)
    scores = import_published(file)
    scores.save(out)
    echo(f"{out}: {in_words(scores)}")


@heads.command()
@click.argument("file", type=_FILE)
@_out("File for the scores (.json).")
def export(file: Path, out: Path) -> None:
    """Write a score file in the published format.

    \b
    Example:
      harness heads export heads.safetensors --output heads.json
    """
    _writable(out)
    export_published(read_scores(file), out)
    echo(str(out))


@heads.command()
@click.argument("files", type=_FILE, nargs=-1, metavar="BEFORE AFTER [MORE]...")
@click.option(
    "--threshold", type=Number(min=0), default=0.1, show_default=True, help="Heads that score this or more before count as masked."
)
@click.option("--figures", type=_DIRECTORY, help="Directory for the before/after scatter of two files, as PNG and SVG.")
@click.option("--model", "model_name", help="Also mask each file's heads in this model, and say whose knock-out curve falls first.")
@click.option("--dtype", default="auto", help="Of --model, as in `harness heads detect`.")
@click.option("--device", default="auto", help="Of --model, as in `harness heads detect`.")
@_UNSAFE
@click.option("--lengths", type=Lengths(), default="512", show_default=True, help="Prompt lengths of the knock-out's needle trials.")
@click.option("--trials", default=16, show_default=True, type=click.IntRange(min=2), help="Trials for each length.")
@click.option("--seed", default=43, show_default=True, help="Of those trials, which are to be others than the scores'.")
@threads_option
def compare(
    files: tuple[Path, ...],
    threshold: float,
    figures: Path | None,
    model_name: str | None,
    dtype: str,
    device: str,
    allow_unsafe_weights: bool,
    lengths: tuple[int, ...],
    trials: int,
    seed: int,
) -> None:
    """Print, as JSON, how far score files of a model agree and could agree, and how masked and other heads changed.

    \b
    Examples:
      harness heads compare before.safetensors after.safetensors --threshold 0.1
      harness heads compare copy.safetensors causal.safetensors greedy.safetensors --model builtin --lengths 256
    """
    if len({file.resolve() for file in files}) < max(2, len(files)):
        raise HarnessError("name two score files or more, each once")
    if figures is not None and len(files) > 2:
        raise HarnessError("--figures draws two files against each other; name two")
    found = {str(file): read_scores(file) for file in files}
    from retmask.heads.relating import knock_out, relate
    from retmask.model import load_tokenizer

    table = relate(found, threshold=threshold)
    if model_name is not None:
        path = resolve(model_name, allow_unsafe_weights=allow_unsafe_weights).path
        model, tokenizer = _network(path, dtype, device), load_tokenizer(path)
        table["knock_out"] = knock_out(found, model, tokenizer, lengths, trials, seed, lambda line: echo(line, err=True))
    if figures is not None:
        from reports.headfigures import save_change

        before, after = found.values()
        save_change(before.mean, after.mean, threshold, figures)
    _echo_json(table)


@heads.command()
@_model
@click.option("--scores", "file", type=_FILE, help="What `harness heads detect` wrote; without it, heads are measured first.")
@click.option("--lengths", type=Lengths(), default="512", show_default=True, help="Prompt lengths of the needle trials, in tokens.")
@click.option("--trials", default=32, show_default=True, type=click.IntRange(min=4), help="Trials for each length.")
@click.option("--controls", default=2, show_default=True, type=click.IntRange(min=1), help="Draws of each control mask.")
@click.option(
    "--margin",
    type=Number(0, 1),
    default=0.1,
    show_default=True,
    help="Needle accuracy that these heads cost beyond controls.",
)
@click.option(
    "--fluency", type=Number(min=1), default=1.5, show_default=True, help="Most that short-text perplexity may grow by: a factor."
)
@click.option("--curves", is_flag=True, help="Measure every size with all its controls, to draw the curves; the verdict needs few of them.")
@click.option("--related", type=_FILE, help="relate.json of `harness relate`: also predict what masking the heads would gain.")
@click.option("--seed", default=42, show_default=True)
@_out("Directory for audit.json and the curves as PNG and SVG.", _DIRECTORY, required=False)
def audit(
    model_name: str,
    dtype: str,
    device: str,
    allow_unsafe_weights: bool,
    file: Path | None,
    lengths: tuple[int, ...],
    trials: int,
    controls: int,
    margin: float,
    fluency: float,
    curves: bool,
    related: Path | None,
    seed: int,
    out: Path | None,
) -> None:
    """Will masking this model's retrieval heads mean anything? Knock-out curves, a number of heads, and a verdict.

    \b
    Examples:
      harness heads audit --model builtin --output audit
      harness heads audit --model builtin --related related/relate.json
    """
    runs = None if related is None else prediction.related(related)
    model_path = resolve(model_name, allow_unsafe_weights=allow_unsafe_weights)
    from retmask.heads.audit import AuditSettings, audit_model
    from retmask.model import load_tokenizer

    settings = AuditSettings(lengths=lengths, trials=trials, controls=controls, margin=margin, fluency=fluency, seed=seed, curves=curves)
    scores = None if file is None else read_scores(file)
    tokenizer = load_tokenizer(model_path.path)
    model = _network(model_path.path, dtype, device)
    found = audit_model(model, tokenizer, model_path.digest, settings, lambda line: echo(line, err=True), scores)
    gains, lines = ({}, []) if runs is None or found.scores is None else prediction.predicted(runs, found.scores, found.k, seed)
    if out is not None:
        _save_audit({**found.to_json(), **gains}, found.scores, found.curves(), out)
    echo("\n".join([found.in_words(), *lines]))


@heads.command()
@_UNSAFE
@click.option("--model", "model_name", required=True, help="A directory, a .gguf file, a Hub id, or a name that `harness models` lists.")
@click.option("--scores", "file", type=click.Path(path_type=Path), required=True, help="What `harness heads detect` wrote.")
@click.option("--mask", type=click.Choice(masks.KINDS), default="retrieval", show_default=True)
@click.option("--threshold", type=Number(min=0), default=0.1, show_default=True, help="Retrieval heads score this or more.")
@click.option("--top-k", type=click.IntRange(min=1), help="Mask this many heads instead, whatever their score.")
@click.option("--seed", default=0, show_default=True, help="Of the control masks, which draw as many heads.")
@_out("Directory for the ablated checkpoint.", _DIRECTORY)
def ablate(
    model_name: str, allow_unsafe_weights: bool, file: Path, mask: str, threshold: float, top_k: int | None, seed: int, out: Path
) -> None:
    """Write a checkpoint with the masked heads' output weights zeroed, to evaluate like any other.

    \b
    Example:
      harness heads ablate --model builtin --scores heads.safetensors --mask random --seed 1 --output runs/random-1
      harness eval --model runs/random-1 --preset builtin --lengths 1k --tasks recall
    """
    model_path = resolve(model_name, allow_unsafe_weights=allow_unsafe_weights)
    scores = read_scores(file)
    target = masks.retrieval(scores, top_k=top_k, threshold=threshold if top_k is None else None)
    chosen = masks.like(mask, scores, target, seed)
    if out.exists() and any(out.iterdir()):
        raise HarnessError(f"{out} is not empty; name a new directory with --output")
    from retmask.interface import write_ablated

    write_ablated(model_path.path, chosen, out)
    echo(f"{out}: {len(chosen.heads)} heads ablated: {' '.join(f'{head.layer}-{head.head}' for head in chosen.heads)}")


def _echo_json(value: Mapping[str, Json]) -> None:
    echo(json.dumps(value, indent=1))


def _writable(*paths: Path | None) -> None:
    """Refuse a place that cannot be written before anything is computed."""
    for path in paths:
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise HarnessError(f"cannot write {path}: {error.strerror}; choose another place") from error


def _draw_scores(scores: HeadScores, threshold: float, directory: Path) -> None:
    from reports.headfigures import save_scores

    save_scores(scores.mean, [head for head, score in scores.ranked() if score >= threshold], threshold, directory)


def _save_audit(facts: Mapping[str, Json], scores: HeadScores | None, curves: Any, directory: Path) -> None:
    from reports import canvas
    from reports.headfigures import knockout_curves
    from retmask.heads.scores import write_atomically

    write_atomically(directory / "audit.json", (json.dumps(facts, indent=1) + "\n").encode())
    if scores is not None:
        scores.save(directory / "heads.safetensors")
        _draw_scores(scores, 0.1, directory)
        k = facts["k"]
        figure = knockout_curves(curves, chosen=k if isinstance(k, int) else None)
        canvas.save(figure, directory / "knockout", "Needle accuracy and perplexity against the number of heads masked.")
