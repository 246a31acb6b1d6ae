"""What scan, verify and plan share: the network ready to run, the image ready to be read, the plan between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fullfield.analysis.specs import network
from fullfield.api.nets import parse_bytes
from fullfield.capture.classifier import Classifier
from fullfield.convert.canonical import Canonical, canonical
from fullfield.convert.fold import fold_batch_norm
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.geometry.network import Network
from fullfield.geometry.placement import Placement
from fullfield.io.edges import PaddedSource, pad_edges, parse_edge
from fullfield.io.images import ImageSource, open_image
from fullfield.plan import CONTEXT, EXACT, Borders, Method, Plan, make_plan

Step = int | tuple[int, int]
Border = int | tuple[int, int] | None


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


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network ready to scan: as captured, in canonical form with its batch norms folded, and as integers."""

    net: Classifier
    canonical: Canonical
    network: Network

    @property
    def stride(self) -> tuple[int, int]:
        """Px between neighbouring cells of the network's coarsest map: the natural step (y, x)."""
        nodes = self.network
        if self.canonical.refused:  # look past gates and norms of the window
            nodes = network(canonical(self.net, slides=True), self.net.dtype)
        axes = [p.axes for p in nodes.places(cap=0).values() if p.axes is not None]
        return max(a[0].jump for a in axes), max(a[1].jump for a in axes)

    @property
    def itemsize(self) -> int:
        """Bytes of one number of the network's type."""
        return torch.empty(0, dtype=self.net.dtype).element_size()


@dataclass(frozen=True, eq=False)
class Work:
    """A scan ready to run."""

    prepared: Prepared
    source: ImageSource | PaddedSource
    plan: Plan
    settings: Settings


def prepare(net: Classifier, *, slides: bool = False) -> Prepared:
    """The network ready to scan; ``slides`` lets gates and norms of the window slide with it (not in exact mode)."""
    form = canonical(net, slides=slides)
    folded, _ = fold_batch_norm(form.graph)
    form = replace(form, graph=folded)
    return Prepared(net, form, network(form, net.dtype))


def parse_step(step: Step | None, stride: tuple[int, int]) -> tuple[int, int]:
    """The step along y and x, px; the network's stride by default.

    Raises:
        GeometryError: not one or two positive integers.
    """
    if step is None:
        return stride
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
    net: Classifier, image: object, *, scale: float, edge: str = "valid", step: tuple[int, int] = (1, 1)
) -> ImageSource | PaddedSource:
    """The image as the network's source, continued beyond its edges if asked."""
    way = parse_edge(edge)
    source = open_image(
        image,
        preprocessing=net.preprocessing,
        channels=net.channels,
        dtype="float64" if net.dtype == torch.float64 else "float32",
        window=net.window if way == "valid" else None,
        scale=scale,
    )
    return source if way == "valid" else pad_edges(source, way, net.window, step)


def place(net: Classifier, source: ImageSource | PaddedSource, step: tuple[int, int]) -> Placement:
    """Where the scores will lie on the image."""
    padding = source.padding if isinstance(source, PaddedSource) else (0, 0, 0, 0)
    return Placement(step, net.window, source.original_size, source.scanned_size, padding)


def set_up(net: Classifier, image: object, settings: Settings) -> Work:
    """Everything that a scan needs, checked before it starts.

    Raises:
        FullfieldError: a network, image or argument that cannot be used.
    """
    borders = parse_borders(settings.mode, settings.border)
    prepared = prepare(net, slides=borders.mode == "context")
    step = parse_step(settings.step, prepared.stride)
    source = read_image(net, image, scale=settings.scale, edge=settings.edge, step=step)
    if borders.cells == 0:
        check_context(prepared)
    plan = make_plan(
        prepared.network,
        image=source.shape[1:],
        step=step,
        borders=borders,
        itemsize=prepared.itemsize,
        budget_bytes=None if settings.budget is None else parse_bytes(settings.budget),
        tile=parse_tile(settings.tile),
        method=settings.method,
    )
    return Work(prepared, source, plan, settings)
