"""Dilated operators as plain ones on fragments of the map.

A strip whose cells of one window lie ``ratio`` apart is ``ratio`` interleaved maps. Cut into these fragments, an
operator spread by ``ratio`` runs undilated on each; its results interleave again.

Source: Giusti et al. 2013 (max-pooling fragments, doi 10.1109/ICIP.2013.6738831)
"""

from __future__ import annotations

from dataclasses import dataclass

from fullfield.geometry.axis import Op


@dataclass(frozen=True)
class Fragments:
    """How a strip is cut along one axis; uncut it is its own single fragment.

    Args:
        ratio: fragments that the strip has.
        used: every how many fragments one is needed: the operator's stride on the strip.
        cells: cells of each fragment, the strip padded to a whole number.
        out: cells that the operator gives for each.
        stride: of the operator on a fragment.
        dilation: of the operator on a fragment.
    """

    ratio: int
    used: int
    cells: int
    out: int
    stride: int
    dilation: int

    @property
    def phases(self) -> int:
        """Fragments that are computed."""
        return self.ratio // self.used

    @property
    def computed(self) -> int:
        """Cells that the operator gives on all of them."""
        return self.phases * self.out


def cut(length: int, stride: int, dilation: int, op: Op, ratio: int) -> Fragments:
    """The fragments of a strip of ``length`` cells, on which ``op`` runs with ``stride`` and ``dilation``.

    It stays whole where the operator is not spread, or its stride does not divide the ratio.

    Examples:
        >>> cut(20, 1, 4, Op(3), 4)
        Fragments(ratio=4, used=1, cells=5, out=3, stride=1, dilation=1)
    """
    if ratio == 1 or op.kernel == 1 or ratio % stride:
        return Fragments(1, 1, length, (length - dilation * (op.kernel - 1) - 1) // stride + 1, stride, dilation)
    cells = -(-length // ratio)
    return Fragments(ratio, stride, cells, cells - op.extent + 1, 1, op.dilation)
