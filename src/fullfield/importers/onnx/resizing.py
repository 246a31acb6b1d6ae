"""Maps ONNX operators that resize or sample maps.

What torch resizes in the same way becomes its operator, whose maps windows can share. All other ways are products with
one matrix for each axis, as ONNX defines them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue, listed

aten = torch.ops.aten

_LARGEST = 2**13  # cells along an axis of a matrix
_FACTORS = 3  # decimals to which the factors of nearest upsampling are whole
_SAME_SIZE = 1e-4  # cells: factors have 32 bits
_MIXING = {
    ("linear", None, False, False): aten.upsample_bilinear2d.vec,
    ("cubic", -0.75, False, False): aten.upsample_bicubic2d.vec,
    ("linear", None, True, True): aten._upsample_bilinear2d_aa.vec,
    ("cubic", -0.5, True, True): aten._upsample_bicubic2d_aa.vec,
}
"""torch's operators: of the mode, the coefficient of cubes, and whether antialiased and without cells outside."""

_COORDINATES: dict[str, Callable[[np.float32, np.float32, int, int], np.float32 | float]] = {
    "half_pixel": lambda x, s, n, m: (x + 0.5) / s - 0.5,
    "half_pixel_symmetric": lambda x, s, n, m: n / 2 * (1 - m / (s * n)) + (x + 0.5) / s - 0.5,
    "pytorch_half_pixel": lambda x, s, n, m: (x + 0.5) / s - 0.5 if m > 1 else 0.0,
    "tf_half_pixel_for_nn": lambda x, s, n, m: (x + 0.5) / s,
    "align_corners": lambda x, s, n, m: x * (n - 1) / (m - 1) if m > 1 else 0.0,
    "asymmetric": lambda x, s, n, m: x / s,
}
"""Where an output cell lies in the input: of its index, the factor, and the numbers of input and output cells."""

