"""Layers of LeNet-5 that later networks lack: a connection table, trained subsampling, distances to codes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fullfield.arguments import check_choice, parse_pair
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.layers.sizes import Size, positive

ConnectionTable = tuple[tuple[int, ...], ...]
"""The input maps that each output map reads, in ascending order."""

TABLES: Mapping[str, ConnectionTable] = {
    "lenet": (
        *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
        *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
        *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
        (0, 1, 2, 3, 4, 5),
    )
}
"""Tables by name: ``lenet`` connects LeNet-5's S2 (6 maps) to C3 (16 maps). Source: LeCun et al. 1998, table I."""


class TableConv2d(nn.Module):
    """A convolution whose output maps each read some of the input maps, given by a table; others have no weights.

    In graphs it is one ``conv2d`` whose kernels are zero where the table has no connection.

    Shape: ``(n, in, y, x)`` -> ``(n, out, y', x')``; weight ``(connections, kH, kW)``, ordered by output map
    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, bias: as of ``nn.Conv2d``.
        table: a name from ``TABLES``, or for every output map the input maps that it reads.

    Raises:
        UnsupportedError: an unknown name of a table.
        GeometryError: a table for other numbers of maps, or with a row that is empty or names a map twice.
    Source: LeCun, Bottou, Bengio & Haffner 1998, section II.B, doi 10.1109/5.726791; Torch7 ``SpatialConvolutionMap``.
    Examples:
        >>> layer = TableConv2d(6, 16, 5, table="lenet")
        >>> len(layer.weight), sum(p.numel() for p in layer.parameters())
        (60, 1516)
    """

    rows: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        table: str | Sequence[Sequence[int]],
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = positive(in_channels, "in_channels")
        self.out_channels = positive(out_channels, "out_channels")
        self.kernel_size, self.stride = parse_pair("kernel_size", kernel_size), parse_pair("stride", stride)
        self.padding, self.dilation = parse_pair("padding", padding, least=0), parse_pair("dilation", dilation)
        self.table = _table(table, self.in_channels, self.out_channels)
        connections = sum(map(len, self.table))
        self.weight = nn.Parameter(torch.empty(connections, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(self.out_channels)) if bias else None
        rows = torch.full(
            (self.out_channels, self.in_channels), connections, device="cpu"
        )  # a row of zeros follows the weights
        first = 0
        for output, maps in enumerate(self.table):
            rows[output, list(maps)] = torch.arange(first, first + len(maps), device="cpu")
            first += len(maps)
        self.register_buffer("rows", rows.to(self.weight.device), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights as ``nn.Conv2d`` does; the bound of a map depends on the number of its inputs."""
        taps = self.kernel_size[0] * self.kernel_size[1]
        first = 0
        for output, maps in enumerate(self.table):
            bound = 1 / math.sqrt(len(maps) * taps)
            nn.init.uniform_(self.weight[first : first + len(maps)], -bound, bound)
            first += len(maps)
            if self.bias is not None:
                nn.init.uniform_(self.bias[output : output + 1], -bound, bound)

    def kernels(self) -> Tensor:
        """All kernels, zero without a connection. Shape: ``(out, in, kH, kW)``"""
        padded = torch.cat([self.weight, self.weight.new_zeros(1, *self.kernel_size)])
        return padded[self.rows]

    def to_conv(self) -> nn.Conv2d:
        """The equal convolution, with zero kernels."""
        numbers = (self.kernel_size, self.stride, self.padding, self.dilation)
        conv = nn.Conv2d(self.in_channels, self.out_channels, *numbers, 1, self.bias is not None, device="meta")
        return _filled(conv, self.kernels(), self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The convolved map."""
        return F.conv2d(x, self.kernels(), self.bias, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        """Maps, table, kernel, stride, padding."""
        name = next((n for n, t in TABLES.items() if t == self.table), f"{len(self.weight)} connections")
        return (
            f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, table={name}, "
            f"stride={self.stride}, padding={self.padding}"
        )


class Subsample2d(nn.Module):
    """The sum of ``F`` x ``F`` cells, times a trained factor and plus a trained bias, one of each for a map.

        y[c] = weight[c] * (sum of x[c] over the window) + bias[c]

    In graphs it is one ``conv2d`` with as many groups as maps; all taps of a kernel are equal.

    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``; weight and bias ``(c,)``
    Args:
        channels: maps.
        kernel_size, stride: cells, one number or (y, x); the stride is the kernel if not given.

    Source: LeCun et al. 1998, section II.B (S2 and S4); Torch7 ``SpatialSubSampling``.
    Examples:
        >>> sum(p.numel() for p in Subsample2d(6).parameters())
        12
    """

    def __init__(self, channels: int, kernel_size: Size = 2, stride: Size | None = None) -> None:
        super().__init__()
        self.channels, self.kernel_size = positive(channels, "channels"), parse_pair("kernel_size", kernel_size)
        self.stride = parse_pair("stride", self.kernel_size if stride is None else stride)
        self.weight = nn.Parameter(torch.empty(self.channels))
        self.bias = nn.Parameter(torch.empty(self.channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws factors and biases as Torch7 does."""
        bound = 1 / math.sqrt(self.kernel_size[0] * self.kernel_size[1])
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def kernels(self) -> Tensor:
        """Shape: ``(c, 1, kH, kW)``"""
        return self.weight[:, None, None, None].expand(-1, 1, *self.kernel_size)

    def to_conv(self) -> nn.Conv2d:
        """The equal convolution, with as many groups as maps."""
        c = self.channels
        conv = nn.Conv2d(c, c, self.kernel_size, self.stride, groups=c, device="meta")
        return _filled(conv, self.kernels(), self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The subsampled map."""
        return F.conv2d(x, self.kernels(), self.bias, self.stride, groups=self.channels)

    def extra_repr(self) -> str:
        """Maps, kernel and stride."""
        return f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}"


class RadialBasis(nn.Module):
    """The negated squared distance of a vector to each of some fixed codes of -1 and +1.

        y[k] = - sum over j of (x[j] - code[k, j])**2

    Codes are random, as the paper allows; LeNet-5's were drawings of characters. They are not trained.

    Shape: ``(n, in)`` -> ``(n, out)``; codes ``(out, in)``
    Args:
        in_features: length of a vector.
        out_features: number of codes.

    Source: LeCun et al. 1998, section II.B, equation 7.
    Examples:
        >>> layer = RadialBasis(84, 10)
        >>> int(layer(layer.codes).argmax(1)[3]), sum(p.numel() for p in layer.parameters())
        (3, 0)
    """

    codes: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = positive(in_features, "in_features")
        self.out_features = positive(out_features, "out_features")
        drawn = torch.randint(0, 2, (self.out_features, self.in_features))
        self.register_buffer("codes", 2 * drawn.to(torch.get_default_dtype()) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """The negated distances."""
        lengths = (self.codes * self.codes).sum(1)
        return F.linear(x, 2 * self.codes, -lengths) - (x * x).sum(1, keepdim=True)

    def extra_repr(self) -> str:
        """Length of a vector and number of codes."""
        return f"{self.in_features}, {self.out_features}"


def _table(table: str | Sequence[Sequence[int]], inputs: int, outputs: int) -> ConnectionTable:
    """The table, checked against the numbers of maps."""
    if isinstance(table, str):
        check_choice("table", table, TABLES, UnsupportedError)
        found = TABLES[table]
        reads = 1 + max(map(max, found))
        if (inputs, outputs) != (reads, len(found)):
            what = f"{table!r} connects {reads} maps to {len(found)}, not {inputs} to {outputs}"
            raise GeometryError("table", what, fix="use those numbers of maps, or give a table as rows")
        return found
    found = tuple(tuple(sorted(row)) for row in table)
    if len(found) != outputs:
        raise GeometryError("table", f"has {len(found)} rows for {outputs} output maps", fix="give a row for each map")
    for row, maps in enumerate(found):
        if not maps or len(set(maps)) < len(maps) or not 0 <= maps[0] <= maps[-1] < inputs:
            what = f"row {row} is {list(maps)}, of {inputs} input maps"
            raise GeometryError("table", what, fix="name some of the input maps, from 0, each once")
    return found


def _filled(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    conv.weight = nn.Parameter(weight.detach().contiguous().clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone())
    return conv
