"""Max pools on CPUs, one axis after the other: of whole rows, where channels lie side by side in memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from fullfield.geometry.axis import Op
from fullfield.graph.calls import bind, held_tensor, pair
from fullfield.graph.rewriting import run_before
from fullfield.lower.inplace import NEW_MEMORY

aten = torch.ops.aten
_MANY = 64  # channels from which on torch's own is as fast, unless kernels overlap by half


def pool_by_axes(module: GraphModule) -> GraphModule:
    """The module with max pools along y and then along x; changed in place.

    torch's own finds the index of every largest number too, and takes channels one by one where they are few.
    """
    for node in module.graph.find_nodes(op="call_function", target=aten.max_pool2d.default):
        _before_activation(module, node)
        args = bind(node)
        kernel = pair(args["kernel_size"])
        if max(kernel) > 1:
            stride = pair(args["stride"] or kernel)
            node.args = args["self"], kernel, stride, pair(args["padding"]), pair(args["dilation"]), args["ceil_mode"]
            node.kwargs, node.target = {}, largest
            node.meta[NEW_MEMORY] = True
    module.recompile()
    return module


def _before_activation(module: GraphModule, node: Node) -> None:
    """Moves a pool before a PReLU that never falls, of which fewer numbers are left to compute: the same bits."""
    activation = node.args[0]
    if not isinstance(activation, Node) or activation.target is not aten.prelu.default or len(activation.users) > 1:
        return
    source, slopes = activation.args
    if not isinstance(slopes, Node) or slopes.op != "get_attr" or bool((held_tensor(module, slopes.target) < 0).any()):
        return
    assert isinstance(source, Node)
    run_before(node, activation, source)


def largest(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil: bool
) -> Tensor:
    """The largest numbers under a kernel that slides over maps, as ``max_pool2d`` gives them.

    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    """
    apart = any(k < 2 * s for k, s in zip(kernel, stride, strict=True))
    if not x.is_floating_point() or (x.shape[1] >= _MANY and apart):
        return torch.max_pool2d(x, kernel, stride, padding, dilation, ceil)
    for dim, k, s, p, d in zip((-2, -1), kernel, stride, padding, dilation, strict=True):
        x = _along(x, dim, Op(k, s, p, p, d, ceil=ceil))
    return x.contiguous(memory_format=torch.channels_last)


def _along(x: Tensor, dim: int, op: Op) -> Tensor:
    """The largest numbers along one axis."""
    cells = x.shape[dim]
    count, size = op.cells(cells), math.gcd(op.kernel, op.stride)
    if op.low or (count - 1) * op.stride + op.extent > cells:
        return _tap_by_tap(x, dim, op)
    if op.dilation == 1 and 1 < size < op.kernel:  # of blocks, then of these
        blocks = _along(x, dim, Op(size, size))
        return _along(blocks, dim, Op(op.kernel // size, op.stride // size))
    if op.kernel * count > 2 * op.kernel.bit_length() * cells:
        return _doubled(x, dim, op)
    return _tap_by_tap(x, dim, op)


def _tap_by_tap(x: Tensor, dim: int, op: Op) -> Tensor:
    """The larger of what each tap reads and those before it; in padding a tap reads nothing."""
    cells = x.shape[dim]
    count = op.cells(cells)
    taps = [range(tap * op.dilation - op.low, cells, op.stride)[:count] for tap in range(op.kernel)]
    firsts = [-(-max(0, -tap.start) // op.stride) for tap in taps]  # results before these lie in padding
    whole = [tap for tap, first in zip(taps, firsts, strict=True) if not first and len(tap) == count]
    found = _cells(x, dim, whole[0]) if whole else None
    if len(whole) > 1:
        found = torch.maximum(_cells(x, dim, whole[0]), _cells(x, dim, whole[1]))
    elif op.kernel > 1:
        shape = list(x.shape)
        shape[dim] = count
        found = x.new_full(shape, -math.inf) if found is None else found.clone()
    assert found is not None
    for tap, first in zip(taps, firsts, strict=True):
        if tap not in whole[:2] and first < len(tap):
            part = found.narrow(dim, first, len(tap) - first)
            torch.maximum(part, _cells(x, dim, tap[first:]), out=part)
    return found


def _doubled(x: Tensor, dim: int, op: Op) -> Tensor:
    """The largest of 1, 2, 4, … neighbours; of the last ones two that overlap make up the kernel."""
    count, size = op.cells(x.shape[dim]), 1
    while 2 * size <= op.kernel:
        length = x.shape[dim] - size * op.dilation
        x = torch.maximum(x.narrow(dim, 0, length), x.narrow(dim, size * op.dilation, length))
        size *= 2
    starts = {0, (op.kernel - size) * op.dilation}
    parts = [_cells(x, dim, range(start, x.shape[dim], op.stride)[:count]) for start in sorted(starts)]
    return torch.maximum(*parts) if len(parts) == 2 else parts[0]


def _cells(x: Tensor, dim: int, cells: range) -> Tensor:
    """Cells along one axis."""
    index: list[slice] = [slice(None)] * x.dim()
    index[dim] = slice(cells.start, cells.stop, cells.step)
    return x[tuple(index)]
