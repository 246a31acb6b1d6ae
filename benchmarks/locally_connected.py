"""Compares ``LocallyConnected2d`` with ``unfold`` and one product: ``python benchmarks/locally_connected.py``.

Each method runs forward and backward in a separate process; the memory is that process's peak, less inputs, weights
and their gradients.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fullfield.layers import LocallyConnected2d

# batch, in, out, size, kernel, stride; the last is a face network's (DeepFace, L4)
LAYERS = [
    (1, 16, 16, 32, 3, 1),
    (32, 16, 16, 32, 3, 1),
    (8, 16, 16, 64, 5, 1),
    (32, 3, 16, 64, 11, 2),
    (16, 16, 16, 63, 9, 2),
]
Layer = tuple[int, int, int, int, int, int]


def ours(layer: LocallyConnected2d, x: Tensor) -> Tensor:
    """The layer itself."""
    result: Tensor = layer(x)
    return result


def unfolded(layer: LocallyConnected2d, x: Tensor) -> Tensor:
    """All neighbourhoods at once, then one product for each position."""
    rows, columns, out, *_ = layer.weight.shape
    patches = F.unfold(x, layer.kernel_size, stride=layer.stride).reshape(x.shape[0], -1, rows * columns)
    found = torch.einsum("nkp,pok->nop", patches, layer.weight.flatten(0, 1).flatten(2))
    assert layer.bias is not None
    return found.reshape(x.shape[0], out, rows, columns) + layer.bias


WAYS: dict[str, Callable[[LocallyConnected2d, Tensor], Tensor]] = {"fullfield": ours, "unfold": unfolded}


def peak_bytes() -> int:
    """The peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(task: tuple[str, Layer, int]) -> tuple[float, float, int]:
    """Seconds forward and backward, and peak bytes above inputs, weights and gradients."""
    way, (n, inputs, outputs, size, kernel, stride), threads = task
    torch.set_num_threads(threads)
    small = LocallyConnected2d(2, 2, 4, 3)  # libraries that torch loads at its first call are not counted
    WAYS[way](small, torch.ones(2, 2, 4, 4, requires_grad=True)).sum().backward()
    layer = LocallyConnected2d(inputs, outputs, size, kernel, stride)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    x = torch.randn(n, inputs, size, size, requires_grad=True)
    x.grad = torch.ones_like(x)
    before = peak_bytes()
    forward = backward = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        result = WAYS[way](layer, x)
        middle = time.perf_counter()
        result.backward(torch.ones_like(result))
        forward, backward = min(forward, middle - start), min(backward, time.perf_counter() - middle)
    return forward, backward, peak_bytes() - before


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    print("batch  in>out   size  F,S   weights M   way          forward ms  backward ms     peak MB")
    for layer in LAYERS:
        n, inputs, outputs, size, kernel, stride = layer
        weights = LocallyConnected2d(inputs, outputs, size, kernel, stride, device="meta").weight.numel() / 1e6
        for way in WAYS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                forward, backward, peak = pool.map(measure, [(way, layer, threads)])[0]
            print(
                f"{n:5} {inputs:3}>{outputs:<4} {size:5}  {kernel},{stride:<3} {weights:9.2f}   {way:10}"
                f" {forward * 1e3:12.2f} {backward * 1e3:12.2f} {peak / 1e6:11.1f}"
            )


if __name__ == "__main__":
    main()
