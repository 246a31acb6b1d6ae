"""Arguments and options that several commands have."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from fullfield.model.model import Model

Load = Callable[[], "Model"]
Pick = Callable[[str], Any]
F = TypeVar("F", bound=Callable[..., Any])


def pair(text: str) -> tuple[int, int]:
    """One integer for both axes, or two, y before x.

    Examples:
        >>> pair("224"), pair("224x320"), pair("32,16")
        ((224, 224), (224, 320), (32, 16))
    """
    found = re.fullmatch(r"\s*(-?\d+)\s*(?:[x,]\s*(-?\d+)\s*)?", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not one integer or two, such as 224 or 224x320 (y before x)")
    return int(found[1]), int(found[2] or found[1])


def pair_of_cells(text: str) -> tuple[int, int]:
    """Border cells, and the size of maps that keep all of theirs.

    Examples:
        >>> pair_of_cells("2"), pair_of_cells("2,14")
        ((2, 0), (2, 14))
    """
    cells, whole = pair(text)
    return (cells, whole) if re.search(r"[x,]", text) else (cells, 0)


def indices(text: str) -> tuple[int, ...]:
    """Numbers from 0 up, between commas.

    Examples:
        >>> indices("3,2,1")
        (3, 2, 1)
    """
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
        raise click.BadParameter(f"{text!r} is not a list such as 3,2,1")
    return tuple(int(part) for part in text.split(","))


model = click.argument("model")
image = click.argument("image")
window = click.option(
    "--window", type=pair, metavar="PX[xPX]", help="Height x width of the window, where the model does not say."
)
preprocessing = click.option(
    "--preprocessing", metavar="PRESET", help="How pixels are fed: none, unit, imagenet, ... [default: the model's own]"
)
step = click.option(
    "--step", type=pair, metavar="PX[,PX]", help="Distance of neighbouring windows, y before x. [default: the stride]"
)
mode = click.option(
    "--mode",
    type=click.Choice(["exact", "context"]),
    default="exact",
    show_default=True,
    help="exact: the crops' scores. context: layers that pad see the neighbouring pixels instead.",
)
border = click.option(
    "--border",
    type=pair_of_cells,
    metavar="N[,M]",
    help="Between the modes: recompute N border cells of every map as the crop would, all of maps of at most M cells.",
)
tolerance = click.option(
    "--tolerance", type=float, metavar="E", help="Find the fastest.mode whose mean error is E of the spread at most."
)
agreement = click.option(
    "--agreement", type=float, metavar="A", help="... whose top class is the crop's at A of the windows, such as 0.99."
)
edge = click.option(
    "--edge",
    type=click.Choice(["valid", "reflect", "replicate", "constant"]),
    default="valid",
    show_default=True,
    help="valid: windows inside the image. Others continue the image, for scores from corner to corner.",
)
method = click.option(
    "--method",
    type=click.Choice(["auto", "atrous", "fragments", "shifted"]),
    default="auto",
    show_default=True,
    help="How steps finer than the network's stride are run; the scores are the same.",
)
scale = click.option(
    "--scale", type=float, default=1.0, show_default=True, help="Resize the image by this factor first."
)
budget = click.option(
    "--budget",
    metavar="SIZE",
    help="Memory allowed, such as 2GB or 512MiB.  [default: 2 GiB, or what one window takes]",
)
device = click.option("--device", help="Where to compute, such as cpu or cuda:0.")
trust = click.option("--trust", is_flag=True, help="Read model files that can run code (.pt2, pickles).")
weights = click.option("--weights", metavar="FILE", help="The .caffemodel of a .prototxt.")
class_names = click.option("--class-names", metavar="FILE", help="Text file with one class name a line.")
level = click.option(
    "--level", type=click.IntRange(min=0), metavar="N", help="Level of the image's pyramid, 0 the finest."
)
mpp = click.option("--mpp", type=float, metavar="UM", help="Micrometres per pixel to scan at, resampled once.")
bands = click.option("--bands", type=indices, metavar="N,N,...", help="Channels of the image, in this order, from 0.")
series = click.option("--series", type=click.IntRange(min=0), metavar="N", help="Which image of the file.")
z = click.option("--z", type=click.IntRange(min=0), metavar="N", help="Plane of a stack.")
t = click.option("--t", type=click.IntRange(min=0), metavar="N", help="Time point.")
region = click.option("--region", metavar="Y0:Y1,X0:X1", help="Part of the image to scan, px.")
mask = click.option(
    "--mask",
    metavar="FILE",
    help="Where to look: a picture that is not 0 there, or GeoJSON; other windows cost nothing.",
)
coordinates = click.option(
    "--coordinates",
    type=click.Choice(["auto", "image", "map"]),
    default="auto",
    show_default=True,
    help="What the coordinates of a GeoJSON mask are.",
)
skip_background = click.option(
    "--skip-background", is_flag=True, help="Find tissue or other content on a thumbnail, and look only there."
)
min_coverage = click.option(
    "--min-coverage",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="F",
    help="Least part of a window that mask, content or valid pixels must cover. [default: a touch]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace what is there already.")


def apply(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options at once, in the order of --help."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def network(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the network; the command gets ``load``, a function that reads it, in place of them."""
    from functools import wraps

    names = ("model", "window", "preprocessing", "class_names", "device", "trust", "weights")

    @wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        chosen = {name: given.pop(name) for name in names}
        return function(*args, load=lambda: read_network(chosen.pop("model"), **chosen), **given)

    return apply(window, preprocessing, class_names, device, trust, weights)(command)


def picture(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that pick a part of an image file; the command gets them as ``pick``, a function that opens one."""
    from functools import wraps

    names = ("level", "mpp", "bands", "series", "z", "t")

    @wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        chosen = {name: given.pop(name) for name in names}
        return function(*args, pick=lambda path: open_image(path, **chosen), **given)

    return apply(level, mpp, bands, series, z, t)(command)


def open_image(path: str, **chosen: Any) -> Any:
    """An image file of a command line: the path itself, where no part of it is picked."""
    if all(value is None for value in chosen.values()):
        return path
    from fullfield.image.open import open

    return open(path, **chosen)


def read_network(
    path: str,
    *,
    window: tuple[int, int] | None,
    preprocessing: str | None = None,
    class_names: str | None = None,
    weights: str | None = None,
    device: str | None = None,
    trust: bool,
) -> Model:
    """The network of a command line, on ``device``; ``class_names`` is a file with one name a line."""
    from fullfield.importers.class_names import read_class_names
    from fullfield.importers.load import load

    names = None if class_names is None else read_class_names(class_names)
    net = load(path, weights=weights, window=window, preprocessing=preprocessing, class_names=names, trust=trust)
    return net if device is None else net.to(device)


def print_json(value: Any) -> None:
    """One JSON document on standard output; numbers that JSON has no word for become ``null``."""
    import json

    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False))


def _finite(value: Any) -> Any:
    import math

    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value
