"""The peak memory of one scan, in a process of its own: ``python peak.py NETWORK STEP MODE BUDGET SIDE ENGINE``.

Prints one line of JSON. The start is taken when network and image are loaded, the image is read once and one window has
been scored, so that what stays is what the scan itself takes.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import networks as benchmarked
from fullfield.importers.load import load
from fullfield.jobs.in_memory import compute_scores
from tests.requests import job_of


def vgg(width: int, *, padding: int = 1) -> nn.Module:
    """VGG-16 with ``width`` channels in its first block; without padding, 13 of its 16 layers' arithmetic."""
    layers: list[nn.Module] = []
    channels = 3
    for factor, depth in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width * factor, 3, padding=padding), nn.ReLU(inplace=True)]
            channels = width * factor
        layers.append(nn.MaxPool2d(2))
    side = 7 if padding else 1
    head = [nn.Flatten(), nn.Linear(channels * side**2, width * 64), nn.ReLU(), nn.Linear(width * 64, 100)]
    return nn.Sequential(*layers, *head)


class Block(nn.Module):
    """ResNet's bottleneck."""

    def __init__(self, before: int, width: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.long = nn.Sequential(
            *(nn.Conv2d(before, width, 1, bias=False), norm(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), norm(width), nn.ReLU()),
            *(nn.Conv2d(width, 4 * width, 1, bias=False), norm(4 * width)),
        )
        self.short = nn.Sequential(nn.Conv2d(before, 4 * width, 1, stride, bias=False), norm(4 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.long(x) + self.short(x))


def resnet(width: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """ResNet-50 with ``width`` channels in its stem."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 2, 3, bias=False), norm(width), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    channels = width
    for i, depth in enumerate((3, 4, 6, 3)):
        for k in range(depth):
            layers.append(Block(channels, width << i, 2 if i and not k else 1, norm))
            channels = 4 * (width << i)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 100))


class Spread(nn.Module):
    """Maps halved and made finer again by transposed convolutions (U-Net), and by cubes along one side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.up, self.thin = nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.Conv2d(width, width, 3, (1, 2), 1)
        self.last, self.head = nn.Conv2d(width, width, 3, 2, 1), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.up(torch.relu(self.down(x))) + x)
        x = F.interpolate(torch.relu(self.thin(x)), scale_factor=(1, 2), mode="bicubic") + x
        scores: torch.Tensor = self.head(self.last(x).mean((2, 3)))
        return scores


NETWORKS = {
    "vgg": (lambda: vgg(32), 224),
    "vgg-full": (lambda: vgg(64), 224),
    "resnet-full": (lambda: resnet(64), 224),
    "resnet": (lambda: resnet(32), 224),
    "group-norm": (lambda: resnet(32, lambda channels: nn.GroupNorm(8, channels)), 224),
    "spread": (lambda: Spread(32), 96),
    "unpadded": (lambda: vgg(32, padding=0), 212),
    **{name: benchmarked.NETWORKS[name] for name in ("ResNet-18", "MobileNetV2", "EfficientNet-B0", "ViT-S")},
}


def resident() -> int:
    """Bytes of memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Watch(threading.Thread):
    """Takes the greatest of ``resident`` every millisecond or so, while it is entered."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_bytes, self.peak, self.over = 0, 0, False

    def __enter__(self) -> Self:
        self.start_bytes = resident()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        self.join()

    @property
    def taken(self) -> int:
        """Bytes at most, besides those at the start."""
        return self.peak - self.start_bytes

    def run(self) -> None:
        while not self.over:
            self.peak = max(self.peak, resident())
            time.sleep(0.001)


def measure(network: str, step: int, mode: str | int, budget: str, side: int, engine: str) -> dict[str, Any]:
    """What one scan was predicted to take and took, bytes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    make, window = NETWORKS[network]
    net = load(make().eval(), window=window)
    image = torch.rand(3, side, side)
    work = job_of(load(net), image, step=step, mode=mode, budget=budget, engine=engine, threads=1)
    with torch.inference_mode():
        net(torch.rand(1, 3, window, window))
    with Watch() as watch:
        began = time.perf_counter()
        compute_scores(work)
        seconds = time.perf_counter() - began
    return {
        "network": network,
        "step": step,
        "mode": mode,
        "map": work.plan.shape,
        "tile": work.plan.tile,
        "batch": work.plan.batch,
        "predicted": work.plan.memory.total_bytes,
        "budget": work.plan.budget_bytes,
        "measured": watch.taken,
        "torch": work.plan.cost.peak_bytes,
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    name, step, mode, budget, side, engine = sys.argv[1:]
    sys.stdout.write(
        json.dumps(measure(name, int(step), int(mode) if mode.isdigit() else mode, budget, int(side), engine)) + "\n"
    )
