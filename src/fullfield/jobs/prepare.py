"""What scan, verify and plan share: the network ready to run, the image ready to be read, the plan between them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fullfield._version import __version__
from fullfield.arguments import parse_bytes
from fullfield.canonical.form import Canonical
from fullfield.canonical.integers import network
from fullfield.canonical.pipeline import canonical, run_passes
from fullfield.engine.protocols import WantedCells
from fullfield.errors import GeometryError, ImageError, UnsupportedError
from fullfield.geometry.network import Network
from fullfield.geometry.placement import Placement
from fullfield.image.identity import file_identity
from fullfield.image.open import open_raster
from fullfield.image.raster import Raster, array_identity, is_raster
from fullfield.image.region import region_of
from fullfield.image.selection import Selection
from fullfield.image.sources import ImageSource, open_image, with_cache
from fullfield.image.windowed import WindowedSource, parse_edge, windowed
from fullfield.jobs.overhead import overhead_of
from fullfield.mask.background import Foreground, find_foreground
from fullfield.mask.wanted import wanted_cells
from fullfield.mask.where import Where
from fullfield.model.model import Model
from fullfield.planning import CONTEXT, EXACT, Borders, CostCache, Method, Plan, make_plan
from fullfield.store.encoding import ScoreEncoder

Step = int | tuple[int, int]
Border = int | tuple[int, int] | None
AnyRegion = str | tuple[int, int, int, int] | None
CACHE_BYTES = 256 << 20  # of decoded pixels, where an image is read without a plan


@dataclass(frozen=True)
class Settings:
    """``scan``'s arguments as given; ``scan`` says what they mean."""

    step: Step | None = None
    mode: str = "exact"
    border: Border = None
    edge: str = "valid"
    scale: float = 1.0
    budget: int | str | None = None
    tile: tuple[int, int] | None = None
    method: Method = "auto"
    region: AnyRegion = None
    mask: object = None
    coordinates: str = "auto"
    skip_background: bool | Foreground = False
    min_coverage: float = 0.0

    @property
    def budget_bytes(self) -> int | None:
        """The memory allowed, if it is bounded.

        Raises:
            BudgetError: it is no size.
        """
        return parse_bytes(self.budget)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network ready to scan: as captured, in canonical form with its batch norms folded, and as integers."""

    net: Model
    canonical: Canonical
    network: Network

    @cached_property
    def stride(self) -> tuple[int, int]:
        """Px between neighbouring cells of the network's coarsest map: the natural step (y, x)."""
        nodes = self.network
        if self.canonical.refused:  # look past gates and norms of the window
            nodes = network(canonical(self.net, sliding=True), self.net.dtype)
        axes = [p.axes for p in nodes.places(cap=0).values() if p.axes is not None]
        return max(a[0].jump for a in axes), max(a[1].jump for a in axes)

    def steps(self, step: Step | None) -> tuple[int, int]:
        """The step along y and x, px: the network's stride, which is looked for only then, if none is given.

        Raises:
            GeometryError: not one or two positive integers.
        """
        return self.stride if step is None else parse_step(step)

    @property
    def itemsize(self) -> int:
        """Bytes of one number of the network's type."""
        return torch.empty(0, dtype=self.net.dtype).element_size()

    @cached_property
    def costs(self) -> CostCache:
        """What its tiles cost, as far as it is known."""
        return CostCache(self.network, self.itemsize)


@dataclass(frozen=True, eq=False)
class Work:
    """A scan ready to run.

    Args:
        prepared: the network.
        source: the image.
        plan: how it is scanned.
        settings: as they were given.
        where: the cells wanted, if not all.
    """

    prepared: Prepared
    source: WindowedSource
    plan: Plan
    settings: Settings
    where: WantedCells | None = None

    @property
    def placement(self) -> Placement:
        """Where the scores lie on the image."""
        return place(self.prepared.net, self.source, self.plan.step)

    @property
    def where_facts(self) -> dict[str, Any]:
        """What decides which cells are wanted, as plain JSON."""
        said = self.settings
        return {
            "region": said.region,
            "mask": None if said.mask is None else _identity(said.mask),
            "coordinates": said.coordinates,
            "skip_background": isinstance(said.skip_background, Foreground)
            and array_identity(said.skip_background.inside),
            "min_coverage": said.min_coverage,
        }


