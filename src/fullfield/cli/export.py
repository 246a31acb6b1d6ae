"""``fullfield export``."""

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
from fullfield.cli.values import resolution_key


@click.command(
    cls=Command,
    examples=(
        "fullfield export map.zarr tumour.geojson --class tumour --threshold 0.9",
        "fullfield export map.zarr windows.csv",
        "fullfield export map.zarr map.ome.tif --labels --resolution image",
    ),
)
@click.argument("scores")
@click.argument("file")
@map_options.classes("Index or name of a class; may be repeated. Class 0 is GDAL's band 1.")
@option("--labels", group="What", is_flag=True, help="The top class instead of the scores.")
@option(
    "--threshold", group="Where", type=float, metavar="T", help="Detections: scores of at least T, not the top class."
)
@option(
    "--min-distance",
    group="Where",
    type=float,
    metavar="PX",
    help="Detections: points without a greater one within PX.",
)
@option("--clip", group="Where", metavar="FILE", help="Objects: cut them to the polygons of FILE.")
@option(
    "--resolution",
    group="How",
    default="cells",
    show_default=True,
    metavar="cells|image|HxW",
    help="A pixel a cell, the original image's pixels, or a size for the whole image.",
)
@option(
    "--resample",
    group="How",
    type=click.Choice(["nearest", "bilinear", "lanczos"]),
    default="nearest",
    show_default=True,
    help="How other resolutions are made; window centres stay in place.",
)
@option(
    "--rows",
    group="How",
    type=click.Choice(["windows", "regions", "points"]),
    metavar="windows|regions|points",
    help="Objects: all windows with their scores, detections that share a side merged, or their centres. [default: "
    "windows of .csv and .parquet, otherwise regions]",
)
@map_options.coordinates("Objects", group="How")
@apply(map_options.budget, map_options.geotiff, options.as_json, options.overwrite)
def command(
    *,
    scores: str,
    file: str,
    classes: tuple[int | str, ...],
    resolution: str,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write SCORES, the result of a scan, to FILE in the format of its suffix.

    .tif is GeoTIFF, .ome.tif OME-TIFF; .npy, .png; .geojson, .gpkg, .fgb: objects for QuPath and GIS; .csv, .parquet:
    tables; .zarr and .npz: scores.
    """
    check_file(scores)
    size = resolution_key(resolution)
    from fullfield.exporters import check_output

    check_output(Path(file), overwrite)
    chosen = _detections(file, settings)
    from fullfield.api.export import export

    with show_progress() as display:
        written = export(
            scores,
            file,
            classes=classes or None,
            resolution=size,
            detections=chosen,
            overwrite=overwrite,
            progress=display.of(file),
            **settings,
        )
    if as_json:
        print_json({"written": file, "bytes": written.bytes, "detections": written.detections})
    else:
        echo(f"wrote    {written}")


def _detections(file: str, settings: dict[str, Any]) -> Any:
    """The record of the options for objects, which are taken out of ``settings``; of other formats only what is given.

    Raises:
        ImageError: by ``export``, where they are given for another format.
    """
    from fullfield.exporters.detections import Detections
    from fullfield.files import LAYERS

    names = ("threshold", "rows", "coordinates", "min_distance", "clip")
    chosen = Detections(**{name: settings.pop(name) for name in names})
    return chosen if file.lower().endswith(LAYERS) or chosen != Detections() else None
