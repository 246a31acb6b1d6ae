"""The three meanings of "convolution", and classic kernels of image processing."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fullfield.arguments import check_choice
from fullfield.errors import GeometryError, UnsupportedError

CONVENTIONS = ("flipped", "centred", "correlation")


def convolve(x: Tensor, kernel: Tensor, *, convention: str = "correlation") -> Tensor:
    """A map convolved with a kernel, by one of three conventions.

        flipped      y[i] = sum over a of kernel[a] * x[i - a]        i = 0 ... N + F - 2   mathematics
        centred      y[i] = sum over a of kernel[a] * x[i + c - a]    i = 0 ... N - 1       image processing, c = F // 2
        correlation  y[i] = sum over a of kernel[a] * x[i + a]        i = 0 ... N - F       networks

    on both axes, with zeros outside ``x``. With ``flip``, the rotation of the kernel by 180 degrees:

        flipped(x, k)     == flipped(k, x)
        centred(x, k)     == flipped(x, k)[c : c + N]
        correlation(x, k) == flipped(x, flip(k))[F - 1 : N]
        centred(x, k)     == correlation(x padded by F - 1 - c before and c after, flip(k))
        flipped(x, k)     == correlation(x padded by F - 1 on both sides, flip(k))

    A network learns its kernels, so the flip makes no difference there; it matters for a kernel copied from a book.

    Shape: x ``(…, y, x)``, kernel ``(kH, kW)`` -> ``(…, y', x')``
    Args:
        convention: ``flipped``, ``centred`` or ``correlation``.

    Raises:
        UnsupportedError: another convention.
        GeometryError: a kernel that is not a matrix, or larger than the map in a correlation.
    Source: Dumoulin & Visin 2016 (arXiv 1603.07285), section 1; Gonzalez & Woods, section 3.4.
    Examples:
        >>> ramp, pair = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 10.0]])
        >>> for convention in CONVENTIONS:
        ...     print(convention, convolve(ramp, pair, convention=convention).tolist())
        flipped [[1.0, 12.0, 23.0, 30.0]]
        centred [[12.0, 23.0, 30.0]]
        correlation [[21.0, 32.0]]
    """
    check_choice("convention", convention, CONVENTIONS, UnsupportedError)
    if kernel.dim() != 2 or x.dim() < 2:
        shapes = f"a kernel {tuple(kernel.shape)} on a map {tuple(x.shape)}"
        raise GeometryError("convolve", f"{shapes} is not a matrix on (…, y, x)", fix="give a kernel (kH, kW)")
    tall, wide = kernel.shape
    if convention == "correlation":
        return _slide(x, kernel)
    before = (tall - 1, wide - 1)
    after = before
    if convention == "centred":
        after = (tall // 2, wide // 2)
        before = (tall - 1 - after[0], wide - 1 - after[1])
    return _slide(F.pad(x, (before[1], after[1], before[0], after[0])), kernel.flip(0, 1))


def image_kernel(name: str, size: int | None = None, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """A classic kernel of image processing by name, for correlation. Shape: ``(size, size)``

    ``identity``; ``box`` and ``gaussian`` (binomial), which blur and sum to 1; ``blur``, the 3 x 3 ``gaussian``;
    ``sharpen`` (sums to 1); ``edge`` (eight neighbours) and ``laplacian`` (four), which sum to 0; ``emboss``;
    ``sobel_x``, ``sobel_y``, ``prewitt_x`` and ``prewitt_y``, which are positive where the image gets brighter along
    the axis.

    Args:
        size: odd number of taps along each axis, for ``identity``, ``box`` and ``gaussian`` only; 3 if not given.

    Raises:
        UnsupportedError: an unknown name.
        GeometryError: a size that the kernel does not have.
    Source: Gonzalez & Woods, "Digital image processing", chapter 3; Sobel & Feldman 1968; Prewitt 1970.
    Examples:
        >>> image_kernel("sobel_x").tolist()
        [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
    """
    if name in _SIZED:
        taps = 3 if size is None else size
        if taps < 1 or taps % 2 == 0:
            raise GeometryError("size", f"{taps} has no middle", fix="use 3, 5 or another odd number")
        return _SIZED[name](taps).to(dtype)
    if name not in _FIXED:
        raise UnsupportedError("image_kernel", f"{name!r} is not known", fix=f"use one of {', '.join(KERNELS)}")
    if size not in (None, 3):
        raise GeometryError("size", f"{name} is 3 x 3, not {size} x {size}", fix="leave the size out")
    return torch.tensor(_FIXED[name], dtype=torch.float64).to(dtype)


def _slide(x: Tensor, kernel: Tensor) -> Tensor:
    """The correlation at every position where the kernel lies inside the map."""
    if any(k > n for k, n in zip(kernel.shape, x.shape[-2:], strict=True)):
        sizes = f"{tuple(kernel.shape)} is larger than the map {tuple(x.shape[-2:])}"
        raise GeometryError("kernel", sizes, fix="pad the map or use another convention")
    flat = x.reshape(-1, 1, *x.shape[-2:])
    found = F.conv2d(flat, kernel.to(x)[None, None])
    return found.reshape(*x.shape[:-2], *found.shape[-2:])


def _identity(taps: int) -> Tensor:
    kernel = torch.zeros(taps, taps, dtype=torch.float64)
    kernel[taps // 2, taps // 2] = 1
    return kernel


def _box(taps: int) -> Tensor:
    return torch.full((taps, taps), 1 / taps**2, dtype=torch.float64)


def _gaussian(taps: int) -> Tensor:
    """The outer product of a row of Pascal's triangle with itself: variance ``(taps - 1) / 4``."""
    row = torch.tensor([math.comb(taps - 1, k) for k in range(taps)], dtype=torch.float64)
    return torch.outer(row, row) * 0.25 ** (taps - 1)


_SIZED: dict[str, Callable[[int], Tensor]] = {"identity": _identity, "box": _box, "gaussian": _gaussian}
_FIXED: dict[str, list[list[float]]] = {
    "blur": [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "edge": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
    "sobel_x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel_y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "prewitt_x": [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
    "prewitt_y": [[-1, -1, -1], [0, 0, 0], [1, 1, 1]],
}
KERNELS = (*_SIZED, *_FIXED)
"""The names of ``image_kernel``."""
