"""The peak memory of one scan to disk, in a process of its own: ``python stream_peak.py NETWORK STEP BUDGET BLOCKS``.

Prints one line of JSON. The image is 320,000 px a side, its pixels made by a formula when they are read; a stated
number of blocks of its map is scanned. The start is taken when the network is loaded and has scored one window.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs.zstd
import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import nn

from fullfield.api.scan import scan
from fullfield.arguments import parse_bytes
from fullfield.image.raster import ImageMetadata
from fullfield.importers.load import load
from fullfield.planning.shards import Shards
from tests.engine.peak import Watch
from tests.requests import grouped, job_of

assert zarr.__version__
assert numcodecs.zstd


@dataclass(frozen=True)
class Endless:
    """An image of any size that takes no memory."""

    side: int = 320_000
    name: str = "endless"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.side, self.side, 3

    @property
    def metadata(self) -> ImageMetadata:
        return ImageMetadata({"side": self.side}, (512, 512))

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        y, x = np.arange(top, bottom).astype(np.uint8)[:, None], np.arange(left, right).astype(np.uint8)
        return np.stack([y * 7 ^ x, y + x * 3, y ^ x * 5], axis=-1)

    def valid(self, *region: int) -> None:
        return None

    def thumbnail(self, side: int) -> None:
        return None

    def close(self) -> None:
        pass


class Basic(nn.Module):
    """ResNet's block of two."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.long = nn.Sequential(
            *(nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)),
        )
        self.short = (
            nn.Identity()
            if before == width and stride == 1
            else nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.long(x) + self.short(x))


def resnet18(classes: int) -> nn.Module:
    """ResNet-18."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    shapes = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    shapes += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    blocks = [Basic(*shape) for shape in shapes]
    return nn.Sequential(*layers, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def lenet(classes: int) -> nn.Module:
    """LeNet-5, with rectifiers and greatest-of pools."""
    layers = [nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)]
    return nn.Sequential(*layers, nn.Flatten(), *head)


NETWORKS = {
    "lenet": (lambda: lenet(10), 32),
    "lenet-1000": (lambda: lenet(1000), 32),
    "resnet18": (lambda: resnet18(10), 224),
    "resnet18-1000": (lambda: resnet18(1000), 224),
}


def measure(network: str, step: int, budget: str, blocks: int) -> dict[str, Any]:
    """What one scan was predicted to take and took, bytes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    make, window = NETWORKS[network]
    net = load(load(make().eval(), window=window))
    with torch.inference_mode():
        net(torch.rand(1, 3, window, window))
    settings: dict[str, Any] = {"step": step, "budget": budget}
    job = job_of(net, Endless(), on_disk=True, **settings)
    plan, shards = job.plan, Shards(job.plan, job.plan.memory.block)
    predicted = plan.memory.total_bytes
    facts = {"tile": plan.tile, "shard": shards.size, "computation": plan.cost.peak_bytes, "predicted": predicted}
    world, allowed = max(1, len(shards) // blocks), parse_bytes(budget)
    del job, plan, shards
    with tempfile.TemporaryDirectory() as folder, Watch() as watch:
        began = time.perf_counter()
        scan(net, Endless(), output=Path(folder) / "map.zarr", **grouped(settings | {"world": world}))
        seconds = time.perf_counter() - began
    case = {"network": network, "step": step, "budget": allowed, "measured": watch.taken}
    return case | facts | {"seconds": round(seconds, 1)}


if __name__ == "__main__":
    name, step, budget, blocks = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(name, int(step), budget, int(blocks))) + "\n")
