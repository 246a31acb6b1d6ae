"""``fullfield.plan``: how a scan would run, before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fullfield.importers.load import load
from fullfield.jobs.prepare import Settings, set_up
from fullfield.planning import Plan

if TYPE_CHECKING:
    from fullfield.importers.load import ModelLike


def plan(net: ModelLike, image: object, **settings: Any) -> Plan:
    """How ``scan`` would run with the same arguments: method, tile, cost, memory.

    Printed, it is one line; its ``table`` is what ``fullfield plan`` prints: where each layer runs, and the
    multiply-adds of each part of the scan, which are those that ``torch.utils.flop_counter`` finds when it runs.

    Args:
        net: as for ``scan``.
        image: as for ``scan``.
        settings: ``scan``'s ``step``, ``mode``, ``border``, ``edge``, ``scale``, ``budget``, ``tile``, ``method`` and
            ``region``.

    Raises:
        FullfieldError: as for ``scan``.
    """
    return set_up(load(net), image, Settings(**settings)).plan
