"""A classifier -> its canonical graph, fully convolutional as far as its operators allow."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fullfield.canonical.rewriter import Refused, Rewriter
from fullfield.canonical.rules import find
from fullfield.model.model import Model


@dataclass(frozen=True, eq=False)
class Canonical:
    """The network in canonical form.

    Every node carries ``meta["kind"]``: ``input``, ``windowed``, ``pointwise``, ``per_cell`` (these work on maps
    of any size), ``whole`` (works on one window's own tensors), ``const``, ``scalar`` or ``output``.

    Args:
        graph: one placeholder ``(n, c, y, x)``; shares the classifier's parameters' memory.
        refused: operators that stay whole-window, with the reason; empty for a fully convolutional network.
    """

    graph: torch.fx.GraphModule
    window: tuple[int, int]
    channels: int
    refused: tuple[Refused, ...]


def canonical(net: Model, *, sliding: bool = False) -> Canonical:
    """The classifier in canonical form; operators that refuse stay as they are, and all after them.

    Args:
        sliding: let what a window gates or normalises its map with slide along with it: for ``context`` mode only.
    """
    rewriter = Rewriter(net, find, may_slide=sliding)
    graph = rewriter.run()
    return Canonical(graph, net.window, net.channels, tuple(rewriter.refused))
