"""A click command whose help shows options in groups and examples, and which suggests options for unknown ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from fullfield.arguments import option_suggestion

GROUPS = ("What", "Where", "How", "Output", "Model")  # in the order of --help


class GroupedOption(click.Option):
    """An option with its place in the help.

    Args:
        group: one of ``GROUPS``.
        rare: shown by ``--help-all`` only.
    """

    def __init__(self, *args: Any, group: str, rare: bool = False, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group
        self.rare = rare


def option(*names: str, group: str, rare: bool = False, **attributes: Any) -> Callable[[Any], Any]:
    """As ``click.option``, for an option with its place in the help."""
    return click.option(*names, cls=GroupedOption, group=group, rare=rare, **attributes)


class Command(click.Command):
    """A command with grouped help; ``--help`` shows the common options, ``--help-all`` every one.

    Args:
        examples: command lines.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = tuple(examples)
        self.params.append(
            click.Option(["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all_help)
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; an unknown option comes with the one that was probably meant."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            known = [each for parameter in self.params for each in (*parameter.opts, *parameter.secondary_opts)]
            raise click.UsageError(f"there is no option {name}; {option_suggestion(name, known)}", ctx) from error

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The description and the examples."""
        super().format_help_text(ctx, formatter)
        write_examples(self.examples, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options by group."""
        every = bool(ctx.meta.get(_EVERY))
        grouped = [parameter for parameter in self.params if isinstance(parameter, GroupedOption)]
        for group in GROUPS:
            options = [each for each in grouped if each.group == group and (every or not each.rare)]
            rows = [row for each in options if (row := each.get_help_record(ctx)) is not None]
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)
        hidden = 0 if every else sum(each.rare for each in grouped)
        formatter.write_paragraph()
        more = f" --help-all adds {hidden} more options." if hidden else ""
        formatter.write_text(f"-h, --help shows this.{more}")


_EVERY = "fullfield.help_all"


def _show_all_help(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        ctx.meta[_EVERY] = True
        click.echo(ctx.get_help())
        ctx.exit()


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """A section of command lines, each on a line of its own, never wrapped."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")
