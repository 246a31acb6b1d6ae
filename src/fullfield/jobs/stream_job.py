"""What a scan to disk depends on: network, image, plan, blocks, and how they share the budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fullfield._version import __version__
from fullfield.engine.threads import AHEAD, READERS
from fullfield.errors import BudgetError
from fullfield.image.cache import CachedRaster, row_bytes
from fullfield.image.raster import ArrayRaster, array_identity
from fullfield.jobs.prepare import CACHE_SHARE, Ready, Settings, Work, image_of, provenance, ready_to_scan
from fullfield.model.model import Model
from fullfield.planning import Plan, Tile
from fullfield.planning.choose import DEFAULT_BUDGET_BYTES
from fullfield.planning.shards import Shards, shard_size
from fullfield.store.encoding import Encoding, ScoreEncoder, score_encoder
from fullfield.store.maps import MapSpec
from fullfield.store.record import plain_json
from fullfield.store.shards import chunk_bytes

_LEAST_SHARE = 0.05  # of the budget for the computation
_TRIES = 6  # plans, to find how much the computation may take
_BLOCK = 1 / 16  # of the budget for what is stored of a block
_BLOCK_BYTES = 64 << 20  # of it at most
_BLOCKS = 16  # at least, so that most are written while others are computed ...
_LEAST_BLOCK_BYTES = 1 << 20  # ... unless they become smaller than this
_READ_COPIES = 3  # of a region's raw pixels while it is read: decoded, put together, brought to the network's channels
_GROWING_COPIES = 8  # of an inner chunk while a coarser level is built: four read, some of them decoded, halved, packed
_GROWING = 1 / 8  # of the budget for them at most; else the coarser levels are built at the end
_SLACK = 24 << 20  # of threads, handles and compressors


@dataclass(frozen=True, eq=False)
class StreamJob:
    """A scan to disk, ready to run.

    Args:
        work: network, image and plan.
        shards: the blocks of the map.
        kept: what of the scores is stored.
        predicted_bytes: most memory that it takes, above image and network.
        cache_bytes: of it for decoded pixels.
        grows: whether coarser levels of the map are built beside the computation.
        remark: what the user should know of it, if anything.
    """

    work: Work
    shards: Shards
    kept: ScoreEncoder
    predicted_bytes: int
    cache_bytes: int = 0
    grows: bool = False
    remark: str = ""

    @cached_property
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
            "frontier": next((name for name, place in plan.places.items() if not place.shared), None),
            "shard": list(self.shards.size),
            "keep": {**self.kept.fields, "fill": str(self.kept.fill)},
        }
        plain: dict[str, Any] = plain_json(facts)
        return plain


def prepare_job(net: Model, image: object, keep: Encoding, settings: Settings) -> StreamJob:
    """Everything that a scan to disk needs, checked before it starts.

    Raises:
        BudgetError: no plan fits the budget, and the least that would.
        FullfieldError: as for ``scan``.
    """
    budget = settings.budget_bytes or DEFAULT_BUDGET_BYTES
    kind = "float32" if net.dtype == torch.bfloat16 else str(net.dtype).removeprefix("torch.")
    kept = score_encoder(keep, classes=net.classes, class_names=net.class_names, dtype=kind)
    ready = ready_to_scan(net, image, replace(settings, budget=budget))
    for rows in (True, False):
        job = _largest(ready, kept, budget, rows=rows)
        if job is not None:
            return _with_rest(job, budget)
    least = _least(ready, kept)
    if settings.budget is None and settings.tile is None:
        budget = max(least, budget)
    elif least > budget:
        raise BudgetError(
            "budget",
            f"{budget / 1e6:.1f} MB is less than the {least / 1e6:.1f} MB that a scan to disk takes",
            fix=f"allow at least {math.ceil(least / 1e6)} MB",
        )
    return _with_rest(_cut(_smallest(ready).planned(budget), kept, budget, rows=False), budget)


def _largest(ready: Ready, kept: ScoreEncoder, budget: int, *, rows: bool) -> StreamJob | None:
    """The job whose computation takes as much of the budget as everything else leaves it.

    That depends on the tile, and the tile on it: what the last plan would have left is allowed to the next, or the
    middle between what fitted and what did not.
    """
    best: StreamJob | None = None
    allowed, fitting, most = budget, 0, budget
    for _ in range(_TRIES):
        if allowed < _LEAST_SHARE * budget:
            break
        try:
            job = _cut(ready.planned(allowed), kept, budget, rows=rows)
        except BudgetError:
            break
        left = budget - (job.predicted_bytes - job.work.plan.cost.peak_bytes)
        if job.predicted_bytes > budget:
            most = allowed
            allowed = (fitting + most) // 2 if best is not None else max(left, allowed // 2)
            continue
        if allowed == budget or (best is not None and job.work.plan.tile == best.work.plan.tile):
            return job
        best, fitting, allowed = job, allowed, min(left, most)
    return best


def _cut(work: Work, kept: ScoreEncoder, budget: int, *, rows: bool) -> StreamJob:
    """The work with its map cut into blocks; with ``rows`` the cache holds what all tiles beside each other read."""
    cell = _cell_bytes(kept)
    part = max(math.prod(work.plan.shape) * cell // _BLOCKS, _LEAST_BLOCK_BYTES)
    most = min(int(_BLOCK * budget), _BLOCK_BYTES, part)
    shards = Shards(work.plan, shard_size(work.plan, cell_bytes=cell, most_bytes=most))
    raster = image_of(work.source).raster
    wanted = row_bytes(raster, _region(work.plan))
    share = int(CACHE_SHARE * budget)
    cache = max(share, wanted) if rows else share
    predicted = _predicted(work, shards, cell) + (0 if isinstance(raster, ArrayRaster) else cache)
    growing = _GROWING_COPIES * chunk_bytes((kept.bands, *shards.size), kept.dtype)
    grows = growing <= _GROWING * budget and predicted + growing <= budget
    predicted += growing if grows else 0
    remark = ""
    if wanted > cache:
        remark = (
            f"{raster.name}: its strips are {raster.about.tile[1]} px wide and are decoded anew for every tile; "
            f"a budget of about {(predicted - cache + wanted) / 1e6:.0f} MB, or a tiled file, avoids that"
        )
    return StreamJob(work, shards, kept, predicted, cache, grows, remark)


def _with_rest(job: StreamJob, budget: int) -> StreamJob:
    """The job, its cache as large as it is to be; what is left of the budget may go to spectra of kernels."""
    raster, plan = image_of(job.work.source).raster, job.work.plan
    if isinstance(raster, CachedRaster):
        raster.cache.most_bytes = job.cache_bytes
    rest = plan.cost.peak_bytes + budget - job.predicted_bytes
    passes = tuple(replace(part, budget_bytes=rest) for part in plan.passes)
    return replace(job, work=replace(job.work, plan=replace(plan, budget_bytes=rest, passes=passes)))


def _cell_bytes(kept: ScoreEncoder) -> int:
    """Bytes of a cell as stored, and of whether it has scores."""
    return kept.bands * np.dtype(kept.dtype).itemsize + 1


def _region(plan: Plan) -> tuple[int, int]:
    """Height and width of what a full tile reads, px."""
    tile = Tile(0, 0, min(plan.tile[0], plan.shape[0]), min(plan.tile[1], plan.shape[1]))
    top, bottom, left, right = plan.runs[0].layout(tile).pixels(plan.network.nodes[0].name)
    return bottom - top, right - left


def _predicted(work: Work, shards: Shards, cell_bytes: int) -> int:
    """Bytes that a scan takes: the computation, pixels that wait, the scores of a tile, two blocks."""
    plan = work.plan
    area = math.prod(_region(plan))
    channels, raw = work.source.shape[0], image_of(work.source).raster
    ready = area * channels * work.prepared.itemsize
    reading = area * raw.shape[2] * raw.dtype.itemsize * _READ_COPIES
    reading += ready if work.source.edge != "valid" else 0  # the pixels before they are continued
    scores = 2 * math.prod(plan.tile) * work.prepared.net.classes * work.prepared.itemsize
    blocks = 2 * math.prod(shards.size) * cell_bytes
    held = raw.about.held_bytes + _SLACK
    return plan.cost.peak_bytes + (AHEAD + 1) * ready + READERS * reading + scores + blocks + held


def _smallest(ready: Ready) -> Ready:
    """The same with tiles of one window, unless they are given."""
    return replace(ready, settings=replace(ready.settings, tile=ready.settings.tile or (1, 1)))


def _least(ready: Ready, kept: ScoreEncoder) -> int:
    """The least budget for which there is a plan: of the smallest tiles, in blocks as small."""
    work = _smallest(ready).planned(1 << 62)
    cell = _cell_bytes(kept)
    fixed = _predicted(work, Shards(work.plan, shard_size(work.plan, cell_bytes=cell, most_bytes=1)), cell)
    in_memory = isinstance(image_of(ready.source).raster, ArrayRaster)
    return fixed if in_memory else math.ceil(fixed / (1 - CACHE_SHARE))
