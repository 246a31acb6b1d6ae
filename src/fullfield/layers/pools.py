"""Pools without parameters: maximum, mean and root of squares, over cells and over neighbouring maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fullfield.arguments import parse_pair
from fullfield.errors import GeometryError
from fullfield.geometry.axis import Op
from fullfield.geometry.region import Pair
from fullfield.layers.pool_operators import feature_l2_pool, l2_pool2d
from fullfield.layers.sizes import Size, axis_ops, check_fit, positive


class _Fits:
    """The geometry of pools over cells."""

    kernel_size: Any
    stride: Any
    padding: Any
    must_fit: bool

    @property
    def F(self) -> Pair:
        """Kernel along y and x (cells)."""
        return parse_pair("kernel_size", self.kernel_size)

    @property
    def S(self) -> Pair:
        """Stride along y and x (cells)."""
        return parse_pair("stride", self.stride)

    @property
    def ops(self) -> list[Op]:
        """The pool's geometry along y and x."""
        dilation = parse_pair("dilation", getattr(self, "dilation", 1))
        ceil = bool(getattr(self, "ceil_mode", False))
        return axis_ops(self.F, self.S, parse_pair("padding", self.padding, least=0), dilation, ceil=ceil)

    def fits(self, size: Size) -> bool:
        """Whether every cell of a padded map of ``size`` is read and no window reaches beyond its edge.

        Examples:
            >>> MaxPool2d(3, 2).fits(55), MaxPool2d(3, 3).fits(7)
            (True, False)
        """
        height, width = parse_pair("size", size)
        return all(op.cells(n) > 0 and op.leftover(n) == 0 for op, n in zip(self.ops, (height, width), strict=True))

    def check(self, size: Size) -> None:
        """Raises unless the pool fits a map of ``size``.

        Raises:
            GeometryError: it does not; the text shows the arithmetic.
        """
        check_fit(self.ops, parse_pair("size", size), type(self).__name__)

    def _checked(self, x: torch.Tensor) -> torch.Tensor:
        if self.must_fit:
            self.check((int(x.shape[-2]), int(x.shape[-1])))
        return x


class MaxPool2d(_Fits, nn.MaxPool2d):
    """torch's ``MaxPool2d`` that checks its fit: the maximum of ``F`` x ``F`` cells every ``S`` cells.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as in torch.
        must_fit: whether a map that the pool does not fit is an error.

    Examples:
        >>> MaxPool2d(2)(torch.arange(16.0).reshape(1, 1, 4, 4)).flatten().tolist()
        [5.0, 7.0, 13.0, 15.0]
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        *,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
        must_fit: bool = True,
    ) -> None:
        numbers = _numbers(kernel_size, stride, padding)
        super().__init__(*numbers, parse_pair("dilation", dilation), ceil_mode=ceil_mode)
        self.must_fit = must_fit

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The pooled map. Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``"""
        result: torch.Tensor = super().forward(self._checked(input))
        return result


class AvgPool2d(_Fits, nn.AvgPool2d):
    """torch's ``AvgPool2d`` that checks its fit: the mean of ``F`` x ``F`` cells every ``S`` cells.

    Args:
        kernel_size, stride, padding, ceil_mode, count_include_pad: as in torch.
        must_fit: whether a map that the pool does not fit is an error.

    Examples:
        >>> AvgPool2d(2)(torch.arange(16.0).reshape(1, 1, 4, 4)).flatten().tolist()
        [2.5, 4.5, 10.5, 12.5]
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        *,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        must_fit: bool = True,
    ) -> None:
        super().__init__(*_numbers(kernel_size, stride, padding), ceil_mode, count_include_pad)
        self.must_fit = must_fit

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The pooled map. Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``"""
        return super().forward(self._checked(input))


class L2Pool2d(_Fits, nn.Module):
    """The root of the sum of squares over ``F`` x ``F`` cells every ``S`` cells; with ``mean``, of their mean.

        y = (sum of x**2 over the window) ** (1/2),   with mean divided by F

    Padding adds zeros, and the mean's divisor counts them. Where a whole window is zero the gradient is zero.

    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    Args:
        kernel_size, stride, padding: cells, one number or (y, x); the stride is the kernel if not given.
        mean: root of the mean of squares instead of their sum.
        must_fit: whether a map that the pool does not fit is an error.

    Source: Torch7 ``SpatialLPPooling`` (p = 2); ONNX ``LpPool``.
    Examples:
        >>> L2Pool2d(2)(torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]])).item()
        5.0
        >>> L2Pool2d(2, mean=True)(torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]])).item()
        2.5
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        *,
        padding: Size = 0,
        mean: bool = False,
        must_fit: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = _numbers(kernel_size, stride, padding)
        self.mean, self.must_fit = mean, must_fit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The pooled map."""
        result: torch.Tensor = l2_pool2d(self._checked(x), self.kernel_size, self.stride, self.padding, self.mean)
        return result

    def extra_repr(self) -> str:
        """Kernel, stride and padding."""
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}, mean={self.mean}"


