"""``unroll``, ``to_fc`` and ``to_conv``: layers as matrices, fully connected layers and convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from fullfield.arguments import check_choice, parse_bytes
from fullfield.errors import BudgetError, GeometryError, UnsupportedError
from fullfield.packages import check_installed
from fullfield.text import size_text
from fullfield.workbench.matrices.index_tables import Reach
from fullfield.workbench.matrices.layers import linear_map, shape_after
from fullfield.workbench.matrices.linear_map import LinearMap
from fullfield.workbench.matrices.matrix import Unrolled

FlattenOrder = Literal["cyx", "yxc"]


def unroll(
    layer: nn.Module,
    input_size: int | tuple[int, ...],
    *,
    at: Any = None,
    format: Literal["csr", "bsr"] = "csr",
    budget: str | int = "1GB",
) -> Unrolled:
    """The layer, or several in a row, as one sparse matrix and a bias that act on one example in the order c, y, x.

        matrix @ x.ravel() + bias == layer(x).ravel()

    Its transpose is the layer's backward pass. Convolutions of every kind, locally connected layers, mean pools, batch
    norms (by their running statistics), fully connected layers and ``nn.Sequential`` of these are linear; of others
    (activations, softmax, maximum and L2 pools, response normalisations) it is the Jacobian at ``at``, with the bias
    for which both sides agree there.

    Args:
        layer: run in evaluation mode; it is not changed.
        input_size: cells along y and x, or channels, y and x; for a layer on vectors their length.
        at: one example, for layers that are not linear.
        format: ``bsr`` stores blocks of one row of the output map by one row of the input map.
        budget: bytes that the matrix may take; checked before it is computed.

    Raises:
        BudgetError: the matrix, or one of an earlier layer, takes more.
        UnsupportedError: a layer that is not linear, without ``at``; an unknown layer; or the extra
            ``fullfield[matrix]`` is not installed.
        GeometryError: an input that the layer does not take.
    Source: Dumoulin & Visin 2016 (arXiv 1603.07285), section 4.1.
    Examples:
        >>> unroll(nn.Conv2d(1, 2, 3), 4)
        Unrolled(1x4x4 -> 2x2x2: 8x16, 72 entries, csr, float32)
    """
    what = "sparse matrices need the package scipy"
    check_installed("scipy", extra="matrix", where="unroll", what=what, kind=UnsupportedError)
    check_choice("format", format, ("csr", "bsr"), UnsupportedError)
    shape = _input_shape(layer, input_size)
    maps, outputs = _linear_maps(layer, shape, at)
    dtype = _dtype(layer, at)
    _check(maps, shape, np.dtype(dtype).itemsize, parse_bytes(budget), blocks=format == "bsr")
    matrix, bias = _product(maps, shape, dtype)
    if format == "bsr":
        from fullfield.workbench.matrices.sparse import blocked

        matrix = blocked(matrix, (outputs[-1], shape[-1]))
    return Unrolled(matrix, bias, shape, outputs)


def to_fc(
    layer: nn.Module, input_size: int | tuple[int, ...], *, order: FlattenOrder = "cyx", budget: str | int = "1GB"
) -> nn.Linear:
    """The fully connected layer that does what ``layer`` does, on flattened volumes, without shared weights.

    Args:
        layer: any that ``unroll`` takes.
        input_size: cells along y and x, or channels, y and x.
        order: in which input and output are flattened.
        budget: bytes that its weights may take.

    Raises:
        BudgetError: they take more.
        UnsupportedError, GeometryError: as ``unroll``.
    Source: CS231n notes, "Converting FC layers to CONV layers".
    Examples:
        >>> to_fc(nn.Conv2d(3, 8, 3), 5)
        Linear(in_features=75, out_features=72, bias=True)
    """
    _check_flatten_order(order)
    shape = _input_shape(layer, input_size)
    _, outputs = _linear_maps(layer, shape, None)
    size = math.prod(outputs) * math.prod(shape) * np.dtype(_dtype(layer, None)).itemsize
    limit = parse_bytes(budget)
    if size > limit:
        raise _too_large("to_fc", f"{math.prod(outputs)}x{math.prod(shape)} weights", size, limit)
    unrolled = unroll(layer, shape, budget=3 * limit)
    weight, bias = torch.from_numpy(unrolled.matrix.toarray()), torch.from_numpy(unrolled.bias)
    rows, columns = _indices(outputs, order), _indices(shape, order)
    tensor = next(layer.parameters(), weight)
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=tensor.dtype)
    linear.weight = nn.Parameter(weight[rows][:, columns].to(tensor))
    linear.bias = nn.Parameter(bias[rows].to(tensor))
    return linear


def to_conv(linear: nn.Linear, volume: tuple[int, int, int], *, order: FlattenOrder = "cyx") -> nn.Conv2d:
    """The convolution with a kernel as large as the volume that a fully connected layer reads; P = 0, S = 1.

    On that volume its one cell is the layer's output; on a larger one it slides.

    Shape: weight ``(k, c*y*x)`` -> ``(k, c, y, x)``
    Args:
        linear: reads a flattened volume.
        volume: its channels, height and width.
        order: in which it was flattened: ``cyx`` as torch does, ``yxc`` as TensorFlow and Keras do.

    Raises:
        GeometryError: the layer reads another number of values.
    Source: CS231n notes, "Converting FC layers to CONV layers"; Long, Shelhamer & Darrell 2015, section 3.1.
    Examples:
        >>> to_conv(nn.Linear(512 * 49, 100), (512, 7, 7))
        Conv2d(512, 100, kernel_size=(7, 7), stride=(1, 1))
    """
    _check_flatten_order(order)
    if len(volume) != 3 or math.prod(volume) != linear.in_features:
        found = size_text(volume)
        raise GeometryError(
            "volume",
            f"{found} holds {math.prod(volume)} numbers, the layer reads {linear.in_features}",
            fix="give channels, height and width of the flattened volume",
        )
    c, y, x = volume
    weight = linear.weight.detach()
    shaped = weight.reshape(-1, y, x, c).permute(0, 3, 1, 2) if order == "yxc" else weight.reshape(-1, c, y, x)
    conv = nn.Conv2d(c, linear.out_features, (y, x), bias=linear.bias is not None, device="meta", dtype=weight.dtype)
    conv.weight = nn.Parameter(shaped.contiguous().clone())
    if linear.bias is not None:
        conv.bias = nn.Parameter(linear.bias.detach().clone())
    return conv


def _check_flatten_order(order: str) -> None:
    check_choice("order", order, ("cyx", "yxc"), UnsupportedError)


def _indices(shape: tuple[int, ...], order: FlattenOrder) -> torch.Tensor:
    """For the values of a volume in ``order``, their indices in the order c, y, x."""
    indices = torch.arange(math.prod(shape))
    return indices.reshape(shape).permute(1, 2, 0).flatten() if order == "yxc" and len(shape) == 3 else indices


def _input_shape(layer: nn.Module, size: int | tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one example; channels that the caller leaves out are those of the first layer that states them."""
    vector = isinstance(next(iter(_flat(layer, "")), ("", layer))[1], (nn.Linear, nn.BatchNorm1d))
    sizes = (size,) if isinstance(size, int) and vector else (size, size) if isinstance(size, int) else tuple(size)
    if len(sizes) not in (1, 2, 3) or any(not isinstance(n, int) or n < 1 for n in sizes):
        raise GeometryError("input_size", f"{size!r} is not a size", fix="pass 8, (8, 8) or (3, 8, 8)")
    if len(sizes) != 2:
        return sizes
    for _, part in _flat(layer, ""):
        for name in ("in_channels", "num_features"):
            channels = getattr(part, name, None)
            if isinstance(channels, int):
                return (channels, *sizes)
    if isinstance(size, int):
        return (size,)
    raise GeometryError("input_size", f"{size!r} has no channels, and the layer states none", fix="pass (3, 8, 8), say")


