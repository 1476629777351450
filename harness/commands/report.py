"""``harness report``: a run's page, written again (entry-point group ``harness.commands``)."""

from pathlib import Path

import click

from harness.screen.terminal import echo

_MEGABYTE = 1 << 20


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="HTML file to write.  [default: RUN/report.html]")
@click.option("--text-budget", type=click.IntRange(0, 16), default=12, show_default=True,
              help="Megabytes of examples' texts inside the page; the rest goes into PAGE_files/ beside it.")  # fmt: skip
@click.option("--prompt-budget", type=click.IntRange(0), default=256, show_default=True,
              help="Megabytes of whole prompts beside the page, those of changed scores first; 0 for none.")  # fmt: skip
@click.option("--figures", type=click.Path(path_type=Path, file_okay=False), help="Directory for every figure of the page, as SVG and PNG.")
@click.option("--history", multiple=True, metavar="EVALUATION",
              help="Evaluation of these questions and more: their difficulty sharpens intervals where it can. Repeatable.")  # fmt: skip
def report(run: Path, output: Path | None, text_budget: int, prompt_budget: int, figures: Path | None, history: tuple[str, ...]) -> None:
    """Write the HTML report of a finished run: verdict, intervals, curves, heads, and every single example.

    \b
    Examples:
      harness report runs/demo
      harness report runs/demo --output demo.html --text-budget 4
      harness report runs/demo --figures paper/
      harness report runs/few --history runs/many:baseline
    """
    from harness.store.find import check_finished

    check_finished(run)
    from harness.publishing.pages import rebuild

    echo(f"report: {rebuild(run, output, text_budget * _MEGABYTE, prompt_budget * _MEGABYTE, history, figures)}")
