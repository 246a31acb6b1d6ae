"""Scans ready to run, from settings written side by side: those of ``scan`` and the fields of its records."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fullfield import Compute, Model, Where
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


def padded_model() -> Model:
    """A small network that pads and takes windows of 16 px; its weights are drawn."""
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.SiLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return load(module.eval(), window=16)


class LeftHalf(NamedTuple):
    """Wants the cells of the left half of a map."""

    columns: int

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Which cells of a block are wanted."""
        return np.broadcast_to(np.arange(column, column + columns) < self.columns // 2, (rows, columns))
