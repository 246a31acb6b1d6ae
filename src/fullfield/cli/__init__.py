"""The command line: one command a file, imported when it is used; the only room that prints."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from fullfield._version import __version__
from fullfield.cli.command import write_examples
from fullfield.cli.echo import echo
from fullfield.errors import FullfieldError, out_of_memory, printable

# In the order of --help; each is `command` in the module of its name.
COMMANDS = (
    "scan",
    "plan",
    "tune",
    "verify",
    "evaluate",
    "export",
    "detect",
    "segment",
    "mask",
    "info",
    "inspect",
    "convert",
    "build",
    "demo",
)
INTERRUPTED = 130
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch reads it once, at its import: large maps in pages of 2 MB
EXAMPLES = (
    "fullfield scan model.onnx photo.jpg --step 32",
    "fullfield scan model.onnx slide.svs --mpp 0.5 -o map.zarr --skip-background",
    "fullfield scan --help",
)


class _Commands(click.Group):
    """Commands by name; turns errors into one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"fullfield.cli.{cmd_name}").command
        return command

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        write_examples(EXAMPLES, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in COMMANDS]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_sentence(each)) for name, each in commands if each is not None])

    def invoke(self, ctx: click.Context) -> Any:
        if "torch" not in sys.modules:  # in the program; not where Python code calls ``main`` after importing torch
            os.environ.setdefault(HUGE_PAGES, "1")
        try:
            return super().invoke(ctx)
        except FullfieldError as error:
            echo(error, err=True)
            ctx.exit(1)
        except (
            MemoryError,
            RuntimeError,
            ImportError,
            OSError,
        ) as error:  # before a verb is called, as torch is imported
            told = out_of_memory(error)
            if told is None:
                raise
            echo(told, err=True)
            ctx.exit(1)
        except click.UsageError as error:  # click prints what was typed
            raise click.UsageError(printable(error.format_message()), error.ctx) from error
        except KeyboardInterrupt:
            echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


def _first_sentence(command: click.Command) -> str:
    """What a command does, never cut."""
    first = " ".join((command.help or "").split("\n\n")[0].split())
    return first.split(". ")[0].rstrip(".") + "."


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fullfield")
def main() -> None:
    """Score every window of an image with a trained classifier.

    Data go to standard output, progress and errors to standard error. Exit codes: 0; 1 when something is wrong with the
    model, the image or the result; 2 for a wrong call; 130 when interrupted.
    """
