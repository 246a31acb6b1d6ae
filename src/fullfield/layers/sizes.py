"""Sizes of a windowed layer: output cells, and whether kernel and stride fit the input."""

from __future__ import annotations

from collections.abc import Sequence

from fullfield.errors import GeometryError
from fullfield.geometry.axis import Op
from fullfield.geometry.region import Pair

Size = int | Sequence[int]


def positive(value: int, name: str) -> int:
    """``value``.

    Raises:
        GeometryError: not an integer of at least 1.
    """
    if not isinstance(value, int) or value < 1:
        raise GeometryError(name, f"{value!r} is not a positive integer", fix="use 1 or more")
    return value


def axis_ops(kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1), *, ceil: bool = False) -> list[Op]:
    """One operator for y and one for x."""
    return [Op(k, s, p, p, d, ceil) for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True)]


def output_cells(ops: Sequence[Op], size: Sequence[int], where: str) -> Pair:
    """Output cells along y and x.

    Raises:
        GeometryError: the kernel is larger than the padded input.
    """
    found = [op.cells(n) for op, n in zip(ops, size, strict=True)]
    for op, n, count in zip(ops, size, found, strict=True):
        if count < 1:
            raise GeometryError(
                where,
                f"kernel {op.kernel} spans {op.extent} cells, more than the {n + op.low + op.high} of its padded input",
                fix="use a larger input, a smaller kernel or more padding",
            )
    return found[0], found[1]


def check_fit(ops: Sequence[Op], size: Sequence[int], where: str) -> None:
    """Raises unless every padded cell is read along both axes.

        (n + 2*P - d*(F - 1) - 1) mod S == 0

    Raises:
        GeometryError: cells are left over, or the last window reaches beyond the edge; the text shows the arithmetic.
    """
    output_cells(ops, size, where)
    for axis, op, n in zip("yx", ops, size, strict=True):
        left = op.leftover(n)
        if left:
            padded = f"({n} + {op.low + op.high} - {op.extent})" if op.low + op.high else f"({n} - {op.extent})"
            what = f"leaves {left}" if left > 0 else f"lacks {-left} for its last window"
            raise GeometryError(
                where,
                f"kernel {op.kernel}, stride {op.stride} does not fit {n} cells along {axis}: "
                f"{padded} / {op.stride} {what}",
                fix="change the padding or the kernel, or build the layer with must_fit=False",
            )
