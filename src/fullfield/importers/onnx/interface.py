"""Reads the input of an ONNX model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from fullfield.errors import CaptureError
from fullfield.importers.limits import broken
from fullfield.importers.onnx.input_layout import (
    add_batch,
    channels_last,
    first_channels,
)
from fullfield.importers.onnx.outputs import stated_shape
from fullfield.importers.onnx.signal_layout import has_one_band, signal_layout
from fullfield.importers.onnx.subgraphs import read_names
from fullfield.importers.onnx.tensors import torch_dtype
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.signals import SignalAxes

LARGEST_WINDOW = 2**15
"""The most pixels along an axis of a window; more mean a damaged file."""
LONGEST_SIGNAL = 2**24
"""The most samples of a window of a signal."""

_INTEGER_RANGES = {torch.uint8: (0.0, 255.0), torch.int8: (-128.0, 127.0)}


@dataclass(frozen=True)
class ImageInput:
    """The image input. ``batch``, ``height`` and ``width`` are ``None`` where they are free.

    ``value_range`` is that of a type of 8 bits, ``None`` for other types. A signal, an image of height one here, has
    ``axes``; images of one band may have no axis for it in the file. ``flat`` are the numbers of a window in a row.
    """

    name: str
    dtype: torch.dtype
    batch: int | None
    channels: int
    height: int | None
    width: int | None
    channels_last: bool
    value_range: tuple[float, float] | None
    axes: SignalAxes | None = None
    without_band: bool = False
    flat: bool = False

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What the input's type says of the pixels: those of 8 bits as they are, others brought to 8 bits."""
        return None if self.value_range is None else Preprocessing(value_range=self.value_range)


def find_input(graph: onnx.GraphProto, path: Path, window: tuple[int, int] | None = None) -> ImageInput:
    """The only input that is not a weight; one without a batch gets one.

    Args:
        window: height and width as the user gave them; windows as rows of numbers need them.

    Raises:
        CaptureError: there are several, or it is not a batch of images.
    """
    weights = {tensor.name for tensor in graph.initializer}
    read = {name for node in graph.node for name in read_names(node)}
    inputs = [value for value in graph.input if value.name not in weights and value.name in read]
    if len(inputs) != 1:
        listed = ", ".join(f"{value.name}{stated_shape(value)}" for value in inputs) or "none"
        what = f"has {len(inputs)} inputs: {listed}; not one image"
        raise CaptureError(str(path), what, fix="export the part with one, and constants with their numbers")
    tensor = inputs[0].type.tensor_type
    signal = signal_layout(graph, inputs[0]) if len(tensor.shape.dim) in (2, 3) else None
    axes = None if signal is None else signal.axes
    without_band = axes is None and len(tensor.shape.dim) == 3 and has_one_band(graph, inputs[0])
    if axes is not None or without_band:
        _to_image(inputs[0], axes)
    elif len(tensor.shape.dim) == 3:
        add_batch(graph, inputs[0], path)
    flat = axes is None and len(tensor.shape.dim) == 2
    if flat:
        _unflatten(inputs[0], window, path)
    sizes = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim]
    dtype = torch_dtype(tensor.elem_type)
    if len(sizes) != 4 or dtype is None:
        what = f"input {inputs[0].name!r} has {len(sizes)} dimensions, not (n, c, h, w)"
        raise CaptureError(str(path), what, fix="export an image classifier")
    last = axes is None and not without_band and not flat and channels_last(graph, inputs[0].name, sizes)
    height, width, channels = (sizes[1], sizes[2], sizes[3]) if last else (sizes[2], sizes[3], sizes[1])
    channels = channels or (first_channels(graph) if signal is None else signal.channels)
    if channels is None:
        raise CaptureError(str(path), "does not state its number of input channels", fix="export with fixed channels")
    longest = LARGEST_WINDOW if axes is None else LONGEST_SIGNAL
    if max(channels, height or 0) > LARGEST_WINDOW or (width or 0) > longest:
        raise broken(path, f"input {inputs[0].name!r} has sizes {sizes}")
    span = _INTEGER_RANGES.get(dtype)
    if not dtype.is_floating_point:
        dtype = torch.float32
    return ImageInput(inputs[0].name, dtype, sizes[0], channels, height, width, last, span, axes, without_band, flat)


def _to_image(entry: onnx.ValueInfoProto, axes: SignalAxes | None) -> None:
    """Declares a signal as an image of height one, ``(n, c, 1, t)``; other inputs, ``(n, h, w)``, as of one band."""
    dims, one = list(entry.type.tensor_type.shape.dim), onnx.TensorShapeProto.Dimension(dim_value=1)
    orders = {"nct": (dims[0], dims[1], one, dims[-1]), "ntc": (dims[0], dims[-1], one, dims[1])}
    shape = orders.get(axes, (dims[0], one, one, dims[-1])) if axes else (dims[0], one, *dims[1:])
    del entry.type.tensor_type.shape.dim[:]
    entry.type.tensor_type.shape.dim.extend(shape)


def _unflatten(entry: onnx.ValueInfoProto, window: tuple[int, int] | None, path: Path) -> None:
    """Declares windows ``(n, features)`` as images: their pixels in rows, or the channels of one pixel.

    Raises:
        CaptureError: the features, or the window, are not stated, or they fit in no way or in several.
    """
    dims = entry.type.tensor_type.shape.dim
    count = dims[1].dim_value
    about = f"input {entry.name!r} takes {count or 'any number of'} numbers a window, not an image (n, c, h, w)"
    if not count:
        raise CaptureError(str(path), about, fix="export it with the number of its features")
    if window is None:
        side = math.isqrt(count)
        say = f"{side}x{side}" if side * side == count else f"HEIGHTxWIDTH, whose product is {count}"
        what = f"{about}; how these lie in it is not stated"
        fix = f"if they are the pixels of one band, row by row: --window {say}; channels of one pixel: --window 1"
        raise CaptureError(str(path), what, fix=fix)
    height, width = window
    channels, rest = divmod(count, height * width)
    if rest:
        what = f"{about}; windows of {height}x{width} px have {height * width} in each channel"
        raise CaptureError(str(path), what, fix="give the window whose pixels these are, or --window 1")
    if channels > 1 and height * width > 1:
        what = (
            f"{about}; {channels} channels of {height}x{width} px could lie in it channel by channel or pixel by pixel"
        )
        fix = "put a Transpose and a Reshape in front of it that take (n, c, h, w) or (n, h, w, c)"
        raise CaptureError(str(path), what, fix=fix)
    sizes = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in (channels, height, width)]
    del dims[1]
    dims.extend(sizes)
