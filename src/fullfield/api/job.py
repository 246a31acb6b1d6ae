"""What a scan to disk depends on: network, image, plan, blocks, and how they share the budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fullfield._version import __version__
from fullfield.api.prepare import CACHE_SHARE, Ready, Settings, Work, image_of, provenance, ready_to_scan
from fullfield.capture.classifier import Classifier
from fullfield.engine.stream import AHEAD, READERS
from fullfield.errors import BudgetError, GeometryError
from fullfield.io.kept import Keep, Kept, keeping
from fullfield.io.maps import MapSpec
from fullfield.io.raster import array_identity
from fullfield.io.record import plain_json
from fullfield.plan import Tile
from fullfield.plan.choose import DEFAULT_BUDGET_BYTES
from fullfield.plan.shards import Shards, shard_size

_SHARES = (0.7, 0.5, 0.35, 0.2, 0.1, 0.05)  # of the budget that the computation may take, tried in this order
_BLOCK = 1 / 16  # of the budget for what is stored of a block
_BLOCK_BYTES = 64 << 20  # of it at most
_READ_COPIES = 3  # of a region's raw pixels while it is read: decoded, put together, brought to the network's channels
_SLACK = 24 << 20  # of threads, handles and compressors


@dataclass(frozen=True, eq=False)
class StreamJob:
    """A scan to disk, ready to run.

    Args:
        work: network, image and plan.
        shards: the blocks of the map.
        kept: what of the scores is stored.
        predicted_bytes: most memory that it takes, above image and network.
    """

    work: Work
    shards: Shards
    kept: Kept
    predicted_bytes: int

    @property
    def spec(self) -> MapSpec:
        """What the store will hold."""
        about = image_of(self.work.source).original.about
        return MapSpec(
            shape=(self.kept.bands, *self.work.plan.shape),
            shard=self.shards.size,
            placement=self.work.placement,
            mode=self.work.plan.mode,
            georeference=about.georeference,
            mpp=about.mpp,
            provenance=provenance(self.work) | {"job": self.facts},
            **self.kept.fields,
        )

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the result depends on, as plain JSON: a run that goes on must agree in all of it."""
        work, plan = self.work, self.work.plan
        image, net = image_of(work.source).original, work.prepared.net
        identity = image.about.identity or array_identity(image.read(0, image.shape[0], 0, image.shape[1]))
        facts = {
            "fullfield": __version__,
            "torch": torch.__version__,
            "model": {"hash": net.hash, "dtype": str(net.dtype).removeprefix("torch."), "device": net.device.type},
            "image": {"identity": identity, "shape": list(image.shape)},
            **provenance(work)["settings"],
            "method": plan.method,
            "batch": plan.batch,
            "frontier": sorted(name for name, place in plan.places.items() if not place.shared)[:1],
            "shard": list(self.shards.size),
            "keep": {**self.kept.fields, "fill": str(self.kept.fill)},
        }
        plain: dict[str, Any] = plain_json(facts)
        return plain

    def check_verifiable(self) -> None:
        """Passes if what is stored can be compared with the crops' scores.

        Raises:
            GeometryError: it is something else.
        """
        kept = self.kept
        if kept.kind != "scores" or kept.activation is not None or kept.dtype not in ("float32", "float64"):
            what = "labels" if kept.kind == "labels" else f"{kept.activation or 'scores'} in {kept.dtype}"
            raise GeometryError(
                "verify",
                f"{what} cannot be compared with the crops' scores",
                fix="verify a scan that keeps the scores as they are",
            )


def prepare_job(net: Classifier, image: object, keep: Keep, settings: Settings) -> StreamJob:
    """Everything that a scan to disk needs, checked before it starts.

    Raises:
        BudgetError: no plan fits the budget, and the least that would.
        FullfieldError: as for ``scan``.
    """
    budget = settings.budget_bytes or DEFAULT_BUDGET_BYTES
    kind = "float32" if net.dtype == torch.bfloat16 else str(net.dtype).removeprefix("torch.")
    kept = keeping(keep, classes=net.classes, class_names=net.class_names, dtype=kind)
    ready = ready_to_scan(net, image, replace(settings, budget=budget))
    least = math.inf
    for share in _SHARES:
        try:
            work = ready.planned(int(share * budget))
        except BudgetError:
            break
        job = _cut(work, kept, budget)
        least = min(least, job.predicted_bytes)
        if job.predicted_bytes <= budget:
            return job
    raise _too_small(ready, kept, budget)


def _cut(work: Work, kept: Kept, budget: int) -> StreamJob:
    """The work with its map cut into blocks."""
    most = min(int(_BLOCK * budget), _BLOCK_BYTES)
    cell = kept.bands * np.dtype(kept.dtype).itemsize + 1
    shards = Shards(work.plan, shard_size(work.plan, cell_bytes=cell, most_bytes=most))
    return StreamJob(work, shards, kept, _predicted(work, shards, cell) + int(CACHE_SHARE * budget))


def _predicted(work: Work, shards: Shards, cell_bytes: int) -> int:
    """Bytes that a scan takes: the computation, pixels that wait, the scores of a tile, two blocks."""
    plan = work.plan
    tile = Tile(0, 0, min(plan.tile[0], plan.shape[0]), min(plan.tile[1], plan.shape[1]))
    top, bottom, left, right = plan.runs[0].layout(tile).pixels(plan.network.nodes[0].name)
    area = (bottom - top) * (right - left)
    channels, raw = work.source.shape[0], image_of(work.source).raster
    ready = area * channels * work.prepared.itemsize
    reading = area * raw.shape[2] * raw.dtype.itemsize * _READ_COPIES + ready
    scores = 2 * tile.rows * tile.columns * work.prepared.net.classes * work.prepared.itemsize
    blocks = 2 * shards.size[0] * shards.size[1] * cell_bytes
    held = raw.about.held_bytes + _SLACK
    return plan.cost.peak_bytes + (AHEAD + 1) * ready + READERS * reading + scores + blocks + held


def _too_small(ready: Ready, kept: Kept, budget: int) -> BudgetError:
    """The error that names the least budget: of one window at a time."""
    alone = replace(ready, settings=replace(ready.settings, tile=(1, 1)))
    work = alone.planned(1 << 62)
    cell = kept.bands * np.dtype(kept.dtype).itemsize + 1
    fixed = _predicted(work, Shards(work.plan, shard_size(work.plan, cell_bytes=cell, most_bytes=1)), cell)
    least = max(fixed / (1 - CACHE_SHARE), work.plan.cost.peak_bytes / _SHARES[0])
    return BudgetError(
        "budget",
        f"{budget / 1e6:.1f} MB is less than the {least / 1e6:.1f} MB that a scan to disk takes",
        fix=f"allow at least {math.ceil(least / 1e6)} MB",
    )
