"""Draws the pictures of docs/tutorial.md: `python scripts/tutorial_pictures.py`."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

import fullfield
from fullfield import Compute, workbench
from fullfield.layers import LocallyConnected2d

DOCS = Path(__file__).parents[1] / "docs"
DATA = Path(str(files("fullfield") / "data"))
COLOURS = ["#ffffff", "#ff6a4d", "#4dc3ff", "#ffd24d"]


def sharing() -> Image.Image:
    """The matrices of a locally connected layer and of a convolution of the same size."""
    torch.manual_seed(0)
    local, conv = LocallyConnected2d(1, 1, 8, 3), nn.Conv2d(1, 1, 3)
    return row([workbench.unroll(layer, 8).picture(scale=6) for layer in (local, conv)])


def passes() -> Image.Image:
    """The centres of all windows at half the stride, one colour for each shifted pass."""
    photo = Image.open(DATA / "astronaut.png").convert("RGB").resize((384, 384))
    with torch.device("meta"):
        net = workbench.build("INPUT(3x224x224) -> [CONV(4) -> RELU -> POOL]*5 -> FC(10)")
    plan = fullfield.plan(net, photo, step=16, compute=Compute(method="shifted"))
    picture = Image.blend(photo, Image.new("RGB", photo.size), 0.7)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 223, 223), outline=COLOURS[0])
    for colour, one in zip(COLOURS, plan.all_passes, strict=True):
        for i, j in np.ndindex(*one.shape):
            y, x = (o + s * n + 112 for o, s, n in zip(one.offset, one.step, (i, j), strict=True))
            draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
    return picture


def padding() -> Image.Image:
    """The demo's face scores in both modes, and four times their difference."""
    net, photo = fullfield.load(DATA / "rnet.onnx"), Image.open(DATA / "astronaut.png")
    exact, context = (
        fullfield.scan(net, photo, scale=0.25, step=1, mode=mode).array[1] for mode in ("exact", "context")
    )
    maps = (exact, context, np.minimum(1, 4 * np.abs(exact - context)))
    return row([Image.fromarray((255 * m).astype(np.uint8)).resize((210, 210), Image.Resampling.NEAREST) for m in maps])


def row(pictures: list[Image.Image], gap: int = 12) -> Image.Image:
    width, height = pictures[0].size
    whole = Image.new("RGB", (len(pictures) * (width + gap) - gap, height), "white")
    for n, picture in enumerate(pictures):
        whole.paste(picture, (n * (width + gap), 0))
    return whole


for draw_one in (sharing, passes, padding):
    target = DOCS / f"tutorial-{draw_one.__name__}.png"
    draw_one().quantize(128).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size:,} bytes")
