"""Measures what this machine takes for what plans count, before a scan that is long enough."""

from __future__ import annotations

import logging
from dataclasses import replace

from fullfield.engine.progress import OnProgress, announce
from fullfield.errors import FullfieldError
from fullfield.jobs.job import ScanJob, prepare_job
from fullfield.jobs.machine_costs import can_keep, measured_constants
from fullfield.jobs.timing import is_worth_measuring

_MEASURING_S = {"torch": 1.0, "onnxruntime": 2.0, "openvino": 2.0}  # that measuring takes at most, about
_TAKEN_BYTES = 128 << 20  # that measuring takes, at most
_log = logging.getLogger("fullfield")


def with_measured_costs(job: ScanJob, *, on_disk: bool = False, progress: OnProgress | None = None) -> ScanJob:
    """The job planned by the costs of this machine, which are measured and kept if none are yet and that is worth it.

    Args:
        job: that was planned by the costs that are known.
        on_disk: whether the scores go to a store, in blocks.
        progress: called once if costs are measured.
    """
    request = job.request
    if job.plan.constants.measured or not _is_worth(job):
        return job
    announce(progress, "measuring this machine")
    try:
        constants = measured_constants(request)
    except (FullfieldError, RuntimeError, MemoryError) as error:
        _log.info("costs are not measured: %s", error)
        return job
    return prepare_job(replace(request, constants=constants), on_disk=on_disk)


def _is_worth(job: ScanJob) -> bool:
    """Whether a scan is predicted to take many times as long as measuring, which its budget has room for."""
    plan, request = job.plan, job.request
    if plan.budget_bytes < _TAKEN_BYTES:
        return False
    threads, measuring_s = request.compute.threads, _MEASURING_S[request.engine.name]
    if not is_worth_measuring(plan, plan.windows, threads, measuring_s) or not can_keep(request):
        return False
    return is_worth_measuring(plan, job.wanted_windows, threads, measuring_s)  # which may read parts of the image
