"""Options that the commands share which make files of maps: export, detect, segment and mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from fullfield.cli.command import option
from fullfield.cli.records import apply
from fullfield.cli.values import class_key


def classes(text: str) -> Callable[[Any], Any]:
    """The option that names classes, each by itself, with its help."""
    return option("--class", "classes", group="What", multiple=True, type=class_key, metavar="CLASS", help=text)


def coordinates(what: str, *, group: str = "Output") -> Callable[[Any], Any]:
    """The option for the coordinates of objects.

    Args:
        what: the objects are called in its help.
        group: of the help.
    """
    return option(
        "--coordinates",
        group=group,
        type=click.Choice(["auto", "image", "map", "wgs84"]),
        default="auto",
        metavar="auto|image|map|wgs84",
        help=f"{what}: px of the image, its map's coordinates, or degrees. [default: the map's if it has some]",
    )


budget = option("--budget", group="How", metavar="SIZE", help="Memory allowed, such as 150MB. [default: about 0.3 GB]")
geotiff = apply(
    option("--cog/--no-cog", group="Output", default=True, show_default=True, help="Cloud-optimised GeoTIFF or plain."),
    option(
        "--compression",
        group="Output",
        type=click.Choice(["deflate", "zstd", "lzw", "none"]),
        default="deflate",
        show_default=True,
        help="Of GeoTIFF.",
    ),
)
