"""Options of the image, and of the windows of it that are looked at. Those of records are their fields."""

from __future__ import annotations

import click

from fullfield.cli import records
from fullfield.cli.command import option
from fullfield.cli.records import collected
from fullfield.cli.values import class_keys, pixel_range, positive_sizes

step = option(
    "--step",
    group="What",
    type=positive_sizes("step", "use 1 or more, such as 32"),
    metavar="PX[,PX]",
    help="Px between windows, y before x. [default: the network's stride, often 32: 676 windows in 1024x1024 px; "
    "16: 2601]",
)
scale = option("--scale", group="What", type=float, default=1.0, help="Resize the image by this factor first.")
_PART = (
    "level",
    "mpp",
    "bands",
    "series",
    "z",
    "t",
    "value_range",
    "pixel_size",
    "nodata",
    "valid",
    "scale_offset",
    "icc",
)
_PART_OPTIONS = (
    option("--mpp", group="What", type=float, metavar="UM", help="Scan at so many micrometres per px."),
    option(
        "--level", group="What", type=click.IntRange(min=0), metavar="N", help="Level of the pyramid; 0 is the finest."
    ),
    option(
        "--bands",
        group="What",
        type=class_keys,
        metavar="B,...",
        help="Bands by name, or number: GDAL's band 1 is 0.",
    ),
    option(
        "--series",
        group="What",
        rare=True,
        type=click.IntRange(min=0),
        metavar="N",
        help="Which image of a file with several, from 0.",
    ),
    option("--z", group="What", rare=True, type=click.IntRange(min=0), metavar="N", help="Plane of a stack, from 0."),
    option("--t", group="What", rare=True, type=click.IntRange(min=0), metavar="N", help="Time point, from 0."),
    option(
        "--value-range",
        group="What",
        rare=True,
        type=pixel_range,
        metavar="LOW,HIGH",
        help="Pixel values of black and white: 0,4095 for 12 bits; or percentiles: p1,p99. [default: the file's, or "
        "those of 8 and 16 bits]",
    ),
    option(
        "--pixel-size",
        group="What",
        type=float,
        metavar="UM",
        help="Micrometres per px of the finest level, if not the file's.",
    ),
    option(
        "--nodata",
        group="What",
        type=float,
        metavar="VALUE",
        help="Value of pixels that hold nothing, if not the file's.",
    ),
    option(
        "--valid",
        group="What",
        rare=True,
        type=click.Choice(["any", "all"]),
        default="any",
        show_default=True,
        help="Whether any or all bands of a valid pixel hold data.",
    ),
    option(
        "--scale-offset",
        group="What",
        rare=True,
        is_flag=True,
        help="Apply the scale and the offset that the file gives its bands.",
    ),
    option("--icc", group="What", rare=True, is_flag=True, help="Convert the file's colours (ICC profile) to sRGB."),
)
picked_file = collected("pick", records.image, _PART, *_PART_OPTIONS)
picked = collected(
    "pick",
    records.image,
    (*_PART, "stack", "resampling"),
    option("--stack", group="What", is_flag=True, help="The files are bands of one image."),
    *_PART_OPTIONS,
    option(
        "--resampling",
        group="What",
        rare=True,
        type=click.Choice(["bilinear", "nearest"]),
        default="bilinear",
        show_default=True,
        help="How --stack brings a file to another grid.",
    ),
)
image = click.argument("images", nargs=-1, required=True, metavar="IMAGE")

_WHERE = ("region", "mask", "coordinates", "skip_background", "min_coverage", "edge")
_WHERE_OPTIONS = (
    option("--region", group="Where", metavar="Y0:Y1,X0:X1", help="Part to scan, px; of a signal START:STOP."),
    option("--mask", group="Where", metavar="FILE", help="Where to look: a picture (not 0 there) or polygons."),
    option(
        "--coordinates",
        group="Where",
        rare=True,
        type=click.Choice(["auto", "image", "map"]),
        default="auto",
        show_default=True,
        help="What a mask of polygons counts: px of the image, or its map's coordinates.",
    ),
    option("--skip-background", group="Where", is_flag=True, help="Look only at tissue or other content."),
    option(
        "--min-coverage",
        group="Where",
        rare=True,
        type=click.FloatRange(0, 1),
        default=0.0,
        metavar="F",
        help="Least part of a window that mask, content and valid pixels must cover, 0 to 1. [default: any pixel]",
    ),
    option(
        "--edge",
        group="Where",
        type=click.Choice(["valid", "reflect", "replicate", "constant"]),
        metavar="HOW",
        default="valid",
        help="valid, or continued by reflect, replicate, constant.",
    ),
)
where = collected("where", records.where, _WHERE, *_WHERE_OPTIONS)
clipped_where = collected(
    "where",
    records.where,
    (*_WHERE, "clip"),
    *_WHERE_OPTIONS,
    option(
        "--clip",
        group="Where",
        rare=True,
        is_flag=True,
        help="Cut the objects of .geojson, .gpkg, .fgb, .csv, .parquet to the polygons of --mask.",
    ),
)
