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
from fullfield.plan import CONTEXT, EXACT, Borders, Plan, make_plan

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


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network ready to scan: as captured, in canonical form with its batch norms folded, and as integers."""

    net: Classifier
    canonical: Canonical
    network: Network

    @property
    def stride(self) -> tuple[int, int]:
        """Px between neighbouring cells of the network's coarsest map: the natural step (y, x)."""
        axes = [p.axes for p in self.network.places(cap=0).values() if p.axes is not None]
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
    pair = (step, step) if isinstance(step, (int, np.integer)) else tuple(step)
    if len(pair) != 2 or any(not isinstance(s, (int, np.integer)) or s < 1 for s in pair):
        raise GeometryError("step", f"{step!r} is not one or two positive integers", fix="use 1 or more, such as 32")
    return int(pair[0]), int(pair[1])


def parse_borders(mode: str, border: Border) -> Borders:
    """What is recomputed as the crops would, from a mode's name or a number of cells.

    Raises:
        GeometryError: an unknown mode, or a negative number.
    """
    if mode not in ("exact", "context"):
        raise GeometryError("mode", f"{mode!r} is not known", fix='use "exact" or "context"')
    if border is None:
        return EXACT if mode == "exact" else CONTEXT
    cells, whole = (border, 0) if isinstance(border, int) else border
    if min(cells, whole) < 0:
        raise GeometryError("border", f"{border} is negative", fix="use 0 or more cells")
    return Borders(cells, whole)


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
        tile=settings.tile,
    )
    return Work(prepared, source, plan, settings)
