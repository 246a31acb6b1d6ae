"""The arithmetic of windows on a map: output cells, default stride and padding, and why a layer does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fullfield.errors import GeometryError
from fullfield.geometry.axis import Op
from fullfield.geometry.region import Pair


def derived_default(name: str, settings: Mapping[str, Any]) -> Pair:
    """The default stride, the kernel's size, or the default padding, which keeps the size of the map.

    The padding is ``d*(F - 1) / 2`` where the stride is 1 and that is a whole number, else 0.

    Examples:
        >>> derived_default("p", {"f": (3, 5), "s": (1, 1), "d": (1, 1)})
        (1, 2)
        >>> derived_default("p", {"f": (11, 11), "s": (4, 4), "d": (1, 1)})
        (0, 0)
    """
    if name == "s":
        stride: Pair = settings["f"]
        return stride
    pads = []
    for f, s, d in zip(settings["f"], settings["s"], settings["d"], strict=True):
        reach = d * (f - 1)
        pads.append(reach // 2 if s == 1 and reach % 2 == 0 else 0)
    return pads[0], pads[1]


def output_cells(settings: Mapping[str, Any], volume: tuple[int, ...], *, pool: bool = False) -> Pair:
    """Output cells along y and x.

        (W - F + 2P) / S + 1,   F being d*(F - 1) + 1 where the kernel is dilated

    Raises:
        GeometryError: that is not a whole number and ``round`` is not given, or it is less than one, or a pool's
            window could contain padding only.
    """
    ceil = settings["round"] == "ceil"
    found = []
    for axis, size, f, s, p, d in zip(
        "yx", volume[1:], settings["f"], settings["s"], *_padding_and_dilation(settings), strict=True
    ):
        if pool and 2 * p > f:
            raise GeometryError(
                "padding", f"padding {p} is more than half of the kernel {f}", fix="pad by less, or pool by more"
            )
        op = Op(f, s, p, p, d, ceil)
        count = op.cells(size)
        if count < 1 or (settings["round"] == "exact" and op.leftover(size)):
            raise _misfit(axis, size, op, settings, volume)
        found.append(count)
    return found[0], found[1]


def fits(settings: Mapping[str, Any], volume: tuple[int, ...]) -> bool:
    """Whether every cell of the padded map is read and no window reaches beyond its edge."""
    sizes = zip(volume[1:], settings["f"], settings["s"], *_padding_and_dilation(settings), strict=True)
    return all(Op(f, s, p, p, d).leftover(n) == 0 for n, f, s, p, d in sizes)


def _padding_and_dilation(settings: Mapping[str, Any]) -> tuple[Pair, Pair]:
    """Padding and dilation; defaults for layers without these settings."""
    return settings.get("p", (0, 0)), settings.get("d", (1, 1))


def _misfit(axis: str, size: int, op: Op, settings: Mapping[str, Any], volume: tuple[int, ...]) -> GeometryError:
    exact = Fraction(size - op.extent + 2 * op.low, op.stride) + 1
    shown = exact if exact.denominator == 1 else f"{float(exact):.4g}"
    kernel = f"kernel {op.kernel}" + (f" (spans {op.extent}, dilated by {op.dilation})" if op.dilation > 1 else "")
    sum_ = f"({size} - {op.extent} + 2*{op.low})/{op.stride} + 1 = {shown}"
    found = f"{kernel}, stride {op.stride}, padding {op.low} does not fit {size} cells along {axis}: {sum_}"
    if exact < 1:
        return GeometryError("window", found, fix="use a smaller kernel, more padding, fewer pools or a larger INPUT")
    return GeometryError("window", f"{found}, not a whole number", fix=_suggestion(settings, volume))


def _suggestion(settings: Mapping[str, Any], volume: tuple[int, ...]) -> str:
    """What to change: a padding that fits, if there is one, or rounding."""
    rest = "add round=floor to give up the last cells"
    if "p" not in settings:
        return f"change the kernel, the stride or INPUT, or {rest}"
    for p in range(max(settings["f"]) // 2 + 1):
        if fits({**settings, "p": (p, p)}, volume):
            return f"pad with p={p}, or {rest}"
    return f"no padding fits: change the kernel, the stride or INPUT, or {rest}"
