"""``fullfield.plan``: how a scan would run, before it runs; ``compare_steps``: what other steps would take."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fullfield.arguments import checks_keywords
from fullfield.errors import BudgetError
from fullfield.importers.load import load
from fullfield.jobs.job import prepare_job
from fullfield.jobs.machine_costs import check_measurable, measured_constants
from fullfield.jobs.request import ScanRequest, StepLike
from fullfield.jobs.timing import crop_seconds
from fullfield.planning import Plan

if TYPE_CHECKING:
    from fullfield.importers.load import ModelLike
    from fullfield.mask.where import Where
    from fullfield.planning.compute import Compute
    from fullfield.planning.mode import AnyMode

_PARTS = (2, 4)  # finer steps that a step is compared with


@dataclass(frozen=True)
class StepCost:
    """What a step gives and costs.

    Args:
        step: px between windows (y, x).
        windows: of the whole image.
        seconds: predicted time of the scan on this machine.
        crop_seconds: predicted time of the same windows crop by crop.
    """

    step: tuple[int, int]
    windows: int
    seconds: float
    crop_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return asdict(self) | {"step": list(self.step)}


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
    measure: bool = False,
) -> Plan:
    """How ``scan`` would run with the same arguments: method, tile, cost, memory.

    Printed, it is one line; its ``table`` is what ``fullfield plan`` prints: where each layer runs, and the
    multiply-adds of each part of the scan, which are those that ``torch.utils.flop_counter`` counts when it runs.

    Args:
        model, image, step, mode, scale, where, compute: as for ``scan``.
        measure: measure now what this machine takes for what plans count, and keep it for all scans in this engine and
            precision, and with so many threads. Long scans do so by themselves.

    Raises:
        FullfieldError: as for ``scan``; or what is measured cannot be kept.
    """
    request = ScanRequest.parse(load(model), image, step=step, mode=mode, scale=scale, where=where, compute=compute)
    if measure:
        check_measurable(request)
        measured_constants(request)
    job = prepare_job(request)
    if request.engine.name == "torch":
        return job.plan
    from fullfield.engine.engines.share import engine_share

    part = job.plan.all_passes[0]
    share = engine_share(job.prepared.canonical, part, part.layout(next(part.tiles())))
    return replace(job.plan, engine=f"{job.plan.engine}; it runs {share:.1%} of the multiply-adds, torch the others")


@checks_keywords
def compare_steps(
    model: ModelLike,
    image: object,
    *,
    step: StepLike | None = None,
    mode: AnyMode = "exact",
    scale: float = 1.0,
    where: Where | None = None,
    compute: Compute | None = None,
) -> list[StepCost]:
    """Windows and time of a scan with a step, with its half and its quarter.

    One window is run to time the machine.

    Args:
        step: the coarsest of the steps; by default the network's stride.
        model, image, mode, scale, where, compute: as for ``scan``.

    Raises:
        FullfieldError: as for ``scan``; finer steps that do not fit the budget are left out.
    """
    parse = partial(ScanRequest.parse, load(model), image, mode=mode, scale=scale, where=where, compute=compute)
    job = prepare_job(parse(step=step))
    plans, (y, x) = [job.plan], job.plan.step
    for part in _PARTS:
        finer = max(1, y // part), max(1, x // part)
        if finer != plans[-1].step:
            with suppress(BudgetError):
                plans.append(prepare_job(parse(step=finer)).plan)
    seconds = crop_seconds(job.request.model, job.source)
    return [StepCost(p.step, p.windows, p.table.seconds(seconds), seconds * p.windows) for p in plans]