@dataclass(frozen=True, eq=False)
class Ready:
    """A scan that only lacks its plan; ``Work`` says what the fields mean."""

    prepared: Prepared
    source: WindowedSource
    step: tuple[int, int]
    borders: Borders
    settings: Settings
    where: WantedCells | None = None

    def planned(self, encoder: ScoreEncoder | None = None) -> Work:
        """The scan with the cheapest plan within the budget.

        Args:
            encoder: of scores that are stored; ``None`` for scores kept in memory.

        Raises:
            BudgetError: no plan fits it.
        """
        net, source = self.prepared.net, self.source
        plan = make_plan(
            self.prepared.network,
            image=source.shape[1:],
            step=self.step,
            borders=self.borders,
            itemsize=self.prepared.itemsize,
            budget_bytes=self.settings.budget_bytes,
            overhead=overhead_of(source, itemsize=self.prepared.itemsize, classes=net.classes, encoder=encoder),
            tile=parse_tile(self.settings.tile),
            method=self.settings.method,
            costs=self.prepared.costs,
        )
        source = replace(source, image=with_cache(source.image, plan.memory.cache_bytes))
        return Work(self.prepared, source, plan, self.settings, self.where)


def prepare(net: Model, *, sliding: bool = False) -> Prepared:
    """The network ready to scan; ``sliding`` lets gates and norms of the window slide with it (not in exact mode).

    ScoreEncoder with the network for the next scan, as long as its weights stay as they are.
    """
    return net.cached("prepared", lambda: _prepared(net, sliding=sliding), key=sliding)


def _prepared(net: Model, *, sliding: bool) -> Prepared:
    return Prepared(net, *run_passes(net, sliding=sliding))


def parse_step(step: Step) -> tuple[int, int]:
    """The step along y and x, px.

    Raises:
        GeometryError: not one or two positive integers.
    """
    return _pair("step", step, step, least=1, fix="use 1 or more, such as 32")


