"""``fullfield info``."""

from __future__ import annotations

from typing import Any

import click

from fullfield.cli import options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.files import check_file
from fullfield.importers.checkpoints.names import parse_network_name
from fullfield.text import number_of


@click.command(
    cls=Command,
    examples=("fullfield info slide.svs", "fullfield info model.onnx", "fullfield info map.zarr --check"),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE")
@option("--stack", group="What", is_flag=True, help="The files are bands of one image.")
@option("--check", group="What", is_flag=True, help="Read all of it: compare checksums, decode every pixel.")
@options.as_json
@options.model_options
def command(
    *,
    files: tuple[str, ...],
    stack: bool,
    check: bool,
    as_json: bool,
    loading: dict[str, Any],
) -> None:
    """Say what FILE is: an image, a model or the result of a scan.

    Of an image size, levels, resolution, bands and reader; of a model window, classes and preprocessing; of a result
    how it was made.
    """
    if (len(files) > 1) is not stack:
        raise click.UsageError(f"one file is taken, or several with --stack; {number_of(len(files), 'file')} given")
    for file in files:
        if parse_network_name(file) is None:
            check_file(file)
    from fullfield.api.info import info

    found = info(files if stack else files[0], check=check, **loading)
    if as_json:
        print_json(found.to_dict())
    else:
        echo(found)
