"""A convolution layer that runs by Fourier transforms where these are faster."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fullfield.arguments import parse_pair
from fullfield.errors import UnsupportedError
from fullfield.geometry.region import Pair
from fullfield.layers.checksum import checksum
from fullfield.layers.fft import fft_conv2d
from fullfield.layers.fft_cost import ConvShape, fft_is_faster
from fullfield.layers.sizes import Size
from fullfield.layers.spectrum_cache import LAYER_BYTES, SpectrumCache

Choice = bool | Literal["auto"]


def auto_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """``conv2d``, by Fourier transforms where ``fft_cost`` predicts that they are faster for the input.

    Strides above 1, devices other than CPUs, half-precision numbers and graphs that are being captured use the direct
    convolution.

    Shape: ``(n, c, y, x)`` -> ``(n, k, y', x')``
    """
    steps, dilation = parse_pair("stride", stride), parse_pair("dilation", dilation)
    pads = parse_pair("padding", padding, least=0)
    known = input.dtype in (torch.float32, torch.float64) and input.dim() == 4 and input.device.type == "cpu"
    if known and steps == (1, 1) and not torch.compiler.is_compiling():
        sizes = _conv_shape(tuple(input.shape), tuple(weight.shape), groups, pads, dilation)
        if sizes is not None and fft_is_faster(sizes):
            return fft_conv2d(input, weight, bias, pads, dilation, groups)
    return functional.conv2d(input, weight, bias, steps, pads, dilation, groups)


def _conv_shape(
    shape: tuple[int, ...], weight: tuple[int, ...], groups: int, pads: Pair, dilation: Pair
) -> ConvShape | None:
    """The sizes of a convolution for the cost model; none where the kernel does not fit the input."""
    size = shape[2] + 2 * pads[0], shape[3] + 2 * pads[1]
    sizes = ConvShape.of(shape[0], (weight[1] * groups, weight[0]), groups, size, (weight[2], weight[3]), dilation)
    return sizes if min(sizes.cells) >= 1 else None


class FFTConv2d(nn.Conv2d):
    """``nn.Conv2d``, computed in the frequency domain where that is faster.

    Parameters, results and their gradients are the convolution's up to rounding; captured and exported it *is* a
    convolution, so that scans, conversion and ONNX files have no transforms. Strides above 1, padding modes other than
    zeros and half-precision numbers use the direct convolution. Where no gradient is needed, the spectra of its kernels
    are cached between calls, up to 128 MiB, until a weight changes.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as ``nn.Conv2d``.
        fft: ``True`` wherever possible, ``False`` never, ``"auto"`` where ``fft_cost`` predicts that transforms are
            faster for the input.

    Raises:
        UnsupportedError: another value of ``fft``.
    Source: Mathieu, Henaff & LeCun 2014 (arXiv 1312.5851)
    Examples:
        >>> layer = FFTConv2d(64, 64, 31, padding=15)
        >>> layer.method((1, 64, 128, 128)), layer.method((1, 64, 3, 3))
        ('fft', 'direct')
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        fft: Choice = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if fft not in (True, False, "auto"):
            raise UnsupportedError("fft", f"{fft!r} is not known", fix='use True, False or "auto"')
        kernel, strides = parse_pair("kernel_size", kernel_size), parse_pair("stride", stride)
        pads = padding if isinstance(padding, str) else parse_pair("padding", padding, least=0)
        options = (parse_pair("dilation", dilation), groups, bias, padding_mode, device, dtype)
        super().__init__(in_channels, out_channels, kernel, strides, pads, *options)
        self.fft: Choice = fft
        self._spectra, self._checksum = SpectrumCache(LAYER_BYTES), 0

    def forward(self, input: Tensor) -> Tensor:
        """The convolution. Shape: ``(n, c, y, x)`` -> ``(n, k, y', x')``"""
        known = input.dtype in (torch.float32, torch.float64) and input.dim() == 4
        if torch.compiler.is_compiling() or not known or self.method(tuple(input.shape), input.device.type) == "direct":
            return super().forward(input)
        pads = self._pads()
        assert pads is not None
        learns = torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad)
        if not learns and not self.weight.is_meta:
            self._clear_old_spectra()
        dilation = parse_pair("dilation", self.dilation)
        return fft_conv2d(input, self.weight, self.bias, pads, dilation, self.groups, spectra=self._spectra)

    def train(self, mode: bool = True) -> FFTConv2d:
        """Changes the mode and clears the cache."""
        self._spectra.clear()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> FFTConv2d:
        self._spectra.clear()
        moved: FFTConv2d = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def method(self, shape: tuple[int, ...], device: str = "cpu") -> Literal["fft", "direct"]:
        """The method used for an input of this shape."""
        pads = self._pads()
        if self.fft is False or pads is None or self.stride != (1, 1) or self.padding_mode != "zeros":
            return "direct"
        dilation = parse_pair("dilation", self.dilation)
        sizes = _conv_shape(shape, tuple(self.weight.shape), self.groups, pads, dilation)
        if sizes is None:
            return "direct"
        cached = not (torch.is_grad_enabled() and self.weight.requires_grad)
        if self.fft == "auto" and (device != "cpu" or not fft_is_faster(sizes, cached=cached)):
            return "direct"
        return "fft"

    def extra_repr(self) -> str:
        """The convolution's options and the method."""
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{text}, fft={self.fft!r}"

    def _clear_old_spectra(self) -> None:
        """Clears the cache if a weight has changed."""
        found = checksum([self.weight])
        if found != self._checksum:
            self._spectra.clear()
            self._checksum = found

    def _pads(self) -> Pair | None:
        """The padding as numbers; none where it differs between the sides of an axis."""
        if not isinstance(self.padding, str):
            return parse_pair("padding", self.padding, least=0)
        if self.padding == "valid":
            return 0, 0
        kernel, dilation = parse_pair("kernel_size", self.kernel_size), parse_pair("dilation", self.dilation)
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return None if any(t % 2 for t in total) else (total[0] // 2, total[1] // 2)
