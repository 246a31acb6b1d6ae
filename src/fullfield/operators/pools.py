"""Pools."""

from __future__ import annotations

import math

import torch

from fullfield.geometry.network import Scratch
from fullfield.operators.record import Args, Operator, Windowed, kernel_geometry
from fullfield.operators.work import Work

aten = torch.ops.aten


def _largest(args: Args, read: int, given: int) -> Work:
    """Taps in padding count as taps."""
    return Work(comparisons=taps(args) - 1) * given


def average(args: Args, read: int, given: int) -> Work:
    """A sum over the taps, those in padding included, and a division."""
    return Work(adds=taps(args) - 1, divisions=1) * given


def taps(args: Args, rank: int = 2) -> int:
    """Cells under the kernel."""
    kernel = args["kernel_size"]
    return int(kernel**rank if isinstance(kernel, int) else math.prod(kernel) ** (rank // len(kernel)))


def _average_of_volume(args: Args, read: int, given: int) -> Work:
    return Work(adds=taps(args, 3) - 1, divisions=1) * given


def mean_of_all(args: Args, read: int, given: int) -> Work:
    """As many numbers of the input go into each of the output."""
    return Work(adds=-(-read // max(1, given)) - 1, divisions=1) * given


RECORDS = (
    Operator(
        (aten.max_pool2d, aten.max_pool2d_with_indices),
        windowed=Windowed(
            kernel_geometry,
            slides=True,
            padding=lambda args: -math.inf,
            scratch=lambda ops: Scratch(index_bytes=8),
        ),
        counts=_largest,
        new_memory=True,
        independent="first",
        title="max_pool2d",
    ),
    Operator(
        (aten.avg_pool2d,),
        windowed=Windowed(kernel_geometry, slides=True),
        counts=average,
        new_memory=True,
        independent="first",
    ),
    Operator((aten.avg_pool3d,), kind="per_cell", counts=_average_of_volume),
    Operator((aten.adaptive_avg_pool2d, aten._adaptive_avg_pool2d), counts=mean_of_all, independent="first"),
    Operator(
        (aten.max_pool1d, aten.avg_pool1d, aten.adaptive_avg_pool1d, aten.adaptive_max_pool2d),
        independent="first",
    ),
)
