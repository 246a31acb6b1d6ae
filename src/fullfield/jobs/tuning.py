"""Measures on sampled windows what each mode between context and exact costs, and how far its scores are off."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.decisions.evaluation.label_files import has_points
from fullfield.decisions.evaluation.labels import Labels
from fullfield.engine.engines.choose import has_bfloat16
from fullfield.engine.progress import OnProgress, Progress, announce
from fullfield.engine.run import run_tiles
from fullfield.errors import BudgetError, UnsupportedError
from fullfield.geometry.network import Network, Place
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Pair
from fullfield.image.input_summary import input_summary
from fullfield.image.raster import finest_level
from fullfield.image.windowed import WindowedSource
from fullfield.jobs.candidates import Candidate, LabelFigures, Tuning
from fullfield.jobs.labelled import LabelledTiles, draw_labelled
from fullfield.jobs.machine_costs import constants_for, with_constants
from fullfield.jobs.prepare import PreparedModel, check_context, prepare
from fullfield.jobs.request import ScanRequest
from fullfield.jobs.source import open_source, placement_of
from fullfield.mask.wanted import wanted_cells
from fullfield.planning import EXACT, Borders, Method, Plan, Tile, make_plan
from fullfield.planning.mode import mode_of, parse_mode
from fullfield.planning.table import PlanTable
from fullfield.store.maps import MapSpec
from fullfield.verification.crops import Cell, run_crops
from fullfield.verification.metrics import (
    agreement_noise,
    error_noise,
    relative_difference,
    score_spread,
    top_agreement,
    window_errors,
    windows_for,
)
from fullfield.verification.target import Target

_CELLS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # border cells tried
_WITH_MAPS = 3  # borders up to this many cells are tried with whole maps too
_MAPS = 2  # so many of the network's map sizes, the smallest
_CLEARLY = 0.9  # of exact's time, at most
_APART = 4  # sampled windows of one tile lie up to this part of a window apart


def tune_modes(
    request: ScanRequest,
    target: Target,
    *,
    samples: int = 64,
    seed: int = 0,
    until_met: bool = False,
    labels: Labels | None = None,
    progress: OnProgress | None = None,
) -> Tuning:
    """The cost and the error of each mode, measured on sampled windows of the request's image.

    Args:
        request: the scan whose mode is to be found; its own mode plays no part.
        target: how near to the crops the scores should be.
        samples: windows to compare, about; the same for every mode. More where the agreement wanted takes more.
        seed: of their draw.
        until_met: stop at the first mode, from the fastest on, that meets the target.
        labels: with which the predictions of each mode are compared, at so many labelled windows of their own.
        progress: called after every mode.

    Raises:
        FullfieldError: as for ``scan``.
    """
    target.check_features(request.model.features)
    announce(progress, "preparing the model")
    scan = _Scan.of(request)
    announce(progress, "running sampled windows as crops")
    if target.agreement is not None:
        samples = max(samples, windows_for(target.agreement))
    sample = _Sample.draw(scan, samples, seed)
    labelled = None if labels is None else _Labelled.draw(scan, labels, samples, seed)
    announce(progress, "planning")
    trials = scan.trials(sample.crop_seconds)
    began = time.perf_counter()
    candidates: list[Candidate] = []
    for trial in trials:
        candidates.append(_compared(sample.measure(trial, trials[-1].table.windows), labelled, trial))
        if progress is not None:
            elapsed = time.perf_counter() - began
            progress(Progress("tuning", len(candidates), len(trials), "modes", elapsed_s=elapsed))
        if until_met and candidates[-1].meets(target):
            break
    exact = trials[-1].table
    tuning = Tuning(
        candidates=tuple(candidates),
        target=target,
        samples=len(sample.cells),
        seed=seed,
        windows=exact.windows,
        step=scan.step,
        spread=score_spread(sample.crops),
        crop_macs=exact.crops,
        crop_seconds=sample.crop_seconds * exact.windows,
        input=str(input_summary(scan.source.image, request.model.resize, request.model.standardise)),
        labelled=None if labelled is None else (labelled.drawn.samples, labelled.drawn.labelled),
        crop_labels=None if labelled is None else labelled.figures(labelled.sample.crops),
    )
    return tuning if until_met else replace(tuning, lower=_in_lower_precision(request, sample, labelled, tuning))


def _compared(candidate: Candidate, labelled: _Labelled | None, trial: _Trial) -> Candidate:
    """A candidate with its agreement with the labels, if there are any."""
    if labelled is None:
        return candidate
    return replace(candidate, labels=labelled.figures(labelled.sample.scores(trial)))


def _in_lower_precision(
    request: ScanRequest, sample: _Sample, labelled: _Labelled | None, tuning: Tuning
) -> tuple[Candidate, ...]:
    """The chosen mode and exact in bfloat16, where engine and machine can and float32 would be computed otherwise."""
    engine = request.engine
    if (
        engine.precision != "float32"
        or request.compute.precision
        or not has_bfloat16(engine.name, request.model.device)
    ):
        return ()
    scan = _Scan.of(replace(request, compute=replace(request.compute, precision="bfloat16")))
    crops = scan.request.model.in_type(torch.bfloat16)
    few = sample.cells[: max(1, len(sample.cells) // 4)]
    run_crops(crops, scan.source, few[:1], sample.coarse.step)
    started = time.perf_counter()
    run_crops(crops, scan.source, few, sample.coarse.step)
    seconds = (time.perf_counter() - started) / len(few)
    if labelled is not None:
        labelled = replace(labelled, sample=replace(labelled.sample, scan=scan))
    found = []
    for mode in dict.fromkeys((tuning.best.mode, tuning.candidates[-1].mode)):
        borders = parse_mode(mode)
        trial = scan.trial(borders, scan.plan(borders, scan.step), seconds)
        measured = _compared(replace(sample, scan=scan).measure(trial, tuning.windows), labelled, trial)
        found.append(replace(measured, precision="bfloat16"))
    return tuple(found)


def tuned(request: ScanRequest, target: Target, progress: OnProgress | None = None) -> ScanRequest:
    """The request in the fastest mode that meets a target; its scores are compared with the target on other windows."""
    tuning = tune_modes(request, target, until_met=True, progress=progress)
    if progress is not None:
        progress(Progress("tuning", 1, 1, "modes", remark=tuning.verdict))
    return replace(
        request,
        borders=parse_mode(tuning.best.mode),
        samples=request.samples or tuning.samples,
        seed=tuning.seed + 1,
        target=target,
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    """One mode: the model in its form, and what it costs over the whole image."""

    borders: Borders
    prepared: PreparedModel
    plan: Plan
    table: PlanTable
    seconds: float


@dataclass(frozen=True, eq=False)
class _Scan:
    """The scan whose mode is to be found: the model in both forms, and the image."""

    request: ScanRequest
    exact: PreparedModel
    sliding: PreparedModel
    source: WindowedSource
    step: Pair

    @classmethod
    def of(cls, request: ScanRequest) -> _Scan:
        request = with_constants(request)
        exact = prepare(request.computed)
        step = exact.stride if request.step is None else request.step
        source = open_source(request.model, request.image, step=step, scale=request.scale, where=request.where)
        return cls(request, exact, prepare(request.computed, sliding=True), source, step)

    def plan(self, borders: Borders, step: Pair, tile: Pair | None = None, method: Method = "auto") -> Plan:
        """How the image is scanned in this mode."""
        prepared = self.prepared(borders)
        return make_plan(
            prepared.network,
            image=self.source.shape[1:],
            step=step,
            borders=borders,
            itemsize=prepared.itemsize,
            budget_bytes=self.request.compute.budget_bytes,
            tile=tile,
            method=method,
            costs=prepared.costs,
            constants=constants_for(self.request),
        )

    def prepared(self, borders: Borders) -> PreparedModel:
        """The model as ``scan`` prepares it for these borders."""
        return self.exact if borders.mode == "exact" else self.sliding

    def trials(self, crop_seconds: float) -> list[_Trial]:
        """The modes that should be clearly faster than exact, the fastest first, and exact."""
        exact = self.trial(EXACT, self.plan(EXACT, self.step), crop_seconds)
        others: dict[int, _Trial] = {}
        method = "auto" if self.sliding.network.upsamples else exact.plan.method
        for borders in useful_borders(self.sliding.network, sliding=_can_slide(self.sliding)):
            trial = self.trial(borders, self.plan(borders, self.step, method=method), crop_seconds)
            if trial.seconds < _CLEARLY * exact.seconds:
                others.setdefault(trial.table.scan.total, trial)  # of those that cost the same, the first
        return [*sorted(others.values(), key=lambda o: o.seconds), exact]

    def trial(self, borders: Borders, plan: Plan, crop_seconds: float) -> _Trial:
        """A mode and what it costs."""
        table = plan.table
        return _Trial(borders, self.prepared(borders), plan, table, table.seconds(crop_seconds))


def useful_borders(network: Network, *, sliding: bool = True) -> list[Borders]:
    """The modes between context and exact that differ for this network; context only if it can slide."""
    sizes = sorted({max(n.shape[-2:]) for n in network if n.kind != "whole"} - {1})[:_MAPS]
    pairs = itertools.chain(((b, 0) for b in _CELLS), itertools.product(range(_WITH_MAPS + 1), sizes))
    known: list[Mapping[str, Place]] = [network.places()]
    found = []
    for cells, whole in pairs:
        places = network.places(cap=cells, small=whole)
        if places not in known and (cells or sliding):
            known.append(places)
            found.append(Borders(cells, whole))
    return found


def _can_slide(prepared: PreparedModel) -> bool:
    try:
        check_context(prepared)
    except UnsupportedError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class _Sample:
    """The sampled windows: small tiles of a coarse scan, and the scores of their crops.

    The coarse scan's step is a multiple of the wanted one, where possible also of the network's stride: its windows
    are windows of the wanted scan with the same scores, and a small tile of it computes little else.
    """

    scan: _Scan
    coarse: Plan
    tiles: tuple[Tile, ...]
    cells: list[Cell]
    crops: NDArray[np.floating]
    crop_seconds: float

    @classmethod
    def draw(cls, scan: _Scan, samples: int, seed: int) -> _Sample:
        """About ``samples`` windows, drawn as tiles of 2x2 and run as crops; with a mask, of tiles that it wants."""
        net, size = scan.request.model, scan.source.shape[1:]
        step = coarse_step(scan.step, scan.exact.stride, net.window, size, samples)
        coarse = cls.plan(scan, step)
        every = _wanted(scan, coarse)
        order = random.Random(seed).sample(every, len(every))
        counts = itertools.accumulate(t.rows * t.columns for t in order)
        return cls.of(
            scan, coarse, tuple(t for t, n in zip(order, counts, strict=True) if n - t.rows * t.columns < samples)
        )

    @classmethod
    def of(cls, scan: _Scan, coarse: Plan, tiles: tuple[Tile, ...]) -> _Sample:
        """The windows of some tiles, run as crops."""
        net, step = scan.request.model, coarse.step
        cells = [c for t in tiles for c in itertools.product(*_ranges(t))]
        run_crops(net, scan.source, cells[:1], step)  # the first run also sets torch up
        started = time.perf_counter()
        crops = run_crops(net, scan.source, cells, step)
        return cls(scan, coarse, tiles, cells, crops, (time.perf_counter() - started) / len(cells))

    @staticmethod
    def plan(scan: _Scan, step: Pair) -> Plan:
        """The coarse scan, in one pass, by tiles of 2x2 windows, or of one where four do not fit the budget."""
        try:
            scan.plan(Borders(1), step, (2, 2), "atrous")  # reads more of the image than exact
            return scan.plan(EXACT, step, (2, 2), "atrous")
        except BudgetError:
            return scan.plan(EXACT, step, (1, 1), "atrous")

    def measure(self, trial: _Trial, windows: int) -> Candidate:
        """The sampled windows in one mode, against their crops.

        Args:
            trial: the mode.
            windows: of the whole map.
        """
        found = self.scores(trial)
        error = window_errors(found, self.crops)
        agreement = None if self.scan.request.model.features else top_agreement(found, self.crops)
        measured = len(self.cells) / windows
        return Candidate(
            mode=mode_of(trial.borders),
            macs=trial.table.scan.total,
            mac_ratio=trial.table.mac_ratio,
            seconds=trial.seconds,
            error=float(error.mean()),
            worst=relative_difference(found, self.crops),
            agreement=agreement,
            noise=error_noise(found, self.crops, [t.rows * t.columns for t in self.tiles], measured=measured),
            agreement_noise=(
                0.0 if agreement is None else agreement_noise(agreement, len(self.cells), measured=measured)
            ),
        )

    def scores(self, trial: _Trial) -> NDArray[np.floating]:
        """The scores ``(windows, k)`` of the sampled windows in one mode."""
        # The frontier is that of the wanted scan: in modes other than exact the scores depend on it.
        prepared, places = trial.prepared, trial.plan.places
        plan = replace(self.coarse, network=prepared.network, places=places, borders=trial.borders)
        blocks = run_tiles(plan, self.scan.request.engine.make(prepared.canonical), self.scan.source, self.tiles)
        return np.concatenate([block.reshape(len(block), -1).T for block in blocks])


@dataclass(frozen=True, eq=False)
class _Labelled:
    """The sampled windows that have a label."""

    sample: _Sample
    drawn: LabelledTiles

    @classmethod
    def draw(cls, scan: _Scan, labels: Labels, samples: int, seed: int) -> _Labelled:
        """About ``samples`` labelled windows; of points, those of the wanted step, of areas those of a coarser one."""
        net, size = scan.request.model, scan.source.shape[1:]
        step = coarse_step(scan.step, scan.exact.stride, net.window, size, samples)
        coarse = _Sample.plan(scan, scan.step if has_points(labels) else step)
        placement = placement_of(net, scan.source, coarse.step)
        wanted = wanted_cells(scan.source.image.original, placement, scan.request.where)
        drawn = draw_labelled(labels, _spec(scan, placement), coarse, samples, seed, wanted)
        return cls(_Sample.of(scan, coarse, drawn.tiles), drawn)

    def figures(self, scores: NDArray[np.floating]) -> LabelFigures:
        """Of scores of the sampled windows ``(windows, k)``."""
        return self.drawn.figures(scores, self.sample.crops)


def _spec(scan: _Scan, placement: Placement) -> MapSpec:
    """What a map of the wanted scan's scores would hold, on another step."""
    net, image = scan.request.model, scan.source.image.original
    return MapSpec(
        shape=(net.classes, *placement.shape),
        dtype="float32",
        shard=placement.shape,
        placement=placement,
        classes=tuple(range(net.classes)),
        class_names=net.class_names,
        georeference=finest_level(image).georeference,
        provenance={"image": image.name, "ends_in": net.ends_in},
        origin=image.metadata.origin,
    )


