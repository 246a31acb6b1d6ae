"""``fullfield mask``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fullfield.cli import map_options, options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.progress import show_progress
from fullfield.cli.records import apply

if TYPE_CHECKING:
    from fullfield.cli.records import PickedPart


@click.command(
    cls=Command,
    examples=(
        "fullfield mask slide.svs -o tissue.geojson",
        "fullfield mask scene.tif -o valid.tif",
        "fullfield mask slide.svs -o tissue.png",
    ),
)
@options.image
@apply(options.picked, options.trust)
@option("--budget", group="How", metavar="SIZE", help="Memory allowed, such as 2GB.")
@option("-o", "--output", group="Output", metavar="FILE", help=".geojson, .gpkg, .fgb, .tif, .ome.tif, .png.")
@map_options.coordinates("Polygons")
@apply(options.as_json, options.overwrite)
def command(
    *,
    images: tuple[str, ...],
    pick: PickedPart,
    trust: bool,
    budget: str | None,
    output: str | None,
    coordinates: Any,
    as_json: bool,
    overwrite: bool,
) -> None:
    """Find what of IMAGE is not background: tissue on a slide, what a map does not leave empty.

    It is what scan --skip-background looks at. Polygons and rasters can be edited and given to --mask.
    """
    image = pick.trusted(trust)(images)
    if output is not None:
        from fullfield.exporters.foreground import SUFFIXES
        from fullfield.files import check_writable

        check_writable(output, overwrite, suffixes=SUFFIXES)
    from fullfield.api.find_foreground import find_foreground, save_foreground

    with show_progress() as display:
        found = find_foreground(image, budget=budget, progress=display.of(images[0]))
        written = None
        if output is not None:
            written = save_foreground(found, output, coordinates=coordinates, overwrite=overwrite)
    if as_json:
        facts = {"background": found.background, "share": found.share, "written": output}
        print_json(facts | {"objects": None if written is None else written.detections})
        return
    echo(f"found    {found.summary}")
    if written is not None:
        echo(f"wrote    {written}")
