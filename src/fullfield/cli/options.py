"""Options that several commands share. Those of Where, Compute, Encoding and Target are the records' fields."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import click

from fullfield.cli import records
from fullfield.cli.command import option
from fullfield.cli.echo import echo_json
from fullfield.cli.records import apply, collected
from fullfield.cli.values import (
    any_mode,
    any_modes,
    class_key,
    class_keys,
    factors,
    interval,
    pair,
    pixel_range,
    positive_pair,
    positive_sizes,
    renamed,
    score_key,
    view_names,
)
from fullfield.model.window_resize import INTERPOLATIONS
from fullfield.model.window_standardise import STANDARDISE

# -- What --------------------------------------------------------------------------------------------------------------

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

# -- Where -------------------------------------------------------------------------------------------------------------

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

# -- How ---------------------------------------------------------------------------------------------------------------

_MODE = (
    "exact: the crops' scores. context: layers that pad see neighbouring pixels; faster. B[,N]: B border cells as in "
    "the crop, maps of up to N cells whole. [default: exact]"
)
mode = option("--mode", group="How", type=any_mode, metavar="MODE", help=_MODE)
modes = option("--mode", group="How", type=any_modes, metavar="MODE", help=_MODE)
target = collected(
    "target",
    records.target,
    ("tolerance", "agreement"),
    option("--tolerance", group="How", type=float, metavar="E", help="Find the fastest mode with at most this error."),
    option(
        "--agreement",
        group="How",
        rare=True,
        type=float,
        metavar="A",
        help="Find the fastest mode whose top class is the crop's at so many windows, such as 0.99.",
    ),
)
_budget = option(
    "--budget",
    group="How",
    metavar="SIZE",
    help="Memory, such as 2GB. [default: 2 GiB, or a window's need]",
)
_device = option("--device", group="How", metavar="DEVICE", help="Where to compute, such as cpu or cuda:0.")
_engine = option(
    "--engine",
    group="How",
    type=click.Choice(["auto", "torch", "openvino", "onnxruntime"]),
    metavar="ENGINE",
    default="auto",
    help="torch, openvino, onnxruntime. [default: the fastest]",
)
_precision = option(
    "--precision",
    group="How",
    type=click.Choice(["float32", "tf32", "bfloat16", "float16"]),
    metavar="TYPE",
    help="float32, bfloat16, float16; tf32 on GPUs.",
)
_threads = option(
    "--threads",
    group="How",
    rare=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads of the engine. [default: all cores]",
)
_tile = option(
    "--tile",
    group="How",
    rare=True,
    type=pair,
    metavar="N[,N]",
    help="Rows and columns of windows computed together. [default: the plan's choice]",
)
_method = option(
    "--method",
    group="How",
    rare=True,
    type=click.Choice(["auto", "atrous", "fragments", "shifted"]),
    default="auto",
    show_default=True,
    help="How steps finer than the network's stride are computed; the scores are the same.",
)
_share = (
    option(
        "--rank",
        group="How",
        rare=True,
        type=click.IntRange(min=0),
        default=0,
        metavar="R",
        help="This is process R, from 0, of those that share one output.",
    ),
    option(
        "--world",
        group="How",
        rare=True,
        type=click.IntRange(min=1),
        default=1,
        metavar="N",
        help="Number of processes that share one output.",
    ),
)
_COMPUTE = ("budget", "tile", "method", "device", "engine", "precision", "threads")
_COMPUTE_OPTIONS = (_budget, _device, _engine, _precision, _threads, _tile, _method)
compute = collected("compute", records.compute, _COMPUTE, *_COMPUTE_OPTIONS)
shared_compute = collected("compute", records.compute, (*_COMPUTE, "rank", "world"), *_COMPUTE_OPTIONS, *_share)
seed = option(
    "--seed", group="How", rare=True, type=int, default=0, show_default=True, help="Seed of the draw of these windows."
)

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


# -- Output ------------------------------------------------------------------------------------------------------------

encoding = collected(
    "encoding",
    records.encoding,
    ("classes", "labels", "activation", "dtype", "range"),
    option("--classes", group="Output", type=class_keys, metavar="A,...", help="Only these classes, by name or index."),
    option("--labels", group="Output", is_flag=True, help="The index of the top class, not the scores."),
    option(
        "--activation",
        group="Output",
        type=click.Choice(["softmax", "sigmoid"]),
        metavar="NAME",
        help="Turn logits into probabilities: softmax or sigmoid.",
    ),
    option(
        "--dtype",
        group="Output",
        rare=True,
        type=click.Choice(["float32", "float16", "uint8"]),
        help="Type of the stored numbers. [default: the network's]",
    ),
    option(
        "--range",
        group="Output",
        rare=True,
        type=interval,
        metavar="LOW,HIGH",
        help="Scores that are stored as 0 and 254 in uint8. [default: 0,1 with --activation]",
    ),
)
DECISION_FIELDS = ("decide", "on", "temperature")
DECISION = (
    option("--decide", group="Output", metavar="HOW", help="One score a class: mean, max, top-k:10, quantile:0.9, ..."),
    option(
        "--on",
        group="Output",
        rare=True,
        type=click.Choice(["scores", "logits", "probabilities", "softmax", "sigmoid"]),
        help="What is decided on. [default: scores, as in the map]",
    ),
    option(
        "--temperature",
        group="Output",
        rare=True,
        type=float,
        metavar="T",
        help="Divide logits by T before softmax or sigmoid.",
    ),
)
rule = collected(
    "rule",
    records.rule,
    (*DECISION_FIELDS, "regions"),
    *DECISION,
    option(
        "--regions",
        group="Output",
        rare=True,
        metavar="FILE",
        help="GeoJSON or vector file; each of its annotations gets a decision.",
    ),
)
scales = option(
    "--scales",
    group="Output",
    rare=True,
    type=factors,
    metavar="A,B,...",
    help="Decide these sizes as one: 0.75,1,1.5. --decide with --mode exact+context averages modes.",
)
views = option(
    "--views",
    group="Output",
    rare=True,
    type=view_names,
    metavar="SET",
    help="Decide views as one: flips, turns, all, or original,flip-x,...",
)
as_json = option("--json", "as_json", group="Output", is_flag=True, help="Print JSON.")
json_progress = option(
    "--json-progress", group="Output", rare=True, is_flag=True, help="Progress as lines of JSON on standard error."
)
overwrite = option("--overwrite", group="Output", is_flag=True, help="Replace an earlier result.")

# -- Model -------------------------------------------------------------------------------------------------------------

_window = option(
    "--window",
    group="Model",
    type=positive_sizes("window", "use 1 or more, such as 224"),
    metavar="PX[xPX]",
    help="Window, y before x, if the model does not say it.",
)
_RESIZE = ("resize", "interpolation", "antialias", "standardise")
_resize = (
    option(
        "--resize",
        group="Model",
        rare=True,
        type=positive_pair("resize", "use 1 or more, such as 224"),
        metavar="PX[xPX]",
        help="Resize windows to this, the network's own; --window is then px of the image.",
    ),
    option(
        "--interpolation",
        group="Model",
        rare=True,
        type=click.Choice(INTERPOLATIONS),
        help="How --resize does it: bilinear and bicubic as torchvision, lanczos as PIL, area as OpenCV. "
        "[default: bilinear]",
    ),
    option(
        "--antialias/--no-antialias",
        group="Model",
        rare=True,
        default=None,
        help="Whether bilinear and bicubic leave no pixel out where windows become smaller. [default: they do]",
    ),
    option(
        "--standardise",
        group="Model",
        rare=True,
        type=click.Choice(STANDARDISE),
        help="Bring each window to one scale by its own numbers: less its mean over its deviation, or from 0 to 1.",
    ),
)
_preprocessing = option(
    "--preprocessing",
    group="Model",
    metavar="PRESET",
    help="unit, imagenet, ..., FILE.json. [default: its own]",
)
_pixels = (
    option(
        "--mean",
        group="Model",
        rare=True,
        type=factors,
        metavar="M,...",
        help="Subtracted from scaled pixels; one number, or one a band. Alone or with --std: of pixels from 0 to 1.",
    ),
    option("--std", group="Model", rare=True, type=factors, metavar="S,...", help="Divisor after the mean."),
    option(
        "--pixel-scale",
        group="Model",
        rare=True,
        type=float,
        metavar="F",
        help="Factor on pixel values, before the mean. [default: 1/255 where --mean or --std is given]",
    ),
    option(
        "--order",
        group="Model",
        rare=True,
        type=click.Choice(["RGB", "BGR", "grey", "any"]),
        help="Bands of the network's input; any keeps the image's.",
    ),
    option(
        "--trained-range",
        group="Model",
        rare=True,
        type=interval,
        metavar="LOW,HIGH",
        help="Pixel values of black and white in training, to which the image's are brought.",
    ),
)
_score = option(
    "--score",
    group="Model",
    rare=True,
    type=score_key,
    metavar="NAME|INDEX",
    help="The output with the scores, or a layer: its features, averaged over the window. NAME:map: all numbers; "
    "NAME:first: the first token. [default: the only output, or the only softmax]",
)
_class_names = option(
    "--class-names", group="Model", rare=True, metavar="FILE", help="Text file with one class name a line."
)
_weights = option(
    "--weights",
    group="Model",
    rare=True,
    metavar="FILE",
    help="Of MODEL by its name, or the .caffemodel of a .prototxt.",
)
_channels = option(
    "--channels",
    group="Model",
    rare=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Input channels of a timm network whose weights have others: summed or repeated as timm does; or of a module.",
)
_arch = option(
    "--arch",
    group="Model",
    rare=True,
    metavar="NAME",
    help="Network of a file of weights: timm:NAME, torchvision:NAME.",
)
trust = option("--trust", group="Model", is_flag=True, help="Trust a file that runs code, or names others.")
model = collected(
    "model",
    records.model,
    (
        "model",
        "window",
        *_RESIZE,
        "preprocessing",
        *records.PIXELS,
        "score",
        "class_names",
        "weights",
        "arch",
        "channels",
        "trust",
    ),
    click.argument("model", metavar="MODEL"),
    _window,
    _preprocessing,
    trust,
    _score,
    _class_names,
    _weights,
    _arch,
    _channels,
    *_resize,
    *_pixels,
)
model_options = collected(
    "loading",
    dict,
    ("window", *_RESIZE, "trust", "score", "weights", "arch", "channels"),
    _window,
    trust,
    _score,
    _weights,
    _arch,
    _channels,
    *_resize,
)


def print_json(value: Any) -> None:
    """One JSON document on standard output; NaN and infinity become ``null``."""
    echo_json(_finite(value), indent=2)


def json_text(value: Any) -> str:
    """One JSON document for a file; NaN and infinity become ``null``."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value