def _wanted(scan: _Scan, coarse: Plan) -> list[Tile]:
    """The tiles of a coarse scan that hold wanted windows."""
    placement = placement_of(scan.request.model, scan.source, coarse.step)
    wanted = wanted_cells(scan.source.image.original, placement, scan.request.where)
    tiles = list(coarse.tiles())
    if wanted is None:
        return tiles
    return [tile for tile in tiles if wanted.cells(tile.row, tile.column, tile.rows, tile.columns).all()] or tiles


def _ranges(tile: Tile) -> tuple[range, range]:
    return range(tile.row, tile.row + tile.rows), range(tile.column, tile.column + tile.columns)


def coarse_step(step: Pair, stride: Pair, window: Pair, image: Pair, samples: int) -> Pair:
    """A multiple of ``step`` on which windows are cheap to sample: few cells lie between those of one window.

    At best a multiple of the stride as well, up to a fourth of the window; always such that the windows of the coarse
    scan are twice the samples, where the image has as many.

    Examples:
        >>> coarse_step((8, 1), (32, 32), (224, 224), (2000, 2000), 64)
        (32, 32)
    """
    y, x = (
        _coarse(s, t, w, n, math.isqrt(2 * samples) + 1) for s, t, w, n in zip(step, stride, window, image, strict=True)
    )
    return y, x


def _coarse(step: int, stride: int, window: int, pixels: int, wanted: int) -> int:
    best, period = step, math.lcm(step, stride)
    for candidate in range(step, max(period, window // _APART) + 1, step):
        enough = (pixels - window) // candidate + 1 >= wanted
        if enough and (period % candidate == 0 or candidate % period == 0):
            best = candidate
    return best
