"""Views, slices, joins, repeats and padding: operators that move numbers and compute none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fullfield.engine.engines.emission.call import OperatorCall, Translation
from fullfield.engine.engines.emission.writer import GraphValue, GraphWriter
from fullfield.graph.calls import op_name, pair


def _reshape(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """The same numbers in the shape of the result."""
    return to.reshape(call.value(to, next(iter(call.args))), call.shape)


def _permute(to: GraphWriter, call: OperatorCall) -> GraphValue:
    rank = len(call.shape)
    return to.transpose(call.value(to, "self"), [d % rank for d in call["dims"]])


def _transpose(to: GraphWriter, call: OperatorCall) -> GraphValue:
    order = list(range(len(call.shape)))
    one, other = (call["dim0"] % len(order), call["dim1"] % len(order)) if "dim0" in call.args else (0, len(order) - 1)
    order[one], order[other] = order[other], order[one]
    return to.transpose(call.value(to, "self"), order)


def _slice(to: GraphWriter, call: OperatorCall) -> GraphValue:
    size, dim = _size(call)
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(size)
    return to.slice(call.value(to, "self"), dim, start, stop, step)


def _size(call: OperatorCall) -> tuple[int, int]:
    """The size of the dimension ``dim`` of ``self``, and the dimension counted from 0."""
    shape = call.shape_of("self")
    dim = call["dim"] % len(shape)
    return shape[dim], dim


def _narrow(to: GraphWriter, call: OperatorCall) -> GraphValue:
    size, dim = _size(call)
    start = call["start"] % size
    return to.slice(call.value(to, "self"), dim, start, start + call["length"], 1)


def _select(to: GraphWriter, call: OperatorCall) -> GraphValue:
    size, dim = _size(call)
    start = call["index"] % size
    return to.reshape(to.slice(call.value(to, "self"), dim, start, start + 1, 1), call.shape)


def _unbind(to: GraphWriter, call: OperatorCall) -> list[GraphValue]:
    size, dim = _size(call)
    x, shape = call.value(to, "self"), call.shape_of("self")
    rest = [*shape[:dim], *shape[dim + 1 :]]
    return [to.reshape(to.slice(x, dim, k, k + 1, 1), rest) for k in range(size)]


def _parts(to: GraphWriter, call: OperatorCall) -> list[GraphValue]:
    """Slices of the sizes of the results."""
    _, dim = _size(call)
    x, start, found = call.value(to, "self"), 0, []
    for part in call.values[call.node]:
        found.append(to.slice(x, dim, start, start + part.shape[dim], 1))
        start += part.shape[dim]
    return found


def _cat(to: GraphWriter, call: OperatorCall) -> GraphValue:
    return to.concat(call.several(to, "tensors"), call["dim"] % len(call.shape))


def _stack(to: GraphWriter, call: OperatorCall) -> GraphValue:
    dim = call["dim"] % len(call.shape)
    one = [*call.shape[:dim], 1, *call.shape[dim + 1 :]]
    return to.concat([to.reshape(value, one) for value in call.several(to, "tensors")], dim)


def _expand(to: GraphWriter, call: OperatorCall) -> GraphValue:
    return to.expand(call.value(to, "self"), call.shape)


def _roll(to: GraphWriter, call: OperatorCall) -> GraphValue:
    x, shape = call.value(to, "self"), call.shape
    for shift, dim in zip(call["shifts"], call["dims"], strict=True):
        size = shape[dim % len(shape)]
        if cut := -shift % size:
            place = dim % len(shape)
            x = to.concat([to.slice(x, place, cut, size, 1), to.slice(x, place, 0, cut, 1)], place)
    return x


def _flip(to: GraphWriter, call: OperatorCall) -> GraphValue:
    x, shape = call.value(to, "self"), call.shape
    for dim in call["dims"]:
        x = to.gather(x, dim % len(shape), list(reversed(range(shape[dim]))))
    return x


def _pad(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """By a number, which crops where it is asked for less than none, or by the map's own cells."""
    x, shape = call.value(to, "self"), call.shape_of("self")
    pads = call["pad"] if "pad" in call.args else call["padding"]
    sides = {len(shape) - 1 - k: (pads[2 * k], pads[2 * k + 1]) for k in range(len(pads) // 2)}
    mode = call["mode"] or _MODES.get(op_name(call.node), "constant")
    if mode != "constant":
        for dim, (low, high) in sides.items():
            if low or high:
                x = to.gather(x, dim, _own_cells(mode, shape[dim], low, high))
        return x
    before, after = ([max(0, sides.get(d, (0, 0))[end]) for d in range(len(shape))] for end in (0, 1))
    if any(before) or any(after):
        x = to.pad(x, before, after, float(call["value"] or 0))
    for dim, (low, high) in sides.items():
        if min(low, high) < 0:
            stop = shape[dim] + before[dim] + after[dim] - max(0, -high)
            x = to.slice(x, dim, max(0, -low), stop, 1)
    return x


_MODES = {"reflection_pad2d": "reflect", "replication_pad2d": "replicate"}


def _own_cells(mode: str, size: int, low: int, high: int) -> list[int]:
    """The places of a dimension that its padding repeats."""
    places = range(-low, size + high)
    if mode == "circular":
        return [p % size for p in places]
    if mode == "replicate":
        return [min(max(p, 0), size - 1) for p in places]
    return [abs(p) if p < size else 2 * (size - 1) - p for p in places]


def _index_select(to: GraphWriter, call: OperatorCall) -> GraphValue:
    index = call.fixed("index")
    assert index is not None
    _, dim = _size(call)
    return to.gather(call.value(to, "self"), dim, index.tolist())


def _repeat_interleave(to: GraphWriter, call: OperatorCall) -> GraphValue:
    size, dim = _size(call)
    return to.gather(call.value(to, "self"), dim, [k // call["repeats"] for k in range(size * call["repeats"])])


def _unfold(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """Kernels along a dimension, their places last."""
    shape = call.shape_of("self")
    dim, count, size = call["dimension"] % len(shape), call.shape[call["dimension"] % len(shape)], call["size"]
    index = [k * call["step"] + t for k in range(count) for t in range(size)]
    apart = to.reshape(to.gather(call.value(to, "self"), dim, index), [*shape[:dim], count, size, *shape[dim + 1 :]])
    return to.transpose(apart, [d for d in range(len(shape) + 1) if d != dim + 1] + [dim + 1])


def _shuffled(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """Channels in groups, the place within the group before the group."""
    n, c, *cells = call.shape
    groups = call["groups"]
    apart = to.reshape(call.value(to, "self"), [n, groups, c // groups, *cells])
    order = [0, 2, 1, *range(3, 3 + len(cells))]
    return to.reshape(to.transpose(apart, order), call.shape)


def _blocks(factors: Callable[[OperatorCall], Sequence[int]]) -> Translation:
    """Blocks of cells from channels."""

    def write(to: GraphWriter, call: OperatorCall) -> GraphValue:
        (n, c, y, x), (fy, fx) = call.shape, factors(call)
        apart = to.reshape(call.value(to, next(iter(call.args))), [n, c, fy, fx, y // fy, x // fx])
        return to.reshape(to.transpose(apart, [0, 1, 4, 2, 5, 3]), call.shape)

    return Translation(write, lambda call: len(call.shape) == 4)


def _nearest(to: GraphWriter, call: OperatorCall) -> GraphValue:
    """Whole multiples of the size."""
    name = next(iter(call.args))
    (n, c, y, x), (height, width) = call.shape_of(name), call.shape[-2:]
    apart = to.expand(to.reshape(call.value(to, name), [n, c, y, 1, x, 1]), [n, c, y, height // y, x, width // x])
    return to.reshape(apart, call.shape)


def _is_multiple(call: OperatorCall) -> bool:
    shape = call.shape_of(next(iter(call.args)))
    return len(shape) == 4 and all(m % n == 0 for m, n in zip(call.shape[-2:], shape[-2:], strict=True))


_RESHAPES = ("reshape", "view", "_unsafe_view", "view_as", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze")


def _pad_modes(call: OperatorCall) -> bool:
    pads: Any = call["pad"] if "pad" in call.args else call["padding"]
    return (call["mode"] or "constant") == "constant" or min(pads) >= 0


TABLE = {
    **{name: Translation(_reshape) for name in _RESHAPES},
    "permute": Translation(_permute),
    **{name: Translation(_transpose) for name in ("transpose", "swapaxes", "swapdims", "t")},
    "slice": Translation(_slice, lambda call: call["step"] > 0),
    "narrow": Translation(_narrow, lambda call: isinstance(call["start"], int)),
    "select": Translation(_select),
    "unbind": Translation(_unbind),
    **{name: Translation(_parts, lambda call: "dim" in call.args) for name in ("split", "split_with_sizes", "chunk")},
    "cat": Translation(_cat),
    "concat": Translation(_cat),
    "stack": Translation(_stack),
    "expand": Translation(_expand),
    "expand_as": Translation(_expand),
    "roll": Translation(_roll, lambda call: len(call["shifts"]) == len(call["dims"])),
    "flip": Translation(_flip),
    **{name: Translation(_pad, _pad_modes) for name in ("pad", "constant_pad_nd", *_MODES)},
    "index_select": Translation(_index_select, lambda call: call.fixed("index") is not None),
    "repeat_interleave": Translation(
        _repeat_interleave, lambda call: isinstance(call["repeats"], int) and call["dim"] is not None
    ),
    "unfold": Translation(_unfold),
    "channel_shuffle": Translation(_shuffled),
    "native_channel_shuffle": Translation(_shuffled),
    "pixel_shuffle": _blocks(lambda call: pair(call["upscale_factor"])),
    "depth_to_space": _blocks(lambda call: call["factors"]),
    "upsample_nearest2d": Translation(_nearest, _is_multiple),
}
