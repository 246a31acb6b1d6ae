"""The command line: one command a file, imported when it is asked for; the only layer that prints."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from fullfield._version import __version__
from fullfield.errors import FullfieldError

# In the order of --help; each is `command` in the module of its name.
COMMANDS = ("inspect", "convert", "plan", "tune", "scan", "export", "verify", "build", "demo")
INTERRUPTED = 130
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # read by torch, once: maps of megabytes in pages of 2 MB


class _Commands(click.Group):
    """Commands by name, and the boundary where errors become one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"fullfield.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        if "torch" not in sys.modules:  # the process is ours
            os.environ.setdefault(HUGE_PAGES, "1")
        try:
            return super().invoke(ctx)
        except FullfieldError as error:
            click.echo(error, err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fullfield")
def main() -> None:
    """Score every window of an image with a trained classifier.

    Exit codes: 0; 1 when something is wrong with the network, the image or the result; 2 for a wrong call; 130 when
    interrupted.
    """
