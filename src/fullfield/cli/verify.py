"""``fullfield verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fullfield.cli import options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.files import ModelFile, check_file
from fullfield.cli.progress import show_progress
from fullfield.cli.records import apply

if TYPE_CHECKING:
    from fullfield.cli.records import PickedPart


@click.command(
    cls=Command,
    examples=(
        "fullfield verify model.onnx photo.jpg --step 32",
        "fullfield verify model.onnx photo.jpg --scores map.zarr",
        "fullfield verify model.onnx photo.jpg --mode context --samples 256",
    ),
)
@options.model
@options.image
@apply(options.step, options.scale, options.picked, options.where, options.mode, options.compute)
@option(
    "--samples", group="How", type=int, default=64, show_default=True, help="Windows to run as crops, corners included."
)
@options.seed
@option("--scores", group="What", metavar="PATH", help="The result of an earlier scan, instead of a new one.")
@apply(options.json_progress, options.as_json)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    model: ModelFile,
    pick: PickedPart,
    images: tuple[str, ...],
    mode: Any,
    scores: str | None,
    as_json: bool,
    json_progress: bool,
    **settings: Any,
) -> None:
    """Scan IMAGE with MODEL, run sampled windows as crops through the original network, and compare.

    Ends with 1 when exact scores were promised and are not.
    """
    image = pick.trusted(model.trust)(images)
    if scores is not None:
        check_file(scores)
    with show_progress(as_json=json_progress) as display:
        net = display.reading(model.load)
        from fullfield.api.verify import verify

        certificate = verify(
            net,
            image,
            mode="exact" if mode is None else mode,
            scores=scores,
            progress=display.of(images[0]),
            **settings,
        )
    if as_json:
        print_json(certificate.to_dict())
    else:
        echo(certificate)
    if not certificate.holds:
        ctx.exit(1)
