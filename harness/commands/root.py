"""The root of the command line: it finds a command by its name, runs it, and turns what went wrong into one line and an exit code."""

import errno
import re
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from itertools import pairwise
from typing import Any, Final

import click

from harness.api import HarnessError
from harness.commands.groups import Listing
from harness.commands.summaries import SUMMARIES
from harness.engines.allocator import keep_freed_memory
from harness.screen import ends
from harness.screen.quiet import hush
from harness.screen.terminal import echo
from reports.safe import one_line

#: Entry points of click commands: our own, and those that other packages add.
_COMMANDS: Final = "harness.commands"
#: An option with nothing behind its sign.
_EMPTY: Final = re.compile(r"--[a-z-]+=")
#: No space, no quota, or a limit on the size of files.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


#: At the end of `harness --help`; docs/reliability.md says more.
_EXIT_CODES: Final = """\b
Exit codes:
  0  done
  1  a check did not pass, or a reproduction came out differently
  2  an error, and the line above says what to do about it
  3  incomplete: some examples could not be answered; all others are kept, and the same command goes on
  4  `harness check` has too little data to decide
  70  a fault that nobody foresaw; please report it
  130, 143  ended by Ctrl-C or SIGTERM; the same command goes on
"""


class HarnessGroup(Listing):
    """Turns a :class:`HarnessError` into one line and exit code 2, and finds the commands that other packages bring."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=_COMMANDS))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        loaded = (point.load() for point in entry_points(group=_COMMANDS, name=cmd_name))
        return next((command for command in loaded if isinstance(command, click.Command)), None)

    def described(self, ctx: click.Context, name: str) -> click.Command | None:
        """Give what stands in for a command of ours, which is not loaded for its help."""
        if name in SUMMARIES and name not in self.commands:
            return click.Command(name, help=SUMMARIES[name])
        return super().described(ctx, name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse an empty value, which an unset variable of a shell's leaves: it would mean that nothing was asked for."""
        for number, (before, value) in enumerate(pairwise(["", *args])):
            if _EMPTY.fullmatch(value) or (not value and self._takes_value(ctx, args[:number])):
                raise click.UsageError(f"{value.rstrip('=') or before} is empty; leave it out, or give it a value", ctx)
            if not value:
                where = f"the argument after {before!r}" if before else "the first argument"
                raise click.UsageError(f"{where} is empty; leave it out, or write something", ctx)
        return super().parse_args(ctx, args)

    def _takes_value(self, ctx: click.Context, words: Sequence[str]) -> bool:
        """Say whether the last of ``words`` is an option that takes the word after it."""
        command: click.Command = self
        for word in words:
            command = (command.get_command(ctx, word) if isinstance(command, click.Group) else None) or command
        named = (each for each in command.params if isinstance(each, click.Option) and words and words[-1] in each.opts)
        return any(not each.is_flag and not each.count for each in named)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        def command() -> Any:
            return Listing.main(self, args, prog_name, complete_var, False, **extra)

        self._debug = False
        return sys.exit(ends.run(command, lambda: self._debug)) if standalone_mode else command()

    def _main_shell_completion(self, *args: Any, **extra: Any) -> None:
        try:
            super()._main_shell_completion(*args, **extra)
        except SystemExit as end:  # click's own way to end, where nothing was run
            raise click.exceptions.Exit(end.code if isinstance(end.code, int) else 0) from None

    def invoke(self, ctx: click.Context) -> Any:
        self._debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            if ctx.params.get("debug"):
                raise
            echo(f"harness: {one_line(str(error))}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if ctx.params.get("debug") or error.errno not in _FULL:
                raise
            where = f" for {error.filename}" if error.filename else ""
            echo(f"harness: {error.strerror}{where}; make room and start the same command again: what is finished is kept", err=True)
            ctx.exit(2)


@click.group(cls=HarnessGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES)
@click.version_option(package_name="retmask-harness")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Does this training method make this model better at long context, and how sure are we?

    \b
    Try it on the model that ships with the project:
      harness run --model builtin --method retmask --method randmask
    """
    keep_freed_memory()
    if not debug:
        hush()


if __name__ == "__main__":
    main()
