"""A model ready to scan: in canonical form, with its batch norms folded, and as integers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from fullfield.canonical.form import Canonical
from fullfield.canonical.integers import network
from fullfield.canonical.pipeline import canonical, run_passes
from fullfield.errors import UnsupportedError
from fullfield.geometry.network import Network
from fullfield.geometry.region import Pair
from fullfield.model.model import Model
from fullfield.planning import CostCache
from fullfield.text import list_text


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A model ready to scan: as captured, in canonical form with its batch norms folded, and as integers."""

    model: Model
    canonical: Canonical
    network: Network

    @cached_property
    def stride(self) -> Pair:
        """Px between neighbouring cells of the network's coarsest map: the natural step (y, x)."""
        nodes = self.network
        if self.canonical.refused:  # gates and norms over the window hide what lies behind them
            nodes = network(canonical(self.model, sliding=True), self.model.dtype)
        return nodes.stride(nodes.places(cap=0))

    @cached_property
    def hash(self) -> str:
        """Of the model, whose weights are those that it was prepared with."""
        return self.model.hash

    @cached_property
    def itemsize(self) -> int:
        """Bytes of one number of the network's type."""
        return torch.empty(0, dtype=self.model.dtype).element_size()

    @cached_property
    def costs(self) -> CostCache:
        """Costs of tiles that were computed before."""
        return CostCache(self.network, self.itemsize)


def prepare(model: Model, *, sliding: bool = False) -> PreparedModel:
    """The model ready to scan; both forms of it are kept for the next scans until its weights change.

    Args:
        sliding: let gates and norms over the window slide with it, as all modes but ``exact`` do.
    """
    return model.cached("prepared", lambda: _prepared(model, sliding=sliding), key=sliding)


def _prepared(model: Model, *, sliding: bool) -> PreparedModel:
    return PreparedModel(model, *run_passes(model, sliding=sliding))


def check_context(prepared: PreparedModel) -> None:
    """Passes if the network can slide as one fully convolutional network.

    Raises:
        UnsupportedError: layers that look at the whole window, by name and with the reason.
    """
    reasons = [str(r) for r in prepared.canonical.refused]
    places = prepared.network.places(cap=0)
    if not reasons:
        reasons = [f"{n.path} ({n.op}): {places[n.name].reason}" for n in prepared.network if not places[n.name].shared]
    if reasons:
        raise UnsupportedError(
            prepared.model.name,
            f"is not fully convolutional: {list_text(reasons, 3, '; ')}",
            fix='scan with mode="exact", which runs these layers window by window',
        )
