"""How help is laid out: commands with a whole sentence each, options in groups, what matters first."""

from collections.abc import Mapping, Sequence
from typing import Final

import click

_GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "What is evaluated": ("model_name", "methods", "options", "heads", "preset", "output", "seed", "seeds"),
    "Questions": ("tasks", "lengths", "examples", "clip", "data", "edition", "wording", "reference_points"),
    "Instructions and pairs": (
        *("prompts_from", "prompts", "rejected_from", "top_p", "max_new_tokens", "drop_repetitive"),
        *("drop_unfinished", "prompts_only", "out", "method", "settings", "pairs_from"),
    ),
    "Training": (
        *("loss", "learning_rate", "epochs", "batch_size", "micro_batch_size", "max_length", "lora_rank", "gradient_checkpointing"),
        *("parallel", "processes", "report_to"),
    ),
    "Answers": ("framing", "think_tokens", "generations", "temperature"),
    "Scores and comparison": (
        *("scoring", "judge", "judge_model", "judge_backend", "judge_url", "judge_tokens", "judge_generations", "margin"),
        *("stop_early", "stop_margin", "against"),
    ),
    "Extra tasks of lm-eval": ("extra_tasks", "include_path", "extra_limit", "extra_fewshot", "extra_chat_template"),
    "Engine and machine": (
        *("backend", "device", "dtype", "threads", "batch_tokens", "tensor_parallel", "pipeline_parallel"),
        *("url", "served_model", "served_api", "timeout"),
    ),
    "What may be trusted": ("allow_unsafe_weights", "trust_remote_code", "allow", "allow_url"),
}
#: For options of no group.
_REST: Final = "This command"


#: More than any first sentence has.
_WHOLE: Final = 10_000


class Listing(click.Group):
    """A group whose help says the whole first sentence of each command, in as many lines as it takes: click cuts it off at one."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with what it is for."""
        with formatter.section("Commands"):
            found = {name: self.described(ctx, name) for name in self.list_commands(ctx)}
            formatter.write_dl([(name, each.get_short_help_str(_WHOLE) if each else "") for name, each in found.items()])

    def described(self, ctx: click.Context, name: str) -> click.Command | None:
        """Give the command whose help says what ``name`` is for."""
        return self.get_command(ctx, name)


class Grouped(click.Command):
    """A command whose help has its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each below the heading of its group."""
        rows: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*_GROUPS, _REST)}
        order = {name: position for position, name in enumerate(name for names in _GROUPS.values() for name in names)}
        for parameter in sorted(self.get_params(ctx), key=lambda each: order.get(each.name or "", len(order))):
            if (row := parameter.get_help_record(ctx)) is not None:
                rows[next((heading for heading, names in _GROUPS.items() if parameter.name in names), _REST)].append(row)
        for heading, each in rows.items():
            if each:
                with formatter.section(heading):
                    formatter.write_dl(each)
