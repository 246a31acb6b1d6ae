"""``fullfield export``."""

from __future__ import annotations

from pathlib import Path
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
    *, scores: str, out: str, classes: tuple[str, ...], resolution: str, overwrite: bool, as_json: bool, **settings: Any
) -> None:
    """Write SCORES, a .zarr or .npz of a scan, to OUT in the format of its suffix.

    .tif is GeoTIFF, .ome.tif OME-TIFF; .npy and .png; .geojson holds detections that QuPath and GIS read; .zarr
    and .npz hold the scores of the classes chosen.
    """
    from fullfield.api.export import export
    from fullfield.cli.progress import progress_bar

    with progress_bar("export") as progress:
        export(
            scores,
            out,
            classes=classes or None,
            resolution=_resolution(resolution),
            overwrite=overwrite,
            progress=progress,
            **settings,
        )
    size = _bytes(Path(out))
    if as_json:
        options.print_json({"written": out, "bytes": size})
    else:
        click.echo(f"wrote    {out}, {size} bytes")


def _resolution(text: str) -> Any:
    """``cells``, ``image``, or height and width."""
    if text in ("cells", "image"):
        return text
    try:
        return options.pair(text)
    except (ValueError, click.BadParameter) as error:
        raise click.BadParameter(f"{text!r} is not cells, image or HxW", param_hint="--resolution") from error


def _bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size
