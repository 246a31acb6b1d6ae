"""Runs a scan whose scores are needed only until they are decided: in memory, or in a store that is then removed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fullfield.decisions.decide import check_rule
from fullfield.decisions.rule import DecisionRule
from fullfield.engine.progress import OnProgress
from fullfield.errors import GeometryError
from fullfield.geometry.placement import Placement
from fullfield.jobs.fastest import prepare_scan
from fullfield.jobs.in_memory import run_in_memory
from fullfield.jobs.job import ScanJob, encoder_of
from fullfield.jobs.request import OutputRequest, ScanRequest
from fullfield.jobs.to_store import scan_to_store
from fullfield.model.model import Model
from fullfield.store.encoding import Encoding
from fullfield.store.maps import MapSpec, ScoreMap

_NOWHERE = Placement((1, 1), (1, 1), (1, 1), (1, 1))


def check_decidable(model: Model, encoding: Encoding, rule: DecisionRule) -> None:
    """Raises before a scan where its map could not be decided so.

    Raises:
        FullfieldError: its scores do not say what the rule asks for, an unknown class, or regions that are no file.
    """
    encoder = encoder_of(ScanRequest(model, None, encoding=encoding))
    said = {"ends_in": model.ends_in, "settings": {"encoding": asdict(encoding)}}
    fields = encoder.fields
    check_rule(MapSpec((encoder.bands, 1, 1), shard=(1, 1), placement=_NOWHERE, provenance=said, **fields), rule)


def check_one_process(request: ScanRequest) -> None:
    """Passes unless several processes share the scan.

    Raises:
        GeometryError: they do.
    """
    if request.compute.world > 1:
        what = "scores that are decided at once are not shared by processes"
        raise GeometryError("world", what, fix="give an output, and decide the finished map")


@contextmanager
def scanned_map(request: ScanRequest, progress: OnProgress | None = None) -> Iterator[ScoreMap]:
    """The map of a scan while it is needed: in memory if it fits the budget, else in a store of a temporary folder.

    The scores are those that ``scan`` would keep in memory, or write.

    Raises:
        FullfieldError: as for ``scan``.
    """
    check_one_process(request)
    job = prepare_scan(request, progress=progress)
    if map_bytes(job) <= job.plan.budget_bytes - job.plan.memory.total_bytes:
        yield run_in_memory(job, progress)
        return
    with TemporaryDirectory(prefix="fullfield-") as folder:
        compute = replace(job.request.compute, engine=job.request.engine.name)  # chosen once
        chosen = replace(job.request, compute=compute)
        stored = scan_to_store(chosen, OutputRequest(Path(folder) / "map.zarr"), progress)
        assert stored is not None  # of one process
        yield stored


def map_bytes(job: ScanJob) -> int:
    """Bytes of a scan's map in memory."""
    return job.encoder.bands * math.prod(job.plan.shape) * np.dtype(job.encoder.dtype).itemsize
