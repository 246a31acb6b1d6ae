"""``fullfield.tune``: what the dial between context and exact costs and gives on the user's own image."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fullfield.api.tuning import Candidate, Check, Target, Tuning
from fullfield.api.verify import verify
from fullfield.arguments import parse_bytes
from fullfield.engine.progress import OnProgress, Stage
from fullfield.engine.protocols import Source
from fullfield.engine.run import run_tiles
from fullfield.errors import BudgetError, GeometryError, UnsupportedError
from fullfield.geometry.network import Network, Place
from fullfield.geometry.region import Pair
from fullfield.importers.load import load
from fullfield.jobs.prepare import Prepared, Step, check_context, prepare, read_image
from fullfield.model.model import Model
from fullfield.planning import EXACT, Borders, Method, Plan, Tile, make_plan
from fullfield.planning.table import PlanTable
from fullfield.verification.crops import Cell, run_crops, sample_cells
from fullfield.verification.metrics import relative_difference, score_spread, window_errors

if TYPE_CHECKING:
    from fullfield.api.scores import Scores
    from fullfield.importers.load import ModelLike


_CELLS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # border cells tried
_WITH_MAPS = 3  # borders up to this many cells are tried with whole maps too
_MAPS = 2  # so many of the network's map sizes, the smallest
_CLEARLY = 0.9  # of exact's time, at most
_APART = 4  # sampled windows of one tile lie up to this part of a window apart


def tune(
    net: ModelLike,
    image: object,
    *,
    tolerance: float | None = None,
    agreement: float | None = None,
    samples: int = 64,
    seed: int = 0,
    step: Step | None = None,
    scale: float = 1.0,
    edge: str = "valid",
    budget: int | str | None = None,
    until_met: bool = False,
    progress: OnProgress | None = None,
) -> Tuning:
    """The cost and the error of each setting of ``border``, measured on sampled windows of this image.

    Tried are borders of 0, 1, 2, 3, 4, 6, 8, … cells, alone and with the network's smallest maps whole, as far as they
    should be faster than ``exact``. The sampled windows are computed as a scan of the whole image would compute them,
    from the pixels around them, and compared with their crops.

    Args:
        net: as for ``scan``, and so are ``image``, ``step``, ``scale``, ``edge`` and ``budget``.
        image: to be scanned.
        tolerance: the target: mean error over the spread of the scores, at most; 0.02 where nothing is wished.
        agreement: the target: share of windows whose top class is the crop's, at least.
        samples: windows to compare, about; the same for every setting.
        seed: of their draw.
        step: px between windows of the scan.
        scale: factor on the image's size before scanning.
        edge: what lies beyond the image.
        budget: memory allowed.
        until_met: stop at the first setting, from the fastest on, that meets the target.
        progress: called after every setting.

    Raises:
        FullfieldError: as for ``scan``; a target that cannot be one.
    """
    target = Target.parse(tolerance, agreement)
    if samples < 1:
        raise GeometryError("samples", f"{samples} is not a positive number", fix="use 64, say")
    bench = _Bench.set_up(load(net), image, step=step, scale=scale, edge=edge, budget=budget)
    subject = _Subject.draw(bench, samples, seed)
    candidates: list[Candidate] = []
    options = bench.options(subject.crop_seconds)
    stage = Stage(progress, "tuning", len(options), "settings")
    for option in options:
        candidates.append(subject.measure(option))
        stage.report(len(candidates))
        if until_met and target.met(candidates[-1].error, candidates[-1].agreement):
            break
    exact = options[-1].table
    return Tuning(
        candidates=tuple(candidates),
        target=target,
        samples=len(subject.cells),
        seed=seed,
        windows=exact.windows,
        step=bench.step,
        spread=score_spread(subject.crops),
        crop_macs=exact.crops,
        crop_seconds=subject.crop_seconds * exact.windows,
    )


def check(net: ModelLike, image: object, scores: Scores, target: Target, *, samples: int = 64, seed: int = 1) -> Check:
    """Whether the scores of a scan are as near to the crops as wished, on sampled windows.

    Args:
        net: that was scanned with.
        image: that was scanned.
        scores: of it.
        target: how near they are to be.
        samples: windows to compare.
        seed: of their draw; another than that of the tuning.

    Raises:
        FullfieldError: as for ``verify``.
    """
    classifier = load(net)
    certificate = verify(classifier, image, scores=scores, samples=samples, seed=seed)
    used, step = scores.provenance["settings"], scores.placement.step
    source = read_image(classifier, image, scale=used["scale"], edge=used["edge"], step=step)
    cells = sample_cells(scores.placement.shape, samples, seed)
    found = np.stack([scores[:, i, j] for i, j in cells])
    return Check.of(certificate, target, found, run_crops(classifier, source, cells, step))


@dataclass(frozen=True, eq=False)
class _Option:
    """One setting: the network in the form that it takes, and what it costs over the whole image."""

    borders: Borders
    prepared: Prepared
    plan: Plan
    table: PlanTable
    seconds: float


@dataclass(frozen=True, eq=False)
class _Bench:
    """The network in both forms, and the image."""

    exact: Prepared
    sliding: Prepared
    source: Source
    step: Pair
    budget: int | None

    @classmethod
    def set_up(
        cls, net: Model, image: object, *, step: Step | None, scale: float, edge: str, budget: int | str | None
    ) -> _Bench:
        exact = prepare(net)
        pair = exact.steps(step)
        source = read_image(net, image, scale=scale, edge=edge, step=pair)
        return cls(exact, prepare(net, sliding=True), source, pair, parse_bytes(budget))

    def plan(self, borders: Borders, step: Pair, tile: Pair | None = None, method: Method = "auto") -> Plan:
        """How the image is scanned at this setting."""
        prepared = self.form(borders)
        return make_plan(
            prepared.network,
            image=self.source.shape[1:],
            step=step,
            borders=borders,
            itemsize=prepared.itemsize,
            budget_bytes=self.budget,
            tile=tile,
            method=method,
            costs=prepared.costs,
        )

    def form(self, borders: Borders) -> Prepared:
        """The network as ``scan`` would prepare it."""
        return self.exact if borders.mode == "exact" else self.sliding

    def options(self, crop_seconds: float) -> list[_Option]:
        """The settings that should be clearly faster than exact, the fastest first, and exact."""
        exact = self._option(EXACT, self.plan(EXACT, self.step), crop_seconds)
        others: dict[int, _Option] = {}
        method = "auto" if self.sliding.network.upsamples else exact.plan.method
        for borders in settings(self.sliding.network, sliding=_slides(self.sliding)):
            option = self._option(borders, self.plan(borders, self.step, method=method), crop_seconds)
            if option.seconds < _CLEARLY * exact.seconds:
                others.setdefault(option.table.scan.total, option)  # of those that cost the same, the first
        return [*sorted(others.values(), key=lambda o: o.seconds), exact]

    def _option(self, borders: Borders, plan: Plan, crop_seconds: float) -> _Option:
        table = plan.table
        return _Option(borders, self.form(borders), plan, table, table.seconds(crop_seconds))


def settings(network: Network, *, sliding: bool = True) -> list[Borders]:
    """The settings between context and exact that make a difference to this network; context if it slides."""
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


def _slides(prepared: Prepared) -> bool:
    try:
        check_context(prepared)
    except UnsupportedError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class _Subject:
    """The sampled windows: small tiles of a coarse scan, and the scores of their crops.

    The coarse scan's step is a multiple of the wanted one, where possible also of the network's stride: its windows
    are windows of the wanted scan with the same scores, and a small tile of it computes little else.
    """

    bench: _Bench
    coarse: Plan
    tiles: tuple[Tile, ...]
    cells: list[Cell]
    crops: NDArray[np.floating]
    crop_seconds: float

    @classmethod
    def draw(cls, bench: _Bench, samples: int, seed: int) -> _Subject:
        """About so many windows, drawn as tiles of 2x2, and run as crops."""
        net, size = bench.exact.net, bench.source.shape[1:]
        step = coarse_step(bench.step, bench.exact.stride, net.window, size, samples)
        coarse = cls._plan(bench, step)
        every = list(coarse.tiles())
        order = random.Random(seed).sample(every, len(every))
        counts = itertools.accumulate(t.rows * t.columns for t in order)
        tiles = tuple(t for t, n in zip(order, counts, strict=True) if n - t.rows * t.columns < samples)
        cells = [c for t in tiles for c in itertools.product(*_ranges(t))]
        run_crops(net, bench.source, cells[:1], step)  # the first run also sets torch up
        started = time.perf_counter()
        crops = run_crops(net, bench.source, cells, step)
        return cls(bench, coarse, tiles, cells, crops, (time.perf_counter() - started) / len(cells))

    @staticmethod
    def _plan(bench: _Bench, step: Pair) -> Plan:
        """The coarse scan, in one pass, by tiles of 2x2 windows, or of one where four do not fit the budget."""
        try:
            bench.plan(Borders(1), step, (2, 2), "atrous")  # reads more of the image than exact
            return bench.plan(EXACT, step, (2, 2), "atrous")
        except BudgetError:
            return bench.plan(EXACT, step, (1, 1), "atrous")

    def measure(self, option: _Option) -> Candidate:
        """The sampled windows at one setting, against their crops."""
        # Where the frontier lies is the wanted scan's choice, and part of what its scores are.
        prepared, places = option.prepared, option.plan.places
        plan = replace(self.coarse, network=prepared.network, places=places, borders=option.borders)
        blocks = run_tiles(plan, prepared.canonical, self.bench.source, self.tiles)
        found = np.concatenate([block.reshape(len(block), -1).T for block in blocks])
        error = window_errors(found, self.crops)
        top = found.argmax(axis=1) == self.crops.argmax(axis=1)
        cells, whole = option.borders.cells, option.borders.whole_maps
        return Candidate(
            border=(cells, whole) if cells is not None and whole else cells,
            macs=option.table.scan.total,
            fewer=option.table.mac_ratio,
            seconds=option.seconds,
            error=float(error.mean()),
            worst=relative_difference(found, self.crops),
            agreement=float(top.mean()),
        )


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
