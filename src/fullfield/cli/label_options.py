"""Options of labels that maps are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from fullfield.cli.command import option
from fullfield.cli.records import apply
from fullfield.cli.values import class_key, positive_pair, renamed

LABEL_FIELDS = ("rename", "property", "outside", "distance", "image_size", "label_coordinates")
label_fields = apply(
    option(
        "--rename",
        group="What",
        multiple=True,
        type=renamed,
        metavar="LABEL=CLASS",
        help="What a label is called among the map's classes; LABEL= leaves it out. May be repeated.",
    ),
    option("--outside", group="What", type=class_key, metavar="CLASS", help="Class of what no label covers."),
    option("--property", group="What", rare=True, metavar="NAME", help="GeoJSON property that holds the class."),
    option(
        "--distance",
        group="How",
        rare=True,
        type=float,
        metavar="PX",
        help="FROC: a detection this close to a point finds it. [default: half the window]",
    ),
    option(
        "--image-size",
        group="Where",
        rare=True,
        type=positive_pair("image size", "give height and width, px"),
        metavar="HxW",
        help="Size of the level whose px the labels count. [default: the finest]",
    ),
)


def label_coordinates(name: str) -> Callable[[Any], Any]:
    """The option for what the coordinates of labels count, by its name."""
    return option(
        name,
        "label_coordinates",
        group="Where",
        rare=name != "--coordinates",
        type=click.Choice(["auto", "image", "map"]),
        default="auto",
        show_default=True,
        help="What the labels' GeoJSON and CSV count: px of the image, or its map's coordinates.",
    )