_ROUND: dict[str, Callable[[float], float]] = {
    "round_prefer_floor": lambda x: math.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


_CROP = "tf_crop_and_resize"


@dataclass(frozen=True)
class ResizedAxis:
    """An axis that is resized.

    Args:
        count: cells of the input.
        cells: cells of the output.
        factor: by which they grow.
        part: of the input that is resized, 0 … 1 from its first to its last cell.
    """

    count: int
    cells: int
    factor: float
    part: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Resizing:
    """How ONNX resizes: the attributes of ``Resize``."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    antialias: bool
    exclude_outside: bool
    outside: float = 0.0

    def matrix(self, axis: ResizedAxis) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights of the input's cells in the output's along one axis, and what is added to each of these.

        Shape: ``(cells, count)`` and ``(cells,)``
        Source: ONNX operator Resize-19, reference implementation.
        """
        weights = torch.zeros(axis.cells, axis.count, dtype=torch.float64)
        added = torch.zeros(axis.cells, dtype=torch.float64)
        for out in range(axis.cells):
            place = self._place(out, axis)
            if self.crops and not 0 <= place <= axis.count - 1:
                added[out] = self.outside
                continue
            for cell, weight in self._taps(place, axis.factor, axis.count):
                weights[out, min(max(cell, 0), axis.count - 1)] += weight
        return weights, added

    @property
    def crops(self) -> bool:
        """Whether a part of the map is resized, which may reach beyond it."""
        return self.coordinates == _CROP

    def _place(self, out: int, axis: ResizedAxis) -> float:
        """Where an output cell is in the input; in float32, as ONNX Runtime: it rounds places half between two."""
        if not self.crops:
            numbers = np.float32(out), np.float32(axis.factor)
            return float(_COORDINATES[self.coordinates](*numbers, axis.count, axis.cells))
        start, end = (np.float32(each) for each in axis.part)
        last = np.float32(axis.count - 1)
        if axis.cells == 1:
            return float(np.float32(0.5) * (start + end) * last)
        return float(start * last + np.float32(out) * ((end - start) * last / np.float32(axis.cells - 1)))

    def _taps(self, place: float, factor: float, count: int) -> list[tuple[int, float]]:
        """The input's cells, which may be outside, that an output cell reads, and their weights."""
        if self.mode == "nearest":
            return [(int(_ROUND[self.nearest](place)), 1.0)]
        scale = min(factor, 1.0) if self.antialias else 1.0
        reach = (2 if self.mode == "cubic" else 1) / scale
        cells = range(math.floor(place - reach), math.ceil(place + reach) + 1)
        weigh = self._cubic if self.mode == "cubic" else _triangle
        taps = [(cell, weigh(abs(cell - place) * scale)) for cell in cells]
        if self.exclude_outside:
            taps = [(cell, weight) for cell, weight in taps if 0 <= cell < count]
        total = sum(weight for _, weight in taps)
        return [(cell, weight / total) for cell, weight in taps] if total else []

    def _cubic(self, away: float) -> float:
        a = self.cubic
        if away <= 1:
            return (a + 2) * away**3 - (a + 3) * away**2 + 1
        return a * away**3 - 5 * a * away**2 + 8 * a * away - 4 * a if away < 2 else 0.0


def _triangle(away: float) -> float:
    return max(0.0, 1.0 - away)


@operator("Resize", "Upsample")
def resize(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A map made finer or coarser along any axes but the batch."""
    x, how = call.input(0), _how(call)
    rank = len(x.shapes[0])
    factors, sizes = _sizes(call, rank)
    parts = _parts(call, rank) if how.crops else [(0.0, 1.0)] * rank
    axes = [ResizedAxis(*each) for each in zip(x.shapes[0], sizes, factors, parts, strict=True)]
    changed = [i for i, axis in enumerate(axes) if axis != ResizedAxis(axis.count, axis.count, 1.0)]
    if any(x.shapes[0][axis] != x.shapes[1][axis] for axis in changed):
        raise LayerRefused("resizes the batch")
    if not changed:
        return x
    found = _by_torch(b, x, how, factors, sizes) if rank == 4 and set(changed) <= {2, 3} else None
    if found is not None:
        return found
    for axis in changed:
        x = _along(b, x, axis, how, axes[axis])
    return x


def _how(call: OnnxCall) -> Resizing:
    old = call.op == "Upsample" or call.opset < 11
    how = Resizing(
        mode={"bilinear": "linear"}.get(call.text("mode", "nearest"), call.text("mode", "nearest")),
        coordinates=call.text("coordinate_transformation_mode", "asymmetric" if old else "half_pixel"),
        nearest=call.text("nearest_mode", "floor" if old else "round_prefer_floor"),
        cubic=call.real("cubic_coeff_a", -0.75),
        antialias=bool(call.integer("antialias", 0)) and call.text("mode", "nearest") != "nearest",
        exclude_outside=bool(call.integer("exclude_outside", 0)),
        outside=call.real("extrapolation_value", 0.0),
    )
    if how.mode not in ("nearest", "linear", "cubic") or how.coordinates not in {*_COORDINATES, _CROP}:
        raise LayerRefused(f"mode {how.mode!r} with coordinates {how.coordinates!r}")
    return how


def _sizes(call: OnnxCall, rank: int) -> tuple[list[float], list[int]]:
    """Factors and cells of the output, one for each axis."""
    shape = list(call.input(0).shapes[0])
    axes = [axis % rank for axis in call.ints("axes", range(rank)) or []]
    at = 1 if call.op == "Upsample" or call.opset < 11 else 2
    factors, cells = [1.0] * rank, list(shape)
    given = call.attributes.get("scales")
    scales = None if call.optional(at) is None else call.known(at)
    if given is not None or (scales is not None and scales.tensors[0].numel()):
        numbers = given if given is not None else scales.tensors[0].reshape(-1).tolist()  # type: ignore[union-attr]
        for axis, factor in zip(axes, numbers, strict=True):
            factors[axis], cells[axis] = float(factor), math.floor(shape[axis] * float(factor) + 1e-6)
        return factors, cells
    if call.optional(3) is None:
        raise LayerRefused("its factors and sizes are not known")
    wanted = {
        axis: size
        for axis, size in zip(axes, listed(call.known(3).tensors[0]), strict=True)
        if shape[axis] == call.input(0).shapes[1][axis]  # the batch keeps its size
    }
    policy = call.text("keep_aspect_ratio_policy", "stretch")
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise LayerRefused(f"keep_aspect_ratio_policy {policy!r}")
    ratios = [size / shape[axis] for axis, size in wanted.items()]
    common = None if policy == "stretch" else (min if policy == "not_larger" else max)(ratios)
    for axis, size in wanted.items():
        factors[axis] = size / shape[axis] if common is None else common
        cells[axis] = size if common is None else math.floor(shape[axis] * common + 0.5)
    return factors, cells


def _parts(call: OnnxCall, rank: int) -> list[tuple[float, float]]:
    """The part of each axis that is resized."""
    parts = [(0.0, 1.0)] * rank
    axes = [axis % rank for axis in call.ints("axes", range(rank)) or []]
    given = call.known(1)
    if not given.fixed or given.tensors[0].numel() != 2 * len(axes):
        raise LayerRefused(f"a part of {given.tensors[0].numel()} numbers for {len(axes)} axes")
    starts, ends = given.tensors[0].reshape(2, -1).tolist()
    for axis, start, end in zip(axes, starts, ends, strict=True):
        parts[axis] = (start, end)
    return parts


def _by_torch(b: AtenBuilder, x: OnnxValue, how: Resizing, factors: list[float], cells: list[int]) -> OnnxValue | None:
    """torch's operator where it computes the same numbers; ``None`` where there is none."""
    if how.crops:
        return None
    scales, sizes, shape = factors[2:], cells[2:], x.shapes[0][2:]
    whole = all(abs(s - round(s)) < 10**-_FACTORS and s >= 1 for s in scales)
    if how.mode == "nearest":
        usual = (how.coordinates, how.nearest) == ("asymmetric", "floor")
        middle = how.coordinates in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
        if whole and (usual or (middle and how.nearest.startswith("round") and min(sizes) > 1)):
            return b.call(aten.upsample_nearest2d.vec, x, None, [float(round(s)) for s in scales])
        return None
    corners = how.coordinates == "align_corners"
    centred = how.coordinates == "half_pixel" or (how.coordinates == "pytorch_half_pixel" and min(sizes) > 1)
    exact = all(abs(size - n * s) < _SAME_SIZE for size, n, s in zip(sizes, shape, scales, strict=True))
    target = _MIXING.get((how.mode, how.cubic if how.mode == "cubic" else None, how.antialias, how.exclude_outside))
    if target is None or not (corners or (centred and exact)) or (corners and how.antialias):
        return None
    if corners or not whole or how.antialias:
        return b.call(target, x, sizes, corners, None)
    return b.call(target, x, None, False, [float(s) for s in scales])


def _along(b: AtenBuilder, x: OnnxValue, axis: int, how: Resizing, resized: ResizedAxis) -> OnnxValue:
    """The map resized along one axis, by a product with a matrix."""
    rank = len(x.shapes[0])
    if not 0 < resized.cells <= _LARGEST or resized.count > _LARGEST:
        raise LayerRefused(f"resizes {resized.count} cells to {resized.cells}")
    b.allowance.fold((resized.cells, resized.count), torch.float64)
    weights, added = how.matrix(resized)
    arguments = [Known.constant(weights.to(x.dtype))]
    if bool(added.any()):
        arguments.append(Known.constant(added.to(x.dtype)))
    if axis == rank - 1:
        return b.call(aten.linear.default, x, *arguments)
    order = [*range(axis), *range(axis + 1, rank), axis]
    back = [order.index(i) for i in range(rank)]
    turned = b.call(aten.linear.default, b.call(aten.permute.default, x, order), *arguments)
    return b.call(aten.permute.default, turned, back)


@operator("AffineGrid")
def affine_grid(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The places of the cells of a map or a volume, moved by an affine map for each window or one for all."""
    theta, corners = call.input(0), bool(call.integer("align_corners", 0))
    cells = listed(call.known(1).tensors[0])[2:]
    unmoved = torch.eye(len(cells), len(cells) + 1, dtype=theta.dtype)[None]
    b.allowance.fold((2, *cells, len(cells) + 1), theta.dtype)
    places = aten.affine_grid_generator.default(unmoved, [1, 1, *cells], corners).reshape(1, -1, len(cells))
    places = torch.cat([places, torch.ones_like(places[..., :1])], -1)
    moved = b.call(aten.matmul.default, Known.constant(places), b.call(aten.transpose.int, theta, 1, 2))
    low, high = ([shape[0], *cells, len(cells)] for shape in moved.shapes)
    return b.reshape(moved, (low, high))


@operator("GridSample")
def grid_sample(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A map read at places between its cells."""
    modes = {"bilinear": 0, "linear": 0, "nearest": 1, "bicubic": 2, "cubic": 2}
    paddings = {"zeros": 0, "border": 1, "reflection": 2}
    mode, padding = call.text("mode", "linear"), call.text("padding_mode", "zeros")
    x, grid = call.input(0), call.buffer(1)
    rank = len(x.shapes[0])
    if mode not in modes or padding not in paddings or rank not in (4, 5) or (rank == 5 and modes[mode] == 2):
        raise LayerRefused(f"mode {mode!r} and padding {padding!r} of {len(x.shapes[0])} dimensions")
    low, high = ([shape[0], *place[1:]] for shape, place in zip(x.shapes, grid.shapes, strict=True))
    if grid.shapes[0][0] == 1:
        grid = b.expand(grid, (low, high))
    corners = bool(call.integer("align_corners", 0))
    target = aten.grid_sampler_2d.default if rank == 4 else aten.grid_sampler_3d.default
    return b.call(target, x, grid, modes[mode], paddings[padding], corners)
