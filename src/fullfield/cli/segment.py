"""``fullfield segment``."""

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
from fullfield.cli.values import resolution_key, threshold
from fullfield.text import number_of


@click.command(
    cls=Command,
    examples=(
        "fullfield segment map.zarr labels.tif --min-area 500",
        "fullfield segment map.zarr labels.png --image scene.tif --guided 16",
        "fullfield segment map.zarr tumour.geojson --class tumour --threshold 0.3,0.7",
    ),
)
@click.argument("scores")
@click.argument("file")
@map_options.classes("Index or name of a class that is compared; may be repeated. [default: all]")
@option(
    "--activation",
    group="What",
    type=click.Choice(["softmax", "sigmoid"]),
    help="Turn logits into probabilities first.",
)
@option(
    "--threshold",
    "thresholds",
    group="What",
    multiple=True,
    type=threshold,
    metavar="[CLASS=]T[,HIGH]",
    help="Least score of the top class, of all or one. With HIGH (hysteresis) a segment must reach it somewhere.",
)
@option(
    "--image", group="What", metavar="FILE", help="The image that was scanned, for --guided; opened as scan opens it."
)
@option("--guided", group="How", type=int, metavar="PX", help="Filter scores along the image's edges, radius PX.")
@option(
    "--epsilon",
    group="How",
    type=float,
    default=1e-3,
    show_default=True,
    metavar="E",
    help="Of --guided: edges of less variance are smoothed over; black to white is 1.",
)
@option("--min-area", group="How", type=float, default=0, metavar="PX", help="Merge segments of less px of the image.")
@option("--fill-holes", group="How", type=float, default=0, metavar="PX", help="Fill holes of at most so many px.")
@option(
    "--resolution",
    group="How",
    type=resolution_key,
    default="image",
    show_default=True,
    metavar="image|HxW",
    help="A pixel of the image each, or a size for the whole image.",
)
@map_options.budget
@map_options.coordinates("Polygons")
@apply(map_options.geotiff, options.picked_file, options.as_json, options.overwrite)
def command(
    *,
    scores: str,
    file: str,
    image: str | None,
    pick: Any,
    thresholds: tuple[tuple[Any, Any], ...],
    classes: tuple[int | str, ...],
    budget: str | None,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write the segments of SCORES, the result of a scan, to FILE: a class for each pixel of the image.

    .tif is GeoTIFF, .ome.tif OME-TIFF; .npy, .png, .zarr: labels; .geojson, .gpkg, .fgb: a polygon for each segment;
    .csv, .parquet: a row.
    """
    check_file(scores)
    guide = None if image is None else pick(image)
    from fullfield.files import LAYERS, check_writable

    check_writable(Path(file), overwrite, suffixes=(".tif", ".tiff", ".npy", ".zarr", ".png", ".webp", *LAYERS))
    output = {name: settings.pop(name) for name in ("coordinates", "cog", "compression")}
    from fullfield.api.scores import open_scores
    from fullfield.decisions.segmentation import Segmentation

    how = Segmentation(classes=classes or None, threshold=_thresholds(thresholds), **settings)
    with show_progress() as display:
        report = display.of(file)
        found = open_scores(scores).segments(how, image=guide, budget=budget, progress=report)
        written = found.save(file, overwrite=overwrite, budget=budget, progress=report, **output)
    if as_json:
        counts = [
            {"class": each.cls, "name": each.name, "segments": each.segments, "area": each.area}
            for each in found.counts
        ]
        print_json({"written": file, "bytes": written.bytes, "segments": found.count, "classes": counts})
        return
    for each in found.counts:
        if each.segments:
            echo(f"{each.name}: {number_of(each.segments, 'segment')}, {each.area} px")
    echo(f"wrote    {written.path}, {written.bytes} bytes, {number_of(found.count, 'segment')}")


def _thresholds(given: tuple[tuple[Any, Any], ...]) -> Any:
    """One threshold for all classes, or thresholds by class.

    Raises:
        UsageError: both.
    """
    if not given:
        return None
    if len(given) == 1 and given[0][0] is None:
        return given[0][1]
    if any(cls is None for cls, _ in given):
        raise click.UsageError("--threshold is given for all classes once, or for each class by name: CLASS=T")
    return dict(given)
