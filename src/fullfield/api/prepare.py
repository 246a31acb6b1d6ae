"""What scan, verify and plan share: the network ready to run, the image ready to be read, the plan between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fullfield.analysis.specs import network
from fullfield.capture.classifier import Classifier
from fullfield.convert.canonical import Canonical, canonical
from fullfield.convert.fold import fold_batch_norm
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.geometry.network import Network
from fullfield.geometry.placement import Placement
from fullfield.io.images import ImageSource, open_image
from fullfield.plan import Mode, Plan, make_plan

Step = int | tuple[int, int]


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


def prepare(net: Classifier) -> Prepared:
    """The network ready to scan."""
    form = canonical(net)
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


def parse_mode(mode: str) -> Mode:
    """The mode by its name.

    Raises:
        GeometryError: neither ``exact`` nor ``context``.
    """
    if mode == "exact" or mode == "context":
        return mode  # type: ignore[return-value]
    raise GeometryError("mode", f"{mode!r} is not known", fix='use "exact" or "context"')


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


def read_image(net: Classifier, image: object, *, scale: float) -> ImageSource:
    """The image as the network's source."""
    return open_image(
        image,
        preprocessing=net.preprocessing,
        channels=net.channels,
        dtype="float64" if net.dtype == torch.float64 else "float32",
        window=net.window,
        scale=scale,
    )


def place(net: Classifier, source: ImageSource, step: tuple[int, int]) -> Placement:
    """Where the scores will lie on the image."""
    return Placement(step, net.window, source.original_size, source.scanned_size)


def plan_scan(
    prepared: Prepared,
    source: ImageSource,
    *,
    step: tuple[int, int],
    mode: Mode,
    budget: int | None,
    tile: tuple[int, int] | None,
    batch: int | None,
) -> Plan:
    """The plan for one image."""
    if mode == "context":
        check_context(prepared)
    _, height, width = source.shape
    return make_plan(
        prepared.network,
        image=(height, width),
        step=step,
        mode=mode,
        itemsize=prepared.itemsize,
        budget_bytes=budget,
        tile=tile,
        batch=batch,
    )
