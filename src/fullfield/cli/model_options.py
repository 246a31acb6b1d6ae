"""Options of the network and of its input. Those of records are their fields."""

from __future__ import annotations

import click

from fullfield.cli import records
from fullfield.cli.command import option
from fullfield.cli.records import collected
from fullfield.cli.values import factors, interval, positive_pair, positive_sizes, score_key
from fullfield.model.window_resize import INTERPOLATIONS
from fullfield.model.window_standardise import STANDARDISE

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