class FeatureL2Pool(nn.Module):
    """The root of the sum of squares over ``width`` neighbouring feature maps, every ``stride`` maps.

        y[o] = (sum of x[c]**2 for c in o*stride ... o*stride + width - 1) ** (1/2)

    Where all of them are zero the gradient is zero.

    Shape: ``(n, c, y, x)`` -> ``(n, groups * ((c / groups - width) / stride + 1), y, x)``
    Args:
        width: maps pooled into one; ``None`` for all of a group.
        stride: maps from one start to the next; ``width`` if not given.
        groups: equal parts of the maps; none is pooled across two of them.
        must_fit: whether unread maps are an error.

    Source: Torch7 ``FeatureLPPooling`` (p = 2); Kavukcuoglu et al. 2009 (topographic maps).
    Examples:
        >>> FeatureL2Pool(2)(torch.tensor([3.0, 4.0, 0.0, 1.0]).reshape(1, 4, 1, 1)).flatten().tolist()
        [5.0, 1.0]
        >>> FeatureL2Pool(3, 1).fits(16)
        True
    """

    def __init__(
        self, width: int | None = None, stride: int | None = None, *, groups: int = 1, must_fit: bool = True
    ) -> None:
        super().__init__()
        self.width = None if width is None else positive(width, "width")
        self.stride = self.width if stride is None else positive(stride, "stride")
        self.groups, self.must_fit = positive(groups, "groups"), must_fit

    @property
    def F(self) -> int | None:
        """Maps pooled into one; ``None`` for all of a group."""
        return self.width

    @property
    def S(self) -> int | None:
        """Maps from one start to the next."""
        return self.stride

    def fits(self, maps: int) -> bool:
        """Whether all of so many maps are read."""
        width, stride, each = self._numbers(maps)
        return maps % self.groups == 0 and each >= width and (each - width) % stride == 0

    def check(self, maps: int) -> None:
        """Raises unless so many maps can be pooled, all of them where ``must_fit``.

        Raises:
            GeometryError: they cannot, or maps are unread; the text shows the arithmetic.
        """
        width, stride, each = self._numbers(maps)
        if maps % self.groups:
            raise GeometryError("FeatureL2Pool", f"{maps} maps in {self.groups} groups", fix="use groups that divide")
        if each < width:
            raise GeometryError("FeatureL2Pool", f"width {width} is more than {each} maps", fix="pool fewer maps")
        if self.must_fit and (each - width) % stride:
            raise GeometryError(
                "FeatureL2Pool",
                f"width {width}, stride {stride} does not fit {each} maps: "
                f"({each} - {width}) / {stride} leaves {(each - width) % stride}",
                fix="change the width or the stride, or build the layer with must_fit=False",
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The pooled maps."""
        maps = int(x.shape[1])
        self.check(maps)
        width, stride, _ = self._numbers(maps)
        result: torch.Tensor = feature_l2_pool(x, width, stride, self.groups)
        return result

    def extra_repr(self) -> str:
        """Width, stride and groups."""
        return f"{self.width}, stride={self.stride}, groups={self.groups}"

    def _numbers(self, maps: int) -> tuple[int, int, int]:
        each = max(1, maps // self.groups)
        return self.width or each, self.stride or self.width or each, each


def _numbers(kernel_size: Size, stride: Size | None, padding: Size) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride (the kernel if not given) and padding, along y and x.

    Raises:
        GeometryError: padding of more than half of the kernel, so that a window could contain padding only.
    """
    kernel = parse_pair("kernel_size", kernel_size)
    pads = parse_pair("padding", padding, least=0)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        raise GeometryError("padding", f"{pads} is more than half of the kernel {kernel}", fix="pad the map instead")
    return kernel, parse_pair("stride", kernel if stride is None else stride), pads
