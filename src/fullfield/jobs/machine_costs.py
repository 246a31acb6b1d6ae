"""Measured costs of this machine, kept in the user's cache folder for all later scans."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, replace

import torch

from fullfield.engine.engines.blobs import Blobs, cache_folder
from fullfield.engine.machine import processor, version_of
from fullfield.engine.speed import has_huge_pages, measure_costs
from fullfield.errors import ArgumentError
from fullfield.jobs.request import ScanRequest
from fullfield.planning.calibration import MachineCosts, calibrated, reference_costs
from fullfield.planning.compute import EngineName
from fullfield.planning.constants import ENGINE_CONSTANTS, CostConstants

KEPT_BYTES = 4 << 20  # of all measurements
_PRECISIONS = ("float32", "bfloat16")
_FORMAT = 1  # of what is measured


def constants_for(request: ScanRequest) -> CostConstants:
    """The constants to plan a scan by: those of the request, else those measured on this machine, else built-in ones.

    Scans that several processes share take built-in ones, so that all plan the same.
    """
    if request.constants is not None:
        return request.constants
    built_in = ENGINE_CONSTANTS[request.engine.name]
    found = _read(request) if can_keep(request) else None
    return built_in if found is None else _constants(request, found)


def check_measurable(request: ScanRequest) -> None:
    """Passes if the machine can be measured for scans like this one.

    Raises:
        ArgumentError: it cannot.
    """
    if can_keep(request):
        return
    if cache_folder() is None:
        what, fix = "nothing is kept, as FULLFIELD_CACHE is empty", "set it to a folder, or leave it out"
    elif request.compute.world > 1:
        what, fix = "scans that several processes share are planned by built-in costs", "leave out world"
    else:
        device, precision = request.model.device.type, request.engine.precision
        what = f"costs are measured on CPUs in {' and '.join(_PRECISIONS)}, and this is {device}, {precision}"
        fix = "leave it out: the plan takes built-in costs"
    raise ArgumentError("measure", what, fix=fix)


def measured_constants(request: ScanRequest) -> CostConstants:
    """The constants of this machine, measured now and kept.

    Raises:
        FullfieldError: the engine is not installed, or lacks the precision.
    """
    found = measure_costs(request.engine)
    _kept().write(_key(request), json.dumps(asdict(found)).encode())
    return _constants(request, found)


def can_keep(request: ScanRequest) -> bool:
    """Whether a scan may be planned by measured constants, and these can be kept."""
    on_cpu = request.model.device.type == "cpu" and request.engine.precision in _PRECISIONS
    return on_cpu and request.compute.world == 1 and cache_folder() is not None


def _constants(request: ScanRequest, found: MachineCosts) -> CostConstants:
    return _calibrated(request.engine.name, has_huge_pages(), found)


@functools.cache
def _calibrated(engine: EngineName, huge_pages: bool, found: MachineCosts) -> CostConstants:
    return calibrated(ENGINE_CONSTANTS[engine], reference_costs(engine, huge_pages=huge_pages), found)


def _kept() -> Blobs:
    return Blobs("measured", KEPT_BYTES)


def _key(request: ScanRequest) -> bytes:
    """What the costs depend on: engine, precision, threads, processor, and how memory is got."""
    engine = request.engine
    return _digest(engine.name, engine.precision, engine.threads or torch.get_num_threads(), has_huge_pages())


@functools.cache
def _digest(engine: EngineName, precision: str, threads: int, huge_pages: bool) -> bytes:
    facts = {
        "costs": _FORMAT,
        "torch": torch.__version__,
        "engine": [engine, version_of(engine)],
        "precision": precision,
        "threads": threads,
        "processor": processor(),
        "huge_pages": huge_pages,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()


def _read(request: ScanRequest) -> MachineCosts | None:
    """Costs that were measured before; ``None`` if there are none, or none that can be read."""
    kept, key = _kept(), _key(request)
    data = kept.read(key)
    if data is None:
        return None
    try:
        return _parsed(bytes(data))
    except (ValueError, TypeError) as error:
        kept.drop(key, str(error))
        return None


@functools.lru_cache(8)
def _parsed(data: bytes) -> MachineCosts:
    return MachineCosts(**json.loads(data))


def with_constants(request: ScanRequest) -> ScanRequest:
    """The request with the constants to plan it by."""
    return replace(request, constants=constants_for(request))