def _flat(layer: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested sequences with their paths."""
    if not isinstance(layer, nn.Sequential):
        yield path or type(layer).__name__, layer
        return
    for name, part in layer.named_children():
        yield from _flat(part, f"{path}.{name}" if path else name)


def _linear_maps(layer: nn.Module, shape: tuple[int, ...], at: Any) -> tuple[list[LinearMap], tuple[int, ...]]:
    """The layers as linear maps, and the output shape of the last."""
    x = None if at is None else _example(layer, at, shape)
    flags = [(part, part.training) for part in layer.modules()]
    maps: list[LinearMap] = []
    try:
        for part, _ in flags:
            part.training = False
        for name, part in _flat(layer, ""):
            found = linear_map(name, part, shape, x)
            shape = shape_after(part, shape) if found is None else found.outputs
            maps += [] if found is None else [found]
            if x is not None:
                with torch.no_grad():
                    x = part(x[None].clone())[0]
    finally:
        for part, flag in flags:
            part.training = flag
    return maps, shape


def _example(layer: nn.Module, at: Any, shape: tuple[int, ...]) -> torch.Tensor:
    x = torch.as_tensor(at).detach()
    if tuple(x.shape) == (1, *shape):
        x = x[0]
    if tuple(x.shape) != shape:
        raise GeometryError("at", f"{tuple(x.shape)} is not {shape}", fix="give one example of the input size")
    tensor = next(layer.parameters(), None)
    return x if tensor is None else x.to(tensor)


def _dtype(layer: nn.Module, at: Any) -> Any:
    """The type of the layer's weights, else of the example, else double."""
    tensor = next((p for p in layer.state_dict().values() if p.is_floating_point()), None)
    if tensor is None and at is not None:
        tensor = torch.as_tensor(at)
    if tensor is None:
        return np.float64
    return np.float64 if tensor.dtype == torch.float64 else np.float32


def _check(maps: list[LinearMap], shape: tuple[int, ...], item: int, limit: int, *, blocks: bool) -> None:
    """Raises where a matrix, of one layer or of all up to it, would take more bytes than allowed."""
    reach = None
    for part in maps:
        reach = part.after(reach)
        entries = max(part.entries, 0 if reach is None or part is maps[0] else reach.entries)
        size = _bytes(entries, math.prod(part.outputs), math.prod(shape), item)
        if blocks and part is maps[-1]:
            size += _block_entries(reach, shape, part.outputs) * item
        if size > limit:
            what = f"a matrix of {math.prod(part.outputs):,}x{math.prod(shape):,} with {entries:,} entries"
            raise _too_large(part.name, what, size, limit)


def _bytes(entries: int, rows: int, columns: int, item: int) -> int:
    """Bytes of a CSR array with the smallest possible indices."""
    index = 4 if max(entries, rows, columns) < 2**31 else 8
    return entries * (item + index) + (rows + 1) * index


def _block_entries(reach: Reach | None, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> int:
    """Entries in blocks of one output row by one input row, their zeros included."""
    if len(inputs) != 3 or len(outputs) != 3:
        return math.prod(inputs) * math.prod(outputs)
    if reach is None:
        return inputs[0] * inputs[1] * inputs[2] ** 2
    return int(reach.channels.sum()) * int(reach.y.sum()) * reach.x.size


def _too_large(where: str, what: str, size: int, limit: int) -> BudgetError:
    fix = "unroll a smaller input, or raise the budget"
    return BudgetError(where, f"{what} takes {size:,} bytes, more than the {limit:,} allowed", fix=fix)


def _product(maps: list[LinearMap], shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """Matrix and bias of all layers: ``M2 @ (M1 @ x + b1) + b2 = (M2 @ M1) @ x + (M2 @ b1 + b2)``."""
    from fullfield.workbench.matrices import sparse

    size = math.prod(shape)
    if not maps:
        return sparse.diagonal(np.ones(size, dtype)), np.zeros(size, dtype)
    matrix, bias = maps[0].make()
    for part in maps[1:]:
        later, shift = part.make()
        matrix, bias = later @ matrix, later @ bias + shift
    matrix = matrix.astype(dtype, copy=False)
    matrix.sort_indices()
    return matrix, np.array(bias, dtype)  # a copy, not the layer's memory
