"""Scans one image several times, in several sizes, views and modes, into maps that share their cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress, Progress
from fullfield.engine.protocols import WantedCells
from fullfield.errors import ArgumentError
from fullfield.geometry.region import Pair
from fullfield.image.turned import turned_source
from fullfield.image.views import ORIGINAL, ImageView, check_views
from fullfield.image.windowed import WindowedSource
from fullfield.jobs.fastest import prepare_scan
from fullfield.jobs.in_memory import run_in_memory
from fullfield.jobs.job import ScanJob, plan_scan
from fullfield.jobs.parse_passes import Passes
from fullfield.jobs.request import OutputRequest, ScanRequest
from fullfield.jobs.to_decision import check_one_process, map_bytes
from fullfield.jobs.to_store import run_to_store
from fullfield.store.array_map import ArrayMap
from fullfield.store.maps import MapSpec, ScoreMap
from fullfield.store.turned_map import TurnedMap


@dataclass(frozen=True, eq=False)
class TurnedCells:
    """The cells that are wanted of the map of a view.

    Args:
        wanted: of the image's map.
        view: of the image.
        size: rows and columns of the image's map.
    """

    wanted: WantedCells
    view: ImageView
    size: Pair

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which cells ``(rows, columns)`` of the block that begins at ``(row, column)`` are wanted."""
        region = (row, row + rows, column, column + columns)
        top, bottom, left, right = self.view.region_back(region, self.size)
        return self.view.apply(self.wanted.cells(top, left, bottom - top, right - left))


@dataclass(frozen=True, eq=False)
class SizeScans:
    """The scans of an image in one size, which share their cells.

    Args:
        image: the scan of the image itself.
        scans: those to run, each with its view of the image.
        finished: the maps of scans that are finished already.
    """

    image: ScanJob
    scans: tuple[tuple[ImageView, ScanJob], ...]
    finished: tuple[ScoreMap, ...] = ()


def prepare_passes(
    request: ScanRequest, passes: Passes, progress: OnProgress | None = None, *, finished: ScoreMap | None = None
) -> tuple[SizeScans, ...]:
    """The scans of every size, ready to run.

    Args:
        request: what the scans have in common.
        passes: the scans.
        progress: called while engines are compared.
        finished: the map of the image itself in the request's scale and the first mode, if it was scanned already.

    Raises:
        FullfieldError: as for ``prepare_job``, of any size: before the first scan.
    """
    check_views(passes.views, request.model.window)
    if request.encoding.labels:
        raise ArgumentError("encoding", "labels of several scans have no mean", fix="leave out labels")
    check_one_process(request)
    sizes = []
    for scale in passes.scales:
        jobs = []
        for borders in passes.modes:
            sized = replace(request, scale=request.scale * scale, borders=borders)
            job = prepare_scan(sized, progress=progress)
            request = replace(request, where=job.request.where)  # a background is found once
            jobs.append(replace(job, request=replace(job.request, scans=job.plan.scans)))  # for all views, in any store
        known = () if finished is None or scale != 1 or passes.views[0] != ORIGINAL else (finished,)
        pairs = [(view, job) for job in jobs for view in passes.views][len(known) :]
        scans = [(view, turned_job(job, view)) for view, job in pairs]
        sizes.append(SizeScans(jobs[0], tuple(scans), known))
    return tuple(sizes)


def turned_job(job: ScanJob, view: ImageView) -> ScanJob:
    """The scan of a view, whose windows are those of the image.

    Raises:
        FullfieldError: a budget that is too small.
    """
    if view == ORIGINAL:
        return job
    assert isinstance(job.source, WindowedSource)  # of the image itself
    step, cells = job.plan.step, job.plan.shape
    source = turned_source(job.source, view, cells=cells, window=job.request.model.window, step=step)
    plan = plan_scan(job.request, job.prepared, source, view.size(step), on_disk=False)
    wanted = None if job.wanted is None else TurnedCells(job.wanted, view, cells)
    return ScanJob(job.request, job.prepared, source, plan, wanted)


@contextmanager
def scanned_passes(
    sizes: Sequence[SizeScans], progress: OnProgress | None = None
) -> Iterator[tuple[tuple[ScoreMap, ...], ...]]:
    """The maps of every size while they are needed, turned back onto the cells of the image.

    Maps are in memory as long as all of them fit the budget beside the scans, and in stores of a temporary folder then.

    Args:
        sizes: as ``prepare_passes`` returns them.
        progress: called with the progress of all scans as one.
    """
    jobs = [job for size in sizes for _, job in size.scans]
    free = min((job.plan.budget_bytes - job.plan.memory.total_bytes for job in jobs), default=0)
    counted = _Counted(progress, sum(math.prod(job.plan.shape) for job in jobs))
    with TemporaryDirectory(prefix="fullfield-") as folder:
        found: list[tuple[ScoreMap, ...]] = []
        for size in sizes:
            maps = list(size.finished)
            for view, job in size.scans:
                needed = map_bytes(job)
                place = None if needed <= free else Path(folder) / f"{len(found)}-{len(maps)}.zarr"
                free -= needed if place is None else 0
                maps.append(_turned_back(_scanned(job, place, counted), view, size.image.spec))
            found.append(tuple(maps))
        yield tuple(found)


def _scanned(job: ScanJob, place: Path | None, counted: _Counted) -> ScoreMap:
    """The map of a scan, in memory or in a store."""
    with counted.next() as progress:
        if place is None:
            return run_in_memory(job, progress)
        plan = plan_scan(job.request, job.prepared, job.source, job.plan.step, on_disk=True)
        stored = run_to_store(replace(job, plan=plan), OutputRequest(place), progress)
        assert stored is not None  # of one process
        return stored


def _turned_back(scores: ScoreMap, view: ImageView, spec: MapSpec) -> ScoreMap:
    """A map of a view on the cells of the image."""
    if view == ORIGINAL:
        return scores
    if isinstance(scores, ArrayMap):
        return ArrayMap(view.back(scores.array), spec)
    return TurnedMap(scores, view, spec)


@dataclass
class _Counted:
    """Reports several scans as one.

    Args:
        progress: called with the progress of all.
        total: windows of all.
    """

    progress: OnProgress | None
    total: int
    _before: Progress = field(default_factory=lambda: Progress("scanning"))
    _last: Progress | None = None

    @contextmanager
    def next(self) -> Iterator[OnProgress | None]:
        """What the next scan is to call."""
        yield None if self.progress is None else self._report
        if self._last is not None:
            self._before, self._last = self._last, None

    def _report(self, now: Progress) -> None:
        assert self.progress is not None
        if now.stage != "scanning":
            self.progress(now)
            return
        before = self._before
        sums = {name: getattr(before, name) + getattr(now, name) for name in _SUMMED}
        self._last = replace(now, total=self.total, **sums)
        self.progress(self._last)


_SUMMED = ("done", "computed", "pixels", "elapsed_s", "reading_s", "writing_s", "blocks", "blocks_total")
