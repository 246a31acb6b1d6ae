"""Scans ready to run, from settings written side by side: those of ``scan`` and the fields of its records."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield import Compute, Where
from fullfield.importers.load import ModelLike, load
from fullfield.jobs.job import ScanJob, prepare_job
from fullfield.jobs.request import ScanRequest

WHERE = frozenset({"region", "mask", "coordinates", "skip_background", "min_coverage", "edge"})
COMPUTE = frozenset({"budget", "tile", "method", "device", "precision", "engine", "threads", "rank", "world"})


def grouped(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as ``scan`` takes them: the fields of its records in their records."""
    where = {name: value for name, value in settings.items() if name in WHERE}
    compute = {name: value for name, value in settings.items() if name in COMPUTE}
    rest = {name: value for name, value in settings.items() if name not in WHERE | COMPUTE}
    return rest | ({"where": Where(**where)} if where else {}) | ({"compute": Compute(**compute)} if compute else {})


def job_of(model: ModelLike, image: object, *, on_disk: bool = False, **settings: Any) -> ScanJob:
    """A scan ready to run."""
    return prepare_job(ScanRequest.parse(load(model), image, **grouped(settings)), on_disk=on_disk)


class LeftHalf(NamedTuple):
    """Wants the cells of the left half of a map."""

    columns: int

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which cells of a block are wanted."""
        return np.broadcast_to(np.arange(column, column + columns) < self.columns // 2, (rows, columns))
