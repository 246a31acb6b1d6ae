"""Reads what ONNX files say of their window, pixels and classes, as fullfield and other programs write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from fullfield.errors import CaptureError
from fullfield.importers.limits import broken
from fullfield.importers.onnx.interface import LARGEST_WINDOW, LONGEST_SIGNAL
from fullfield.model.onnx_scopes import literal
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.window_resize import WindowResize
from fullfield.model.window_standardise import Standardise, parse_standardise

_LONGEST = 2**22  # characters of a text in Python's syntax

# Of ONNX's standard entries "Image.NominalPixelRange" and "Image.BitmapPixelFormat".
_RANGES = {
    "NominalRange_0_255": (1.0, 0.0),
    "Normalized_0_1": (1 / 255, 0.0),
    "Normalized_1_1": (1 / 127.5, 1.0),
}
_ORDERS = {"Gray8": "grey", "Rgb8": "RGB", "Bgr8": "BGR", "Rgba8": "any", "Bgra8": "any"}


@dataclass(frozen=True)
class Metadata:
    """What a file says; ``None`` where it does not.

    Args:
        window: height and width, px.
        preprocessing: of the pixels.
        class_names: fullfield's own, which must be one a score.
        labels: lists of names that other programs wrote; one of as many as there are scores has their names.
        name: of the network.
        features: of which layer the vectors are.
        resize: how its graph resizes windows first.
        standardise: how it brings each to one scale.
        of_signals: whether windows are parts of signals, as images of height one.
    """

    window: tuple[int, int] | None = None
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None
    labels: tuple[tuple[str, ...], ...] = ()
    name: str | None = None
    features: str | None = None
    resize: WindowResize | None = None
    standardise: Standardise | None = None
    of_signals: bool = False

    @property
    def is_own(self) -> bool:
        """Whether fullfield wrote the file."""
        return self.name is not None

    def names_of(self, scores: int, table: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The class names of so many scores.

        Args:
            scores: their number.
            table: the names in a table of classes and scores (ZipMap), if that is what they are of.
        """
        if self.class_names is not None or self.features is not None:
            return self.class_names
        return next((names for names in (table, *self.labels) if names and len(names) == scores), None)


def metadata(model: onnx.ModelProto, path: Path) -> Metadata:
    """The metadata that fullfield, Ultralytics or Paddle wrote, or that ONNX defines for images.

    Raises:
        CaptureError: an entry of fullfield is damaged.
    """
    entries = {entry.key: entry.value for entry in model.metadata_props}
    found = _own(entries, path)
    labels = (_ultralytics_names(entries.get("names", "")), _paddle_names(entries.get("character", "")))
    return replace(
        found,
        window=found.window or _size(entries.get("imgsz", "")),
        preprocessing=found.preprocessing or _image_entries(entries),
        labels=tuple(names for names in labels if names),
    )


def _own(entries: Mapping[str, str], path: Path) -> Metadata:
    """fullfield's own metadata."""
    try:
        window, classes = entries.get("fullfield.window"), entries.get("fullfield.classes")
        size = None if window is None else _sides(json.loads(window))
        names = None if classes is None else tuple(str(name) for name in json.loads(classes))
        resize = WindowResize.from_json(entries["fullfield.resize"]) if "fullfield.resize" in entries else None
        standardise = parse_standardise(entries.get("fullfield.standardise"))
    except (ValueError, TypeError, KeyError, CaptureError) as error:
        raise broken(path, f"has damaged metadata ({error})") from error
    prepared = entries.get("fullfield.preprocessing")
    return Metadata(
        window=size,
        preprocessing=None if prepared is None else Preprocessing.from_json(prepared),
        class_names=names,
        name=entries.get("fullfield.name"),
        features=entries.get("fullfield.features"),
        resize=resize,
        of_signals=entries.get("fullfield.signals") == "true",
        standardise=standardise,
    )


def _sides(value: Any) -> tuple[int, int]:
    """Height and width.

    Raises:
        ValueError: they are none.
    """
    height, width = value
    size = (int(height), int(width))
    longest = LONGEST_SIGNAL if height == 1 else LARGEST_WINDOW
    if not all(0 < side <= longest for side in size):
        raise ValueError(f"window {value}")
    return size


def _size(text: str) -> tuple[int, int] | None:
    """Ultralytics' ``imgsz``: ``[640, 640]`` or ``640``."""
    value = literal(text, longest=_LONGEST)
    try:
        return _sides([value, value] if isinstance(value, int) else value)
    except (ValueError, TypeError):
        return None


def _ultralytics_names(text: str) -> tuple[str, ...]:
    """The names in a dict by class, ``{0: 'cat', 1: 'dog'}``, or in a list."""
    value = literal(text, longest=_LONGEST)
    if isinstance(value, dict) and set(value) == set(range(len(value))):
        value = [value[index] for index in range(len(value))]
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


def _paddle_names(text: str) -> tuple[str, ...]:
    """One name a line."""
    return tuple(text.splitlines())


def _image_entries(entries: Mapping[str, str]) -> Preprocessing | None:
    """ONNX's own entries on the pixels of an image input."""
    scale = _RANGES.get(entries.get("Image.NominalPixelRange", ""))
    order: Any = _ORDERS.get(entries.get("Image.BitmapPixelFormat", ""))
    if scale is None and order is None:
        return None
    factor, mean = scale or _RANGES["NominalRange_0_255"]
    return Preprocessing(scale=factor, mean=(mean,), order=order or "any", value_range=(0.0, 255.0))
