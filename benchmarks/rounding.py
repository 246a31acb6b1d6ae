"""Compares the rounding of float32 scans with that of float32 crops: ``python -m benchmarks.rounding``.

The measure of both is the original network in float64, run crop by crop. Errors are the largest over the range of the
scores. A scan may be at most ``FACTOR`` times as far off as the crops, plus ``SLACK``; rows beyond that are marked,
and the exit code is 1. The networks are small ones whose scores are sums over many numbers, or differences of such
sums, and the well-known architectures of the tests; the images are a photograph, and a bright one of little contrast.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import fullfield
from fullfield import Compute
from fullfield.image.decode import decode
from fullfield.jobs.source import open_source
from fullfield.layers import FFTConv2d, L2Pool2d, LocalResponseNorm2d
from fullfield.verification.crops import run_crops
from tests.architectures import ARCHITECTURES, build
from tests.lower.test_rounding import Function, bright

FACTOR, SLACK = 4.0, 1e-6
_PHOTO = fullfield.__path__[0] + "/data/astronaut.png"
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """A network, its window, and the steps of its scans."""

    module: nn.Module
    window: int
    steps: tuple[int, ...] = (8,)
    method: str = "auto"


def images(side: int) -> dict[str, Image]:
    """A photograph, and a bright picture of little contrast. Shape: ``(y, x, 3)``"""
    photo, _ = decode(_PHOTO)
    repeats = -(-side // 512)
    tiled = np.tile(photo[:, :, :3], (repeats, repeats, 1))[:side, :side]
    return {"photo": tiled, "bright": bright(side)}


def standardised(x: Tensor) -> Tensor:
    """A pixel of each window after its mean and deviation over the window."""
    y = x - x.mean((1, 2, 3), keepdim=True)
    return (y / y.std((1, 2, 3), keepdim=True, unbiased=False))[:, :, 5, 5]


def whitened(x: Tensor) -> Tensor:
    """The same for each channel, from the mean of squares."""
    mean, square = x.mean((2, 3), keepdim=True), (x * x).mean((2, 3), keepdim=True)
    return ((x - mean) / (square - mean * mean + 1e-3).sqrt())[:, :, 5, 5]


def centred(size: int) -> Callable[[Tensor], Tensor]:
    """The difference of two sums: a mean over the window less one over its middle."""
    return lambda x: x.mean((2, 3)) - x[:, :, size // 4 : -size // 4, size // 4 : -size // 4].mean((2, 3))


def local_contrast(x: Tensor) -> Tensor:
    """The image less its mean nearby, over its deviation nearby."""
    mean = F.avg_pool2d(x, 9, 1)
    return ((x[:, :, 4:-4, 4:-4] - mean).pow(2).mean((2, 3)) + 1e-6).sqrt() - 0.01 * mean.amax((2, 3))


def functions() -> Iterator[tuple[str, Case]]:
    """Sums, means, variances, norms and pools over the window, by its size."""
    for size in (8, 32, 224):
        reductions: dict[str, Callable[[Tensor], Tensor]] = {
            "mean": lambda x: x.mean((2, 3)),
            "mean of rows": lambda x: x.mean(2).amax(2),
            "sum": lambda x: x.sum((2, 3)),
            "adaptive mean": lambda x: F.adaptive_avg_pool2d(x, 1),
            "adaptive mean of parts": lambda x: F.adaptive_avg_pool2d(x, 2),
            "variance": lambda x: x.var((2, 3)),
            "deviation": lambda x: x.std((1, 2, 3), keepdim=True),
            "standardised": standardised,
            "whitened": whitened,
            "difference of means": centred(size),
            "norm 1": lambda x: torch.linalg.vector_norm(x - 0.7, 1, (2, 3)),
            "norm 2": lambda x: torch.linalg.vector_norm(x, 2, (2, 3)),
            "norm 3": lambda x: torch.linalg.vector_norm(x, 3, (2, 3)),
            "norm of all": lambda x: F.normalize(x.flatten(1), dim=1)[:, :7],
            "log of mean of exp": lambda x: (4 * x).exp().mean((2, 3)).log(),
            "layer norm": lambda x: F.layer_norm(x, x.shape[1:])[:, :, 3, 3],
            "instance norm": lambda x: F.instance_norm(x)[:, :, 3, 3],
            "group norm": lambda x: F.group_norm(x, 3)[:, :, 3, 3],
            "rms norm": lambda x: F.rms_norm(x, x.shape[1:])[:, :, 3, 3],
        }
        for name, function in reductions.items():
            yield f"{name}, {size} px", Case(Function(function), size, (8, 5))


def pools() -> Iterator[tuple[str, Case]]:
    """Average, Lp and response norms over neighbourhoods of the window."""
    for kernel in (2, 3, 7, 8, 16, 31):
        for name, layer in {
            "average pool": nn.AvgPool2d(kernel, max(1, kernel // 2)),
            "padded average pool": nn.AvgPool2d(kernel, kernel, kernel // 2, count_include_pad=False),
            "Lp pool 2": nn.LPPool2d(2, kernel, max(1, kernel // 2)),
            "Lp pool 4": nn.LPPool2d(4, kernel, kernel),
            "L2 pool": L2Pool2d(kernel, max(1, kernel // 2), must_fit=False),
        }.items():
            ends = nn.Sequential(layer, nn.Conv2d(3, 4, 1), nn.Flatten(), nn.LazyLinear(3))
            yield f"{name} {kernel}", Case(ends, 64, (8, 3))
    for size in (3, 5, 9):
        within = LocalResponseNorm2d(size, alpha=1.0, region="within")
        for name, layer in {"LRN": nn.LocalResponseNorm(size, alpha=1.0), "LRN within": within}.items():
            ends = nn.Sequential(nn.Conv2d(3, 16, 5), layer, nn.MaxPool2d(3, 2), nn.Flatten(), nn.LazyLinear(3))
            yield f"{name} {size}", Case(ends, 40, (8, 2))
    yield "local contrast", Case(Function(local_contrast), 48, (8, 4))


def convolutions() -> Iterator[tuple[str, Case]]:
    """Large kernels, dilated ones, Fourier transforms, folded norms, and linear layers of many inputs."""
    for kernel in (5, 15, 31, 63):
        flat = nn.Conv2d(3, 8, kernel)
        zero = copy.deepcopy(flat)
        zero.weight.data -= zero.weight.data.mean((2, 3), keepdim=True)
        for name, layer in {"kernel": flat, "kernel of sum 0": zero, "Fourier": FFTConv2d(3, 8, kernel)}.items():
            ends = nn.Sequential(layer, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(3))
            yield f"{name} {kernel}", Case(ends, 96, (8, 2))
    for side in (64, 256, 578):
        yield (
            f"linear of {3 * side * side}",
            Case(nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 4)), side, (32,)),
        )
    for variance in (1e-2, 1e-6):
        norm = nn.BatchNorm2d(8)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.fill_(0.3)
        norm.running_var.fill_(variance)
        ends = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        yield f"batch norm of variance {variance:g}", Case(ends, 32, (8, 3))
    yield "mean of 10^6", Case(Function(lambda x: x.mean((2, 3)).diff(dim=1)), 1000, (64,))
    yield "standardised, 10^6", Case(Function(standardised), 1000, (64,))


def architectures() -> Iterator[tuple[str, Case]]:
    """The well-known architectures of the tests, by every method."""
    for name in ARCHITECTURES:
        module, window = build(name)
        yield name, Case(module, window, (16, 5))
        yield f"{name}, fragments", Case(module, window, (4,), "fragments")
        yield f"{name}, shifted", Case(module, window, (4,), "shifted")


FAMILIES = {"functions": functions, "pools": pools, "convolutions": convolutions, "architectures": architectures}


def errors(case: Case, image: Image, step: int) -> tuple[float, float]:
    """The largest errors of the scan and of the crops, over the range of the scores."""
    case.module.eval()(torch.zeros(2, 3, case.window, case.window))  # shapes lazy layers
    single = fullfield.load(case.module.float().eval(), window=case.window, channels=3, preprocessing="unit")
    double = fullfield.load(copy.deepcopy(case.module).double(), window=case.window, channels=3, preprocessing="unit")
    scan = fullfield.scan(single, image, step=step, compute=Compute(method=case.method)).array
    cells = [(i, j) for i in range(scan.shape[1]) for j in range(scan.shape[2])]
    cells = cells[:: max(1, len(cells) // 100)]
    crops, exact = (run_crops(net, open_source(net, image), cells, (step, step)) for net in (single, double))
    found = np.stack([scan[:, i, j] for i, j in cells])
    span = float(np.ptp(exact)) or 1.0
    return float(np.abs(found - exact).max()) / span, float(np.abs(crops - exact).max()) / span


def main() -> None:
    """Prints a row for each network, image and step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="networks whose family or name holds this")
    parser.add_argument("--all", action="store_true", help="print all rows, not only those beyond the bound")
    options = parser.parse_args()
    torch.manual_seed(0)
    rows = beyond = 0
    worst = 0.0
    for family, cases in FAMILIES.items():
        for name, case in cases():
            if options.only not in f"{family}: {name}":
                continue
            for title, image in images(case.window + 96).items():
                for step in case.steps:
                    scan, crops = errors(case, image, step)
                    rows, bad = rows + 1, scan > FACTOR * crops + SLACK
                    beyond, worst = beyond + bad, max(worst, scan / (FACTOR * crops + SLACK))
                    if bad or options.all:
                        mark = "BEYOND" if bad else ""
                        print(
                            f"{name:32} {title:7} step {step:3}  scan {scan:.1e}  crops {crops:.1e}  {mark}", flush=True
                        )
    print(f"{beyond} of {rows} beyond {FACTOR:g} times the crops' error + {SLACK:g}; worst: {worst:.2f} of the bound")
    sys.exit(beyond > 0)


if __name__ == "__main__":
    main()
