"""``fullfield inspect``."""

from __future__ import annotations

import click

from fullfield.cli import options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.files import ModelFile
from fullfield.cli.values import pair


@click.command(
    cls=Command,
    examples=(
        "fullfield inspect model.onnx",
        "fullfield inspect model.onnx --at 512x768",
        "fullfield inspect model.pt2 --trust --window 224 --json",
    ),
)
@options.model
@option("--at", group="What", type=pair, metavar="PX[xPX]", help="Also the layers' sizes on an image of this size.")
@options.as_json
def command(model: ModelFile, at: tuple[int, int] | None, as_json: bool) -> None:
    """Describe MODEL layer by layer: geometry, parameters, work, receptive field, borders."""
    from fullfield.api.inspect import inspect

    report = inspect(model.load(), at=at)
    if as_json:
        print_json(report.to_dict())
    else:
        echo(report)