def parse_tile(tile: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Rows and columns of windows, if they are given.

    Raises:
        GeometryError: not one or two positive integers.
    """
    return None if tile is None else _pair("tile", tile, tile, least=1, fix="use 1 or more rows and columns of windows")


def _pair(name: str, value: object, second: object, *, least: int, fix: str) -> tuple[int, int]:
    """``value`` as a pair of integers; where it is one number, ``second`` is the other."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, second)
    whole = [n for n in pair if isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= least]
    if len(pair) != 2 or len(whole) != 2:
        kind = "positive integers" if least else "integers from 0 up"
        raise GeometryError(name, f"{value!r} is not one or two {kind}", fix=fix)
    return int(whole[0]), int(whole[1])


def parse_borders(mode: str, border: Border) -> Borders:
    """What is recomputed as the crops would, from a mode's name or a number of cells.

    Raises:
        GeometryError: an unknown mode, or a border that is not one or two integers from 0 up.
    """
    if mode not in ("exact", "context"):
        raise GeometryError("mode", f"{mode!r} is not known", fix='use "exact" or "context"')
    if border is None:
        return EXACT if mode == "exact" else CONTEXT
    return Borders(*_pair("border", border, 0, least=0, fix="use 0 or more cells"))


def check_context(prepared: Prepared) -> None:
    """Passes if the network can slide as one fully convolutional network.

    Raises:
        UnsupportedError: layers that look at the whole window, by name and with the reason.
    """
    reasons = [str(r) for r in prepared.canonical.refused]
    places = prepared.network.places(cap=0)
    if not reasons:
        reasons = [f"{n.path} ({n.op}): {places[n.name].reason}" for n in prepared.network if not places[n.name].shared]
    if reasons:
        more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        raise UnsupportedError(
            prepared.net.name,
            f"is not fully convolutional: {'; '.join(reasons[:3])}{more}",
            fix='scan with mode="exact", which runs these layers window by window',
        )


def read_image(
    net: Model, image: object, *, scale: float = 1.0, edge: str = "valid", step: Step = 1, region: AnyRegion = None
) -> WindowedSource:
    """The image as the network's source, continued beyond its edges or cut to a region if asked."""
    settings = Settings(scale=scale, edge=edge, region=region)
    source = _source(net, image, settings, parse_step(step))
    return replace(source, image=with_cache(source.image, CACHE_BYTES))


def _source(net: Model, image: object, settings: Settings, step: tuple[int, int]) -> WindowedSource:
    way = parse_edge(settings.edge)
    source = open_image(
        _opened(image, net) if isinstance(image, (str, os.PathLike)) else image,
        preprocessing=net.preprocessing,
        channels=net.channels,
        dtype="float64" if net.dtype == torch.float64 else "float32",
        window=net.window if way == "valid" and settings.region is None else None,
        scale=settings.scale,
    )
    region = None if settings.region is None else region_of(settings.region, source.original_size)
    return windowed(source, window=net.window, step=step, edge=way, region=region)


def _opened(path: str | os.PathLike[str], net: Model) -> Raster:
    """A file; of a picture with alpha all bands, where the network takes so many of any kind."""
    raster = open_raster(path, selection=Selection())
    found, wanted = raster.shape[2], net.channels
    if net.preprocessing.order != "any" or raster.about.reader != "Pillow" or found == wanted:
        return raster
    try:
        return open_raster(path, selection=Selection(bands=tuple(range(wanted))))
    except ImageError:  # it has none
        return raster


def image_of(source: WindowedSource) -> ImageSource:
    """The whole image behind a source."""
    return source.image


def place(net: Model, source: WindowedSource, step: tuple[int, int]) -> Placement:
    """Where the scores will lie on the image."""
    return Placement(step, net.window, source.original_size, source.scanned_size, source.padding)


def set_up(net: Model, image: object, settings: Settings) -> Work:
    """Everything that a scan needs, checked before it starts.

    Raises:
        FullfieldError: a network, image or argument that cannot be used.
    """
    return ready_to_scan(net, image, settings).planned()


def ready_to_scan(net: Model, image: object, settings: Settings) -> Ready:
    """The same but for the plan."""
    borders = parse_borders(settings.mode, settings.border)
    prepared = prepare(net, sliding=borders.mode == "context")
    step = prepared.steps(settings.step)
    source = _source(net, image, settings, step)
    if borders.cells == 0:
        check_context(prepared)
    original = image_of(source).original
    if settings.skip_background is True:
        settings = replace(settings, skip_background=find_foreground(original))
    given = Where(
        mask=settings.mask,
        coordinates=settings.coordinates,
        skip_background=settings.skip_background,
        min_coverage=settings.min_coverage,
    )
    where = wanted_cells(original, place(net, source, step), given)
    return Ready(prepared, source, step, borders, settings, where)


def _identity(mask: object) -> dict[str, Any]:
    """What differs when a mask does."""
    if isinstance(mask, (str, os.PathLike)):
        return file_identity(Path(mask))
    if is_raster(mask):
        return mask.about.identity
    return array_identity(np.atleast_2d(np.asarray(mask)))


def provenance(work: Work) -> dict[str, Any]:
    """What makes the scores, as plain JSON."""
    net, plan = work.prepared.net, work.plan
    return {
        "fullfield": __version__,
        "model": net.name,
        "model_hash": net.hash,
        "image": image_of(work.source).name,
        "settings": {
            "step": list(plan.step),
            "mode": plan.mode,
            "border": plan.borders.cells,
            "whole_maps": plan.borders.whole_maps,
            "edge": work.settings.edge,
            "scale": work.settings.scale,
            "window": list(net.window),
            "preprocessing": net.preprocessing.to_json(),
            "tile": list(plan.tile),
            "where": work.where_facts,
        },
    }
