"""Convolution by Fourier transforms against torch's direct one: ``python benchmarks/fft.py [--fit]``.

Prints one row a layer (kernel, channels, map): seconds of the direct convolution, of ``fft_conv2d``, of the package
``torch-fftconv`` where it is installed, and what the cost model chooses. Then the crossover: the smallest kernel from
which on transforms win. ``--fit`` measures the same layers at several tiles and prints the model's constants.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from fullfield.nn.fft import fft_conv2d
from fullfield.nn.fft_cost import Constants, Layer, best_tile, direct_terms, fft_is_faster, fft_terms

KERNELS = (3, 5, 7, 9, 11, 15, 21, 31)
CHANNELS = (16, 64, 256)
MAPS = (32, 64, 128)
HEAD = Layer(1, 512, 4096, 1, (40, 40), (7, 7))  # the first linear layer of VGG-16, sliding over a large map


def layers(most_macs: float) -> Iterator[Layer]:
    """The grid, without layers that would take minutes."""
    for channels, size, kernel in itertools.product(CHANNELS, MAPS, KERNELS):
        layer = Layer(1, channels, channels, 1, (size, size), (kernel, kernel))
        if kernel < size and layer.macs <= most_macs:
            yield layer


def tensors(layer: Layer) -> tuple[Tensor, Tensor]:
    """A map and kernels of the layer's sizes."""
    x = torch.randn(layer.batch, layer.inputs, *layer.size)
    return x, torch.randn(layer.outputs, layer.inputs // layer.groups, *layer.kernel) / layer.inputs


def seconds(call: Callable[[], object], least_s: float = 0.15) -> float:
    """The shortest of some calls, after one that does not count; of one thread its own time, whatever else runs."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    call()
    best, spent, calls = float("inf"), 0.0, 0
    while spent < least_s or calls < 2:
        start = clock()
        call()
        took = clock() - start
        best, spent, calls = min(best, took), spent + took, calls + 1
    return best


def other() -> Callable[[Tensor, Tensor], Tensor] | None:
    """``torch-fftconv``'s function where the package is installed."""
    try:
        module = importlib.import_module("torch_fftconv")
    except ImportError:
        return None
    function: Callable[[Tensor, Tensor], Tensor] = module.fft_conv2d
    return function


@torch.no_grad()
def table(most_macs: float) -> None:
    """The rows and the crossovers."""
    rival = other()
    wins: dict[tuple[int, int], list[int]] = {}
    right = total = 0
    lost_s = best_s = 0.0
    print("channels   map  kernel   direct ms      fft ms   speed-up   torch-fftconv ms   auto")
    for layer in [*layers(most_macs), HEAD]:
        x, weight = tensors(layer)
        direct = seconds(partial(F.conv2d, x, weight))
        ours = seconds(partial(fft_conv2d, x, weight))
        spectra_bytes = 8 * layer.inputs * layer.outputs * layer.size[0] * (layer.size[1] // 2 + 1)
        theirs = seconds(partial(rival, x, weight)) * 1e3 if rival and spectra_bytes < 2**31 else float("nan")
        auto = fft_is_faster(layer)
        total, right = total + 1, right + (auto == (ours < direct))
        lost_s, best_s = lost_s + (ours if auto else direct), best_s + min(ours, direct)
        name = f"{layer.inputs}" if layer.inputs == layer.outputs else f"{layer.inputs}>{layer.outputs}"
        print(
            f"{name:>8} {layer.size[0]:5} {layer.kernel[0]:7} {direct * 1e3:11.2f} {ours * 1e3:11.2f}"
            f" {direct / ours:10.2f} {theirs:18.2f}   {'fft' if auto else 'direct'}"
        )
        wins.setdefault((layer.inputs, layer.size[0]), []).append(layer.kernel[0] if ours < direct else 0)
    print("\ncrossover: the smallest kernel from which on transforms win")
    for (channels, size), kernels in wins.items():
        after = list(itertools.takewhile(bool, reversed(kernels)))
        print(f"{channels:8} channels, map {size:4}: {after[-1] if after else 'none of these'}")
    print(f"\nauto chose the faster way for {right} of {total} layers, {lost_s / best_s:.3f} of the best choices' time")


@torch.no_grad()
def fit(most_macs: float) -> None:
    """Constants of the model, by least squares of the relative error, none of them negative."""
    direct: list[tuple[tuple[float, ...], float]] = []
    fft: list[tuple[tuple[float, ...], float]] = []
    for layer in layers(most_macs):
        x, weight = tensors(layer)
        direct.append((direct_terms(layer), seconds(partial(F.conv2d, x, weight))))
        best = best_tile(layer)
        for tile in sorted({best, (max(16, 2 * layer.kernel[0]),) * 2}):
            if tile[0] < layer.kernel[0] or tile[1] < layer.kernel[1]:
                continue
            took = seconds(partial(fft_conv2d, x, weight, tile=tile), 0.05)
            fft.append((fft_terms(layer, tile), took))
    print(Constants(*solve(direct), *solve(fft)))


def solve(rows: list[tuple[tuple[float, ...], float]]) -> list[float]:
    """Non-negative least squares of ``terms . constants / seconds == 1``, by leaving out what comes out negative."""
    matrix = torch.tensor([[t / took for t in terms] for terms, took in rows], dtype=torch.float64)
    used = list(range(matrix.shape[1]))
    while True:
        scale = matrix[:, used].norm(dim=0)
        found = torch.linalg.lstsq(matrix[:, used] / scale, torch.ones(len(rows), 1, dtype=torch.float64))
        values = found.solution[:, 0] / scale
        if bool((values >= 0).all()):
            break
        used.pop(int(values.argmin()))
    error = (matrix[:, used] @ values - 1).abs().median()
    print(f"{len(rows)} measurements, median relative error {float(error):.2f}")
    constants = dict(zip(used, values.tolist(), strict=True))
    return [constants.get(i, 0.0) for i in range(matrix.shape[1])]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true", help="measure the cost model's constants")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--most-gmacs", type=float, default=20.0, help="leave out layers with more work")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    (fit if arguments.fit else table)(arguments.most_gmacs * 1e9)


if __name__ == "__main__":
    main()
