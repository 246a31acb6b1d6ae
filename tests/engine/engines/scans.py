"""Scans by an engine's programs, tile by tile, against the original network's crops in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch

from fullfield.canonical.form import Canonical
from fullfield.geometry.region import Pair
from fullfield.model.model import Model
from tests.oracle import Scan, crops, difference, whole

MakeEngine = Callable[[Canonical], Any]


@dataclass(frozen=True)
class EngineScan:
    """One network in float32, scanned by an engine, otherwise as ``Scan`` scans it."""

    scan: Scan
    make: MakeEngine

    @cached_property
    def single(self) -> Scan:
        """The scan of the network in float32, whose canonical form casts to float32."""
        return replace(self.scan, net=model_in_float32(self.scan.net))

    @cached_property
    def engine(self) -> Any:
        return self.make(self.single.canonical)

    def __call__(self, image: torch.Tensor, step: Pair, tile: Pair | None = None) -> torch.Tensor:
        """Scores ``(rows, columns, k)`` of every window of an image in float64, tile by tile."""
        plan: Any = SimpleNamespace(network=self.single.network, batch=self.single.batch, programs=16)
        bands: dict[int, list[torch.Tensor]] = {}
        for row, layout, pixels in self.single.tiles(image, step, tile):
            scores = self.engine.compile(plan, layout)(pixels[0].float().numpy())
            bands.setdefault(row, []).append(torch.from_numpy(scores).permute(1, 2, 0))
        return torch.cat([torch.cat(band, 1) for band in bands.values()], 0).double()


def in_float32(net: Canonical) -> Canonical:
    return replace(net, graph=copy.deepcopy(net.graph).float())


def model_in_float32(net: Model) -> Model:
    return replace(net, graph=copy.deepcopy(net.graph).float())


def distances(found: torch.Tensor, net: Model, image: torch.Tensor, step: Pair) -> tuple[float, float]:
    """From the crops in float64: of what was found, and of the crops in float32, over the range of the scores."""
    wanted = crops(net, image, step)
    single = crops(model_in_float32(net), image.float(), step).double()
    return difference(found, wanted), difference(single, wanted)


def distances_from_whole(found: torch.Tensor, scan: Scan, image: torch.Tensor) -> tuple[float, float]:
    """The same against the converted network over the whole image."""
    wanted = whole(scan.canonical, image)
    single = whole(in_float32(scan.canonical), image.float()).double()
    return difference(found, wanted), difference(single, wanted)
