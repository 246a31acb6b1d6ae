"""Score maps as pictures, and pictures as files."""

from __future__ import annotations

import base64
import html
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fullfield.drawing.colours import paint
from fullfield.errors import ImageError
from fullfield.files import PICTURES, check_writable, replacing
from fullfield.store.palette import distinct

MARK = b"made by fullfield"  # in a picture's file, so that it is not taken for an image to scan
_SOFTWARE = 305  # EXIF's tag
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"lossless": True}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}


def score_picture(values: NDArray[np.floating], colours: str, limits: tuple[float, float]) -> Image.Image:
    """Scores ``(y, x)`` as colours, a pixel a cell; NaN is black."""
    return Image.fromarray(paint(values, colours, limits))


def label_colours(labels: NDArray[np.integer], classes: Sequence[int]) -> NDArray[np.float32]:
    """The colour of each cell's class; NaN where the label is none of ``classes``.

    Shape: ``(y, x)`` -> ``(3, y, x)``, from 0 to 255
    """
    table = np.full((max(classes) + 2, 3), np.nan, np.float32)  # the last row is for no class
    table[list(classes)] = np.array(distinct(max(classes) + 1), np.float32)[list(classes)]
    known = (labels >= 0) & (labels <= max(classes))
    return np.moveaxis(table[np.where(known, labels, max(classes) + 1)], -1, 0)


def label_picture(labels: NDArray[np.integer], classes: Sequence[int]) -> Image.Image:
    """Labels ``(y, x)`` in the colours of their classes, a pixel a cell; cells without a class are black."""
    colours = np.nan_to_num(label_colours(labels, classes))
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(colours, 0, -1), np.uint8))


def colour_limits(values: NDArray[np.floating], vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """Values of the first and the last colour: those given, else the least and greatest finite value.

    Raises:
        ImageError: ``vmin`` is above ``vmax``, or one of them is not finite.
    """
    finite = values[np.isfinite(values)]
    low = vmin if vmin is not None else float(finite.min()) if finite.size else 0.0
    high = vmax if vmax is not None else float(finite.max()) if finite.size else 1.0
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ImageError("vmin, vmax", f"{low:g}..{high:g} is no range of values", fix="give vmin below vmax")
    return float(low), float(high)


def save_picture(picture: Image.Image, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Writes a picture whole or not at all; WebP without loss, JPEG at quality 95.

    Raises:
        ImageError: unknown suffix, a file is there already, no space, no right to write.
    """
    target = check_writable(path, overwrite, suffixes=PICTURES)
    needed = 3 * picture.width * picture.height
    with replacing(target, overwrite=overwrite, needed_bytes=needed) as place:
        encode_picture(picture, place)


def encode_picture(picture: Image.Image, path: Path) -> None:
    """Writes a file in the format of its suffix; JPEG shows black where the picture is transparent."""
    kind, options = _FORMATS[path.suffix.lower()]
    if kind == "JPEG" and picture.mode != "RGB":
        clear = picture.convert("RGBA")
        picture = Image.new("RGB", picture.size)
        picture.paste(clear, mask=clear.getchannel("A"))
    with path.open("wb") as file:
        picture.save(file, format=kind, **options, **_mark(kind))


def _mark(kind: str) -> dict[str, Any]:
    """The options with which Pillow writes ``MARK`` into a file."""
    if kind == "PNG":
        text = PngInfo()
        text.add_text("Software", MARK.decode())
        return {"pnginfo": text}
    if kind == "JPEG":
        return {"comment": MARK}
    exif = Image.Exif()
    exif[_SOFTWARE] = MARK.decode()
    return {"exif": exif}


def html_table(rows: Sequence[tuple[str, str]], picture: Image.Image | None, caption: str) -> str:
    """Facts as a small HTML table, above a picture with its caption; all text is escaped."""
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(text)}</td></tr>'
        for name, text in rows
    )
    table = f"<table>{cells}</table>"
    if picture is None:
        return table
    file = io.BytesIO()
    picture.save(file, format="PNG")
    data = base64.b64encode(file.getvalue()).decode()
    size = f"max-width:256px;width:{max(picture.width, min(256, 8 * picture.width))}px;image-rendering:pixelated"
    return (
        f'{table}<figure style="margin:0"><img src="data:image/png;base64,{data}" style="{size}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
