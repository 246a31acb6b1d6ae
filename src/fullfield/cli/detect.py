"""``fullfield detect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fullfield.cli import map_options, options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.files import check_file
from fullfield.cli.progress import show_progress
from fullfield.cli.records import apply
from fullfield.files import LAYERS, check_writable


@click.command(
    cls=Command,
    examples=(
        "fullfield detect map.zarr -o boxes.geojson --class face --threshold 0.9",
        "fullfield detect a.zarr b.zarr -o boxes.gpkg --threshold 0.9 --merge 0.5",
        "fullfield detect map.zarr --threshold 0.9 --min-distance 24",
    ),
)
@click.argument("scores", nargs=-1, required=True, metavar="SCORES...")
@map_options.classes("Index or name of a class; may be repeated. [default: all]")
@option(
    "--threshold",
    group="What",
    type=float,
    metavar="T",
    help="Least score of a window. [default: every window is a candidate of its top class]",
)
@option(
    "--nms",
    group="How",
    type=float,
    metavar="IOU",
    help="Keep a window unless it overlaps a kept one of a greater score by more than this. [default: 0.3]",
)
@option(
    "--merge",
    group="How",
    type=float,
    metavar="M",
    help="Merge the two best matching windows into their average, as OverFeat does, while the distance of their "
    "centres in sides plus 1 less their overlap is at most M.",
)
@option(
    "--min-distance",
    group="How",
    type=float,
    metavar="PX",
    help="Keep local maxima: windows without a greater one within PX; one of each plateau.",
)
@option("--across-classes", group="How", is_flag=True, help="Windows suppress those of other classes too.")
@map_options.budget
@option("-o", "--output", group="Output", metavar="FILE", help=".geojson, .csv, .parquet, .gpkg or .fgb.")
@map_options.coordinates("Boxes")
@apply(options.as_json, options.overwrite)
def command(
    *,
    scores: tuple[str, ...],
    classes: tuple[int | str, ...],
    output: str | None,
    coordinates: Any,
    as_json: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Find objects in SCORES, the maps of an image, as boxes.

    Several maps of one image, scanned with different --scale, give the objects of all sizes. Without -o the boxes are
    printed, the greatest score first: class, score, and top, left, bottom and right in px of the image.
    """
    for each in scores:
        check_file(each)
    if output is not None:
        check_writable(Path(output), overwrite, suffixes=LAYERS)
    from fullfield.api.detect import detect

    with show_progress() as display:
        found = detect(list(scores), classes=classes or None, progress=display.of(scores[0]), **settings)
        written = None if output is None else found.save(output, coordinates=coordinates, overwrite=overwrite)
    if as_json:
        facts = {"boxes": len(found), "written": output, "bytes": None if written is None else written.bytes}
        every = [each._asdict() for each in found] if written is None else None
        print_json(facts if every is None else facts | {"found": every})
    elif written is not None:
        echo(f"wrote    {written}")
    else:
        for box in found:
            echo(f"{box.name}  {box.score:.4g}  {' '.join(f'{edge:g}' for edge in box[:4])}")
