"""``fullfield export``."""

from __future__ import annotations

from typing import Any

import click

from fullfield.cli import options


@click.command()
@click.argument("scores")
@click.argument("out")
@click.option("--class", "classes", multiple=True, metavar="CLASS", help="Index or name of a class; may be repeated.")
@click.option(
    "--labels", is_flag=True, help="The class with the greatest score instead of the scores; not for .geojson and .npz."
)
@click.option(
    "--resolution",
    default="cells",
    show_default=True,
    metavar="cells|image|HxW",
    help="A pixel a cell, the original image's pixels, or a size for the whole image.",
)
@click.option(
    "--resample",
    type=click.Choice(["nearest", "bilinear", "lanczos"]),
    default="nearest",
    show_default=True,
    help="How other resolutions are made; window centres stay in place.",
)
@click.option("--cog/--no-cog", default=True, show_default=True, help="Cloud-optimised GeoTIFF, or a plain one.")
@click.option(
    "--compression",
    type=click.Choice(["deflate", "zstd", "lzw", "none"]),
    default="deflate",
    show_default=True,
    help="Of GeoTIFF.",
)
@click.option("--threshold", type=float, metavar="T", help="Detections: scores of at least T, not the top class.")
@click.option(
    "--geometry",
    type=click.Choice(["polygons", "points"]),
    default="polygons",
    show_default=True,
    help="Detections: cells that share a side merged, or window centres.",
)
@click.option(
    "--coordinates",
    type=click.Choice(["image", "map", "wgs84"]),
    default="image",
    show_default=True,
    help="Detections: px of the image, its map's coordinates, or degrees.",
)
@click.option("--min-distance", type=float, metavar="PX", help="Detections: points without a greater one within PX.")
@options.apply(options.overwrite, options.as_json)
def command(
    *,
    scores: str,
    out: str,
    classes: tuple[str, ...],
    resolution: str,
    threshold: float | None,
    geometry: Any,
    coordinates: Any,
    min_distance: float | None,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write SCORES, a .zarr or .npz of a scan, to OUT in the format of its suffix.

    .tif is GeoTIFF, .ome.tif OME-TIFF; .npy and pictures; .geojson holds detections that QuPath and GIS read; .zarr
    and .npz hold the scores of the classes chosen. Classes count from 0; GDAL counts the bands of a GeoTIFF from 1.
    """
    from fullfield.api.export import export
    from fullfield.cli.progress import progress_bar
    from fullfield.exporters.detections import Detections

    wanted = Detections(threshold, geometry, coordinates, min_distance)
    with progress_bar("export") as progress:
        written = export(
            scores,
            out,
            classes=classes or None,
            resolution=_resolution(resolution),
            detections=None if wanted == Detections() else wanted,
            overwrite=overwrite,
            progress=progress,
            **settings,
        )
    if as_json:
        found = {} if written.detections is None else {"detections": written.detections}
        options.print_json({"written": out, "bytes": written.bytes, **found})
    else:
        click.echo(f"wrote    {written}")


def _resolution(text: str) -> Any:
    """``cells``, ``image``, or height and width."""
    if text in ("cells", "image"):
        return text
    try:
        return options.pair(text)
    except (ValueError, click.BadParameter) as error:
        raise click.BadParameter(f"{text!r} is not cells, image or HxW", param_hint="--resolution") from error
