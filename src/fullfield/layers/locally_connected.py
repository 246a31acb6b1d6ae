"""Locally connected layers: a convolution's neighbourhoods, with separate weights at every position."""

from __future__ import annotations

import math
from typing import Literal, overload

import torch
from torch import Tensor, nn

from fullfield.arguments import parse_pair
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.geometry.region import Pair
from fullfield.layers.local_contraction import locally_connected2d
from fullfield.layers.sizes import Size, axis_ops, output_cells, positive


class LocallyConnected2d(nn.Module):
    """A convolution without shared weights: every position of its output has its own kernel and bias.

        y[o, i, j] = bias[o, i, j] + sum over c, a, b of weight[i, j, o, c, a, b] * x[c, i*S + a*d - P, j*S + b*d - P]

    ``weight`` is ``(oH, oW, out, in / groups, kH, kW)`` and ``bias`` ``(out, oH, oW)``, as Torch7's
    ``SpatialConvolutionLocal`` stores them. It is one node in every graph. Windows of a scan cannot share it,
    as the weights of a cell depend on the position of the window: ``exact`` runs it per window, ``context`` refuses it.

    Forward and backward gather the neighbourhoods of some rows of positions at a time, never those of all.

    Shape: ``(n, in, y, x)`` of ``input_size`` -> ``(n, out, oH, oW)``
    Args:
        in_channels, out_channels: channels.
        input_size: cells of the input along y and x.
        kernel_size, stride, padding, dilation, groups: as a convolution's, one number or (y, x).
        bias: whether there is one for every position and channel.

    Raises:
        GeometryError: groups that do not divide the channels, or a kernel larger than the padded input.
    Source: LeCun 1989, "Generalization and network design strategies"; Taigman et al. 2014 (DeepFace).
    Examples:
        >>> layer = LocallyConnected2d(3, 8, 6, 3, stride=3)
        >>> tuple(layer.weight.shape), tuple(layer(torch.zeros(1, 3, 6, 6)).shape)
        ((2, 2, 8, 3, 3, 3), (1, 8, 2, 2))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: Size,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = positive(in_channels, "in_channels"), positive(out_channels, "out")
        self.input_size, self.kernel_size = parse_pair("input_size", input_size), parse_pair("kernel_size", kernel_size)
        self.stride, self.dilation = parse_pair("stride", stride), parse_pair("dilation", dilation)
        self.padding, self.groups = parse_pair("padding", padding, least=0), positive(groups, "groups")
        if in_channels % groups or out_channels % groups:
            raise GeometryError(
                "groups", f"{groups} does not divide {in_channels} -> {out_channels} channels", fix="use a divisor"
            )
        ops = axis_ops(self.kernel_size, self.stride, self.padding, self.dilation)
        self.output_size: Pair = output_cells(ops, self.input_size, "LocallyConnected2d")
        kernel = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(*self.output_size, *kernel, device=device, dtype=dtype))
        self.bias: nn.Parameter | None
        biases = torch.empty(out_channels, *self.output_size, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", None if biases is None else nn.Parameter(biases))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weights and biases uniformly from ``[-b, b]``, ``b = 1 / sqrt(inputs of one position)``, as torch."""
        bound = 1 / math.sqrt(math.prod(self.weight.shape[3:]))
        for tensor in (self.weight, self.bias):
            if tensor is not None:
                nn.init.uniform_(tensor, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's map.

        Raises:
            GeometryError: the input has other channels or another size than the layer was built for.
        """
        found, wanted = tuple(x.shape[1:]), (self.in_channels, *self.input_size)
        if x.dim() != 4 or found != wanted:
            raise GeometryError(
                "LocallyConnected2d",
                f"an input of {tuple(x.shape)} is not (n, {', '.join(map(str, wanted))})",
                fix="build the layer for this size: its weights belong to positions",
            )
        numbers = (self.stride, self.padding, self.dilation, self.groups)
        result: Tensor = locally_connected2d(x, self.weight, self.bias, *numbers)
        return result

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, input_size: Size) -> LocallyConnected2d:
        """The layer with the convolution's kernel at every position: the same outputs, with independent weights.

        Raises:
            UnsupportedError: the convolution pads with values other than zeros, or unevenly.
        """
        kernel, dilation = parse_pair("kernel_size", conv.kernel_size), parse_pair("dilation", conv.dilation)
        padding = _zero_padding(conv, kernel, dilation)
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            input_size,
            kernel,
            parse_pair("stride", conv.stride),
            padding,
            dilation,
            conv.groups,
            conv.bias is not None,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
        )
        with torch.no_grad():
            layer.weight.copy_(conv.weight)
            if layer.bias is not None and conv.bias is not None:
                layer.bias.copy_(conv.bias[:, None, None])
        return layer

    @overload
    def to_conv(self, *, average: Literal[False] = False) -> nn.Conv2d: ...

    @overload
    def to_conv(self, *, average: Literal[True]) -> tuple[nn.Conv2d, float]: ...

    def to_conv(self, *, average: bool = False) -> nn.Conv2d | tuple[nn.Conv2d, float]:
        """The convolution with this layer's kernel, where the kernels of all positions are equal.

        Args:
            average: take the mean over all positions, and return the largest distance of any weight or bias from it.

        Raises:
            UnsupportedError: without ``average``, weights or biases that differ between positions.
        """
        deviation = self.max_deviation()
        if deviation and not average:
            raise UnsupportedError(
                "LocallyConnected2d",
                f"its weights differ between positions, by up to {deviation:.3g} from their mean",
                fix="pass average=True to take the mean",
            )
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.bias is not None,
            device=self.weight.device,
            dtype=self.weight.dtype,
        )
        with torch.no_grad():
            conv.weight.copy_(self.weight.mean((0, 1)) if deviation else self.weight[0, 0])
            if self.bias is not None and conv.bias is not None:
                conv.bias.copy_(self.bias.mean((1, 2)) if deviation else self.bias[:, 0, 0])
        return (conv, deviation) if average else conv

    @torch.no_grad()
    def max_deviation(self) -> float:
        """The largest distance of a weight or bias from its mean over all positions; 0 where all are equal."""
        bias = self.bias
        if bool((self.weight == self.weight[:1, :1]).all()) and (bias is None or bool((bias == bias[:, :1, :1]).all())):
            return 0.0
        found = float((self.weight - self.weight.mean((0, 1))).abs().max())
        return found if bias is None else max(found, float((bias - bias.mean((1, 2), keepdim=True)).abs().max()))

    def extra_repr(self) -> str:
        """Channels, sizes and options."""
        text = f"{self.in_channels}, {self.out_channels}, input_size={self.input_size}, kernel_size={self.kernel_size}"
        options = {"padding": (0, 0), "dilation": (1, 1), "groups": 1}
        given = [f"{name}={getattr(self, name)}" for name, plain in options.items() if getattr(self, name) != plain]
        return ", ".join([text, f"stride={self.stride}", *given, *([] if self.bias is not None else ["bias=False"])])


def _zero_padding(conv: nn.Conv2d, kernel: Pair, dilation: Pair) -> Pair:
    """The convolution's padding as numbers."""
    if conv.padding_mode != "zeros":
        raise UnsupportedError("from_conv", f"the convolution pads with {conv.padding_mode!r}", fix="pad with zeros")
    if not isinstance(conv.padding, str):
        return parse_pair("padding", conv.padding, least=0)
    total = [d * (k - 1) if conv.padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
    if any(t % 2 for t in total):
        raise UnsupportedError("from_conv", "the convolution pads one side more than the other", fix="pad explicitly")
    return total[0] // 2, total[1] // 2
