"""``fullfield.plan``: how a scan would run, before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullfield.arguments import checks_keywords
from fullfield.importers.load import load
from fullfield.jobs.job import prepare_job
from fullfield.jobs.request import ScanRequest, StepLike
from fullfield.planning import Plan

if TYPE_CHECKING:
    from fullfield.importers.load import ModelLike
    from fullfield.mask.where import Where
    from fullfield.planning.compute import Compute
    from fullfield.planning.mode import AnyMode


@checks_keywords
def plan(
    model: ModelLike,
    image: object,
    *,
    step: StepLike | None = None,
    mode: AnyMode = "exact",
    scale: float = 1.0,
    where: Where | None = None,
    compute: Compute | None = None,
) -> Plan:
    """How ``scan`` would run with the same arguments: method, tile, cost, memory.

    Printed, it is one line; its ``table`` is what ``fullfield plan`` prints: where each layer runs, and the
    multiply-adds of each part of the scan, which are those that ``torch.utils.flop_counter`` counts when it runs.

    Args:
        model, image, step, mode, scale, where, compute: as for ``scan``.

    Raises:
        FullfieldError: as for ``scan``.
    """
    request = ScanRequest.parse(load(model), image, step=step, mode=mode, scale=scale, where=where, compute=compute)
    return prepare_job(request).plan
