"""A convolution layer that runs by Fourier transforms where these are faster."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fullfield.errors import UnsupportedError
from fullfield.geometry.region import Pair
from fullfield.layers.fft import fft_conv2d
from fullfield.layers.fft_cost import Layer, fft_is_faster
from fullfield.layers.sizes import Size, pair
from fullfield.layers.spectrum_cache import LAYER_BYTES, KernelSpectra

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
    """``conv2d``, by Fourier transforms where the cost model of ``fft_cost`` says so for the map that comes in.

    Strides above 1, other devices than CPUs and half-precision numbers take the direct convolution, and so do graphs
    that are being captured.

    Shape: ``(n, c, y, x)`` -> ``(n, k, y', x')``
    """
    steps, pads, spread = pair(stride, "stride"), pair(padding, "padding", least=0), pair(dilation, "dilation")
    known = input.dtype in (torch.float32, torch.float64) and input.dim() == 4 and input.device.type == "cpu"
    if known and steps == (1, 1) and not torch.compiler.is_compiling():
        layer = _layer(tuple(input.shape), tuple(weight.shape), groups, pads, spread)
        if layer is not None and fft_is_faster(layer):
            return fft_conv2d(input, weight, bias, pads, spread, groups)
    return functional.conv2d(input, weight, bias, steps, pads, spread, groups)


def _layer(shape: tuple[int, ...], weight: tuple[int, ...], groups: int, pads: Pair, dilation: Pair) -> Layer | None:
    """A convolution of an input of some shape, as the cost model takes it; none where the kernel does not fit."""
    size = shape[2] + 2 * pads[0], shape[3] + 2 * pads[1]
    layer = Layer.of(shape[0], (weight[1] * groups, weight[0]), groups, size, (weight[2], weight[3]), dilation)
    return layer if min(layer.cells) >= 1 else None


class FFTConv2d(nn.Conv2d):
    """``nn.Conv2d``, computed in the frequency domain where that pays.

    Parameters, results and their gradients are the convolution's up to rounding; captured and exported it *is* a
    convolution, so that scanning, conversion and ONNX know nothing of transforms. Strides above 1, padding modes
    other than zeros and half-precision numbers take the direct convolution. Where no gradient is wanted, the spectra
    of its kernels are kept from call to call, up to 128 MiB, while the weights are the same.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as ``nn.Conv2d``.
        fft: ``True`` wherever it can, ``False`` never, ``"auto"`` where the cost model of ``fft_cost`` says so for
            the map that comes in.

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
        kernel, strides = pair(kernel_size, "kernel_size"), pair(stride, "stride")
        pads = padding if isinstance(padding, str) else pair(padding, "padding", least=0)
        options = (pair(dilation, "dilation"), groups, bias, padding_mode, device, dtype)
        super().__init__(in_channels, out_channels, kernel, strides, pads, *options)
        self.fft: Choice = fft
        self._kept = KernelSpectra(LAYER_BYTES)

    def forward(self, input: Tensor) -> Tensor:
        """The convolution. Shape: ``(n, c, y, x)`` -> ``(n, k, y', x')``"""
        known = input.dtype in (torch.float32, torch.float64) and input.dim() == 4
        if torch.compiler.is_compiling() or not known or self.method(tuple(input.shape), input.device.type) == "direct":
            return super().forward(input)
        pads = self._pads()
        assert pads is not None
        dilation = pair(self.dilation, "dilation")
        return fft_conv2d(input, self.weight, self.bias, pads, dilation, self.groups, kept=self._kept)

    def train(self, mode: bool = True) -> FFTConv2d:
        """Changes the mode; what was kept of the kernels goes."""
        self._kept.clear()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> FFTConv2d:
        self._kept.clear()
        moved: FFTConv2d = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def method(self, shape: tuple[int, ...], device: str = "cpu") -> Literal["fft", "direct"]:
        """How an input of this shape is convolved."""
        pads = self._pads()
        if self.fft is False or pads is None or self.stride != (1, 1) or self.padding_mode != "zeros":
            return "direct"
        layer = _layer(shape, tuple(self.weight.shape), self.groups, pads, pair(self.dilation, "dilation"))
        if layer is None:
            return "direct"
        kept = not (torch.is_grad_enabled() and self.weight.requires_grad)
        if self.fft == "auto" and (device != "cpu" or not fft_is_faster(layer, kept=kept)):
            return "direct"
        return "fft"

    def extra_repr(self) -> str:
        """The convolution's options and the method."""
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{text}, fft={self.fft!r}"

    def _pads(self) -> Pair | None:
        """The padding as numbers; none where both sides differ."""
        if not isinstance(self.padding, str):
            return pair(self.padding, "padding", least=0)
        if self.padding == "valid":
            return 0, 0
        kernel, dilation = pair(self.kernel_size, "kernel_size"), pair(self.dilation, "dilation")
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return None if any(t % 2 for t in total) else (total[0] // 2, total[1] // 2)
