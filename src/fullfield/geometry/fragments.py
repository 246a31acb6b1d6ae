"""Runs dilated operators undilated on fragments of the map.

A strip in which one window's cells lie ``ratio`` apart consists of ``ratio`` interleaved maps. On each of these
fragments an operator dilated by ``ratio`` runs undilated; the results are interleaved again.

Source: Giusti et al. 2013 (max-pooling fragments, doi 10.1109/ICIP.2013.6738831)
"""

from __future__ import annotations

from dataclasses import dataclass

from fullfield.geometry.axis import Op


@dataclass(frozen=True)
class Fragments:
    """How a strip is cut along one axis; an uncut strip is one fragment.

    Args:
        ratio: fragments of the strip.
        spacing: distance of the fragments that are computed: the operator's stride on the strip.
        cells: cells of each fragment, the strip padded to a whole number.
        result_cells: cells of the operator's result on each.
        stride: of the operator on a fragment.
        dilation: of the operator on a fragment.
    """

    ratio: int
    spacing: int
    cells: int
    result_cells: int
    stride: int
    dilation: int

    @property
    def phases(self) -> int:
        """Fragments that are computed."""
        return self.ratio // self.spacing

    @property
    def computed(self) -> int:
        """Cells of the operator's results on all of them."""
        return self.phases * self.result_cells


def split_into_fragments(length: int, stride: int, dilation: int, op: Op, ratio: int) -> Fragments:
    """The fragments of a strip of ``length`` cells, on which ``op`` runs with ``stride`` and ``dilation``.

    It stays whole if the operator is not dilated by the ratio, or its stride does not divide the ratio.

    Examples:
        >>> split_into_fragments(20, 1, 4, Op(3), 4)
        Fragments(ratio=4, spacing=1, cells=5, result_cells=3, stride=1, dilation=1)
    """
    if ratio == 1 or op.kernel == 1 or ratio % stride:
        return Fragments(1, 1, length, (length - dilation * (op.kernel - 1) - 1) // stride + 1, stride, dilation)
    cells = -(-length // ratio)
    return Fragments(ratio, stride, cells, cells - op.extent + 1, 1, op.dilation)
