"""Compares scans of windows that are standardised, each by its own numbers, with crops of the same network.

    python -m benchmarks.standardised [--networks R-Net ...] [--forms channels ...] [--steps 4 8 16] [--windows 4096]

Crops are cut and run by torch, weights channels-last, windows in whichever memory order and batch is fastest. Scans run
in torch too. One thread and float32 on all sides, turns alternate, and times are the processor's, of the fastest turn.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fullfield
from fullfield import Compute

ALL, EACH = (1, 2, 3), (2, 3)
LEAST_S = 0.2  # of a turn of crops


def _by_deviation(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return (x - x.mean(dims, keepdim=True)) / (x.std(dims, keepdim=True) + 1e-5)


def _by_range(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    low = x.amin(dims, keepdim=True)
    return (x - low) / (x.amax(dims, keepdim=True) - low + 1e-5)


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "window": lambda x: _by_deviation(x, ALL),
    "channels": lambda x: _by_deviation(x, EACH),
    "minmax": lambda x: _by_range(x, ALL),
    "minmax-channels": lambda x: _by_range(x, EACH),
}


def lenet() -> nn.Sequential:
    """LeCun et al. 1998 on colour windows, with today's activations."""
    features = [nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*features, *head)


def _stage(before: int, after: int, kernel: int, pool: int = 0) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(before, after, kernel), nn.PReLU(after)]
    return [*layers, nn.MaxPool2d(pool, 2, ceil_mode=True)] if pool else layers


def p_net() -> nn.Sequential:
    """Zhang et al. 2016 (arXiv 1604.02878), as are the next two."""
    layers = [*_stage(3, 10, 3, 2), *_stage(10, 16, 3), *_stage(16, 32, 3)]
    return nn.Sequential(*layers, nn.Conv2d(32, 2, 1), nn.Flatten())


def r_net() -> nn.Sequential:
    layers = [*_stage(3, 28, 3, 3), *_stage(28, 48, 3, 3), *_stage(48, 64, 2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(576, 128), nn.PReLU(128), nn.Linear(128, 2))


def o_net() -> nn.Sequential:
    layers = [*_stage(3, 32, 3, 3), *_stage(32, 64, 3, 3), *_stage(64, 64, 3, 2), *_stage(64, 128, 2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1152, 256), nn.PReLU(256), nn.Linear(256, 2))


def patches() -> nn.Sequential:
    """Four padded stages with batch norms, as patch classifiers are often written."""
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64), (64, 64)):
        conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 4))


NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], int]] = {
    "LeNet": (lenet, 28),
    "P-Net": (p_net, 12),
    "R-Net": (r_net, 24),
    "O-Net": (o_net, 48),
    "patches": (patches, 64),
}


class Standardised(nn.Module):
    """A network behind a standardisation of its windows."""

    def __init__(self, form: str, layers: nn.Sequential) -> None:
        super().__init__()
        self.form, self.layers = FORMS[form], layers

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(self.form(x))
        return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--windows", type=int, default=4096)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512], help="of crops")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | standardised | crops, us | " + " | ".join(f"step {s}" for s in args.steps) + " |")
    print("|---" * (3 + len(args.steps)) + "|")
    for name in args.networks:
        for form in args.forms:
            print(_row(name, form, args), flush=True)


def _row(name: str, form: str, args: argparse.Namespace) -> str:
    """Of one network: a window by the fastest crops, and how many times faster a window of each scan is."""
    torch.manual_seed(0)
    along = round(args.windows**0.5)
    build, side = NETWORKS[name]
    module = Standardised(form, build()).eval()
    most = side + max(args.steps) * (along - 1)
    pixels = np.random.default_rng(0).random((most, most, 3), dtype=np.float32)
    crops, count = _best_crops(module, pixels, side, args.batches)
    model = fullfield.load(module, window=side, channels=3, preprocessing="none")
    cells, least = [], np.inf
    for step in args.steps:
        size = side + step * (along - 1)
        image = np.ascontiguousarray(pixels[:size, :size])

        def scan(image: NDArray[np.float32] = image, step: int = step) -> Any:
            return fullfield.scan(model, image, step=step, compute=Compute(engine="torch", threads=1))

        scan()
        pairs = [(_seconds(crops) / count, _seconds(scan) / along**2) for _ in range(args.turns)]
        one, other = (min(times) for times in zip(*pairs, strict=True))
        least = min(least, one)
        cells.append(f"{one / other:.2f}x")
    return f"| {name} | {form} | {least * 1e6:.0f} | " + " | ".join(cells) + " |"


def _best_crops(
    module: nn.Module, pixels: NDArray[np.float32], side: int, batches: list[int]
) -> tuple[Callable[[], None], int]:
    """A turn of crops in the fastest batch and memory order, and its windows."""
    module = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    along = (planes.shape[1] - side) // 8 + 1

    def crops(count: int, batch: int, order: torch.memory_format) -> None:
        with torch.inference_mode():
            for first in range(0, count, batch):
                places = (divmod(k % along**2, along) for k in range(first, first + batch))
                cut = np.stack([planes[:, 8 * i : 8 * i + side, 8 * j : 8 * j + side] for i, j in places])
                module(torch.from_numpy(cut).to(memory_format=order))

    found = []
    for batch in batches:
        for order in (torch.contiguous_format, torch.channels_last):
            crops(batch, batch, order)
            found.append(
                (min(_seconds(lambda b=batch, o=order: crops(b, b, o)) for _ in range(2)) / batch, batch, order)
            )  # type: ignore[misc]
    each, batch, order = min(found, key=lambda one: one[0])
    count = batch * max(1, round(LEAST_S / each / batch))
    return lambda: crops(count, batch, order), count


def _seconds(work: Callable[[], Any]) -> float:
    """The processor's time."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
