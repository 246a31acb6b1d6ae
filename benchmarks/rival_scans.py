"""Scans by ``fullfield.scan``, as users call it: the first one of a model, and later ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fullfield
from benchmarks.turns import Entry, Spent, spent
from fullfield.geometry.network import Network
from fullfield.planning import Borders
from fullfield.planning.cost import crop_macs
from fullfield.planning.cost_cache import CostCache, TileGrid
from fullfield.planning.mode import parse_mode

ENOUGH_S = 2.0  # a scan that takes longer is ended after the tile that is being computed, and its rest is estimated
FRONTIERS = 64  # tried in the search for the least multiply-adds


class _EnoughError(Exception):
    """Ends a scan."""


@dataclass
class _Meter:
    """When a scan began to compute, and how far it came; ends it where it has taken long enough.

    Args:
        stop: windows after which the scan is ended; 0 to end it once it has taken ``ENOUGH_S``.
    """

    stop: int = 0
    computing: Spent = field(default_factory=Spent)
    done: int = 0
    total: int = 0
    last: Spent = field(default_factory=Spent)

    def __call__(self, progress: fullfield.Progress) -> None:
        if progress.stage == "computing the first tile":
            self.computing = Spent.now()
        if progress.stage != "scanning" or not progress.done or progress.done == self.done:
            return
        self.done, self.total, self.last = progress.done, progress.total, Spent.now()
        long = self.last.wall_s - self.computing.wall_s > ENOUGH_S
        if self.done < self.total and (self.done >= self.stop if self.stop else long):
            raise _EnoughError


@dataclass
class Scan:
    """A scan by one engine.

    Args:
        entry: what is measured.
        path: of the model's file.
        window: its height and width, px.
        image: pixels ``(c, y, x)``.
        compute: how it is computed.
    """

    entry: Entry
    path: Path
    window: int
    image: torch.Tensor
    compute: fullfield.Compute
    stop: int = 0
    model: fullfield.Model = field(init=False)

    def begin(self) -> Spent:
        """Reads the model and scans; what is not computed is estimated by the later turns."""
        torch.set_num_threads(self.entry.threads)
        reading, self.model = spent(partial(fullfield.load, self.path, window=self.window))
        meter, first, _ = self._scan()
        self.stop = meter.done
        _, again, whole = self._scan()
        return reading + first - again + whole

    def turn(self) -> Spent:
        torch.set_num_threads(self.entry.threads)
        return self._scan()[2]

    @property
    def remark(self) -> str:
        part = self.stop / self.entry.windows
        return "whole map" if part == 1 else f"{part:.0%} of the map"

    def _scan(self) -> tuple[_Meter, Spent, Spent]:
        """How far a scan came, what that took, and what the whole map takes."""
        meter = _Meter(self.stop)
        began = Spent.now()
        kind = self.entry.kind
        mode: Any = kind if kind in ("exact", "context") else int(kind)
        try:
            fullfield.scan(
                self.model, self.image, step=self.entry.step, mode=mode, compute=self.compute, progress=meter
            )
            taken = whole = Spent.now() - began
        except _EnoughError:
            taken = meter.last - began
            whole = meter.computing - began + (meter.last - meter.computing) * (meter.total / meter.done)
        return meter, taken, whole


def computes(engine: str, precision: str) -> bool:
    """Whether this machine, and this version of fullfield, has the engine and the precision."""
    small = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    try:
        compute = fullfield.Compute(engine=engine, precision=precision)  # type: ignore[arg-type]
        fullfield.scan(fullfield.load(small, window=8, channels=1), torch.rand(1, 8, 8), step=1, compute=compute)
    except fullfield.FullfieldError:
        return False
    return True


def bound(network: Network, image: int, step: int, mode: str) -> float:
    """Multiply-adds of all crops over the least that a scan of the whole map as one tile takes, whatever its memory.

    crops: windows * sum(macs of every layer on one window)
    scan:  min over frontiers: sum(macs * cells, all families, of layers before it) + windows * sum(macs after it)
    """
    count = (image - network.window[0]) // step + 1
    borders: Borders = parse_mode(mode if mode in ("exact", "context") else int(mode))
    grid, costs = TileGrid((image, image), (step, step), borders), CostCache(network, 4)
    stops: list[int | None] = [None]
    if mode == "exact":
        nodes = len(network.nodes)
        stops += sorted({*range(1, nodes, math.ceil(nodes / FRONTIERS)), nodes - 1, nodes - 2, nodes - 3} - {0})
    least = min(costs.cost(grid, (count, count), (0, 0), batch=count, stop=stop).macs for stop in stops)
    return crop_macs(network) * count**2 / least
