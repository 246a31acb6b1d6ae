"""The directive `command-help`: a section for each command of `fullfield`, with its `--help-all` as it is printed."""

from collections.abc import Iterator

import click
from click.testing import CliRunner
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from fullfield.cli import main

WIDTH = 80


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        yield (*path, name)
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def help_text(path: tuple[str, ...]) -> str:
    arguments = [*path, "--help-all" if path else "--help"]
    result = CliRunner().invoke(main, arguments, prog_name="fullfield", terminal_width=WIDTH, max_content_width=WIDTH)
    if result.exit_code != 0:
        raise RuntimeError(f"fullfield {' '.join(path)} {arguments[-1]} ends with {result.exit_code}:\n{result.output}")
    return result.output


class CommandHelp(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        found: list[nodes.Node] = [nodes.literal_block(text=help_text(()), language="text")]
        for path in commands(main):
            name = " ".join(path)
            section = nodes.section(ids=[nodes.make_id(f"fullfield {name}")])
            section += nodes.title(text=name)
            section += nodes.literal_block(text=help_text(path), language="text")
            found.append(section)
        return found


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
