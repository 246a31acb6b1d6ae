"""Compares convolution by Fourier transforms with torch's direct convolution: ``python benchmarks/fft.py [--fit]``.

Prints one row for each layer (kernel, channels, map): milliseconds of the direct convolution, of ``fft_conv2d`` with
the kernels' spectra computed anew and cached, of the package ``torch-fftconv`` if it is installed, and the choices of
the cost model. Then the crossover: the smallest kernel from which transforms are faster. The methods of a layer run in
turns, so that other load affects all of them alike; the medians are printed. ``--fit`` measures the same layers at
several tiles and prints the constants of the cost model. ``benchmarks/fft.md`` is the output.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fullfield.layers.fft import fft_conv2d
from fullfield.layers.fft_cost import Constants, ConvShape, best_tile, direct_terms, fft_is_faster, fft_terms
from fullfield.layers.spectrum_cache import LAYER_BYTES, SpectrumCache

KERNELS = (3, 5, 7, 9, 11, 15, 21, 31)
CHANNELS = (16, 64, 256)
MAPS = (32, 64, 128)
HEAD = ConvShape(1, 512, 4096, 1, (40, 40), (7, 7))  # the first linear layer of VGG-16, sliding over a large map
NONE = float("nan")
RIVAL = "torch-fftconv"


def layers(most_macs: float) -> Iterator[ConvShape]:
    """The grid of layers, without those that would take minutes."""
    for channels, size, kernel in itertools.product(CHANNELS, MAPS, KERNELS):
        layer = ConvShape(1, channels, channels, 1, (size, size), (kernel, kernel))
        if kernel < size and layer.macs <= most_macs:
            yield layer


def tensors(layer: ConvShape) -> tuple[Tensor, Tensor]:
    """A random map and random kernels of the layer's sizes."""
    x = torch.randn(layer.batch, layer.inputs, *layer.size)
    return x, torch.randn(layer.outputs, layer.inputs // layer.groups, *layer.kernel) / layer.inputs


def medians(ways: Mapping[str, Callable[[], object]], least_s: float) -> dict[str, float]:
    """Seconds of each method: the median over turns, after a warm-up turn; thread time if there is one thread."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in ways}
    spent, turn = 0.0, 0
    while turn < 4 or (turn < 6 and spent < 2) or (spent < least_s * len(ways) and turn < 60):
        for name, way in ways.items():
            if name == RIVAL and turn > 2:  # far slower than the others
                continue
            start = clock()
            way()
            took = clock() - start
            if turn:
                taken[name].append(took)
                spent += took
        turn += 1
    return {name: statistics.median(times) for name, times in taken.items()}


def other() -> Callable[[Tensor, Tensor], Tensor] | None:
    """``torch-fftconv``'s function where the package is installed."""
    try:
        module = importlib.import_module("torch_fftconv")
    except ImportError:
        return None
    function: Callable[[Tensor, Tensor], Tensor] = module.fft_conv2d
    return function


def measure(layer: ConvShape, least_s: float) -> dict[str, float]:
    """Seconds of all methods for a layer."""
    x, weight = tensors(layer)
    rival = other()
    rival_bytes = 8 * layer.inputs * layer.outputs * layer.size[0] * (layer.size[1] // 2 + 1)
    ways: dict[str, Callable[[], object]] = {
        "direct": partial(F.conv2d, x, weight),
        "fft": partial(fft_conv2d, x, weight),
        "cached": partial(fft_conv2d, x, weight, spectra=SpectrumCache(LAYER_BYTES)),
    }
    if rival is not None and rival_bytes < 2**29:
        ways[RIVAL] = partial(rival, x, weight)
    return medians(ways, least_s)


@torch.no_grad()
def table(most_macs: float, least_s: float) -> None:
    """Prints the rows, the crossovers, and the quality of the choices."""
    wins: dict[str, dict[tuple[str, int], list[int]]] = {"fft": {}, "cached": {}}
    chosen: dict[str, list[tuple[bool, float, float]]] = {"fft": [], "cached": []}
    print(
        "channels   map  kernel   direct ms      fft ms  direct/fft   cached ms  direct/cached  torch-fftconv ms   auto"
    )
    for layer in [*layers(most_macs), HEAD]:
        found = measure(layer, least_s)
        name = f"{layer.inputs}" if layer.inputs == layer.outputs else f"{layer.inputs}>{layer.outputs}"
        choices = {way: fft_is_faster(layer, cached=way == "cached") for way in wins}
        for way, fft in choices.items():
            direct, ours = found["direct"], found[way]
            wins[way].setdefault((name, layer.size[0]), []).append(layer.kernel[0] if ours < direct else 0)
            chosen[way].append((fft == (ours < direct), ours if fft else direct, min(ours, direct)))
        words = "/".join("fft" if fft else "direct" for fft in choices.values())
        print(
            f"{name:>8} {layer.size[0]:5} {layer.kernel[0]:7} {found['direct'] * 1e3:11.2f} {found['fft'] * 1e3:11.2f}"
            f" {found['direct'] / found['fft']:11.2f} {found['cached'] * 1e3:11.2f}"
            f" {found['direct'] / found['cached']:12.2f} {found.get(RIVAL, NONE) * 1e3:17.2f}   {words}",
            flush=True,
        )
    print("\ncrossover: the smallest kernel from which on transforms win; with cached spectra")
    for key in wins["fft"]:
        made, cached = (_first(wins[way][key]) for way in ("fft", "cached"))
        print(f"{key[0]:>8} channels, map {key[1]:4}: {made}; {cached}")
    for way, rows in chosen.items():
        right = sum(good for good, _, _ in rows)
        lost = sum(took for _, took, _ in rows) / sum(best for _, _, best in rows)
        each = statistics.geometric_mean(took / best for _, took, best in rows)
        print(f"\nauto ({way}) chose the faster way for {right} of {len(rows)} layers:")
        print(f"{lost:.3f} of the best choices' time in all, {each:.3f} of it a layer (geometric mean)")


def _first(kernels: list[int]) -> str:
    after = list(itertools.takewhile(bool, reversed(kernels)))
    return str(after[-1]) if after else "none of these"


Rows = list[tuple[tuple[float, ...], float]]


@torch.no_grad()
def fit(most_macs: float, least_s: float) -> None:
    """The non-negative constants of the cost model with the least squared relative error.

    Layers near the crossover have the largest weight, since there a wrong constant leads to a wrong choice.
    """
    direct: Rows = []
    fft: Rows = []
    weights: dict[str, list[float]] = {"direct": [], "fft": []}
    for layer in layers(most_macs):
        x, weight = tensors(layer)
        tiles = sorted({best_tile(layer), best_tile(layer, cached=True), (max(16, 2 * layer.kernel[0]),) * 2})
        tiles = [t for t in tiles if t[0] >= layer.kernel[0] and t[1] >= layer.kernel[1]]
        ways: dict[Any, Callable[[], object]] = {"direct": partial(F.conv2d, x, weight)}
        for tile in tiles:
            ways[tile, False] = partial(fft_conv2d, x, weight, tile=tile)
            ways[tile, True] = partial(fft_conv2d, x, weight, tile=tile, spectra=SpectrumCache(LAYER_BYTES))
        found = medians(ways, least_s)
        direct.append((direct_terms(layer), found["direct"]))
        ratios = []
        for tile, cached in itertools.product(tiles, (False, True)):
            fft.append((fft_terms(layer, tile, cached=cached), found[tile, cached]))
            near = 1 / (1 + 2 * abs(math.log(found["direct"] / found[tile, cached])))
            weights["fft"].append(near)
            ratios.append(near)
        weights["direct"].append(max(ratios))
    print(Constants(*solve(direct, weights["direct"]), *solve(fft, weights["fft"])))


def solve(rows: Rows, weights: list[float]) -> list[float]:
    """Non-negative least squares of ``terms . constants / seconds == 1`` by removing negative ones."""
    matrix = torch.tensor([[t / took for t in terms] for terms, took in rows], dtype=torch.float64)
    heavy = torch.tensor(weights, dtype=torch.float64)[:, None]
    used = list(range(matrix.shape[1]))
    while True:
        scale = matrix[:, used].norm(dim=0)
        values = torch.linalg.lstsq(heavy * matrix[:, used] / scale, heavy).solution[:, 0] / scale
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
    parser.add_argument("--seconds", type=float, default=0.15, help="least time of each way of a layer")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    (fit if arguments.fit else table)(arguments.most_gmacs * 1e9, arguments.seconds)


if __name__ == "__main__":
    main()
