"""Finds the engine that computes a long scan fastest, by measuring each on one of its tiles."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from fullfield.engine.engines.blobs import Blobs
from fullfield.engine.engines.choose import PRECISIONS
from fullfield.engine.layouts import Layouts, region_of
from fullfield.engine.machine import processor, version_of
from fullfield.engine.progress import OnProgress, announce
from fullfield.errors import BudgetError, FullfieldError
from fullfield.jobs.calibrate import with_measured_costs
from fullfield.jobs.job import ScanJob, prepare_job
from fullfield.jobs.machine_costs import KEPT_BYTES
from fullfield.jobs.request import ScanRequest
from fullfield.jobs.timing import is_worth_measuring, window_seconds
from fullfield.packages import is_installed
from fullfield.planning.choose import time_per_window
from fullfield.planning.compute import EngineName

_COMPILING_S = 5.0  # that an engine takes for a tile's programs, about; only for the decision whether to measure
_SHORT_MACS = 1e12  # a scan that takes less, some seconds, is not even asked for earlier measurements
_PER_WINDOW = 0.9  # of a scan's multiply-adds from which on OpenVINO is taken without measuring, where ...
_LONG_MACS = 1.5e12  # ... it takes so many, about half a minute: compiling takes one to three seconds
_X86 = ("x86_64", "AMD64")  # where that was measured
_GAIN = 0.95  # of torch's time a window another engine must not exceed: less would be chance
_log = logging.getLogger("fullfield")


@dataclass(frozen=True)
class EngineTimes:
    """What engines took for the same windows.

    Args:
        window_s: seconds a window, by engine.
        prepare_s: seconds that compiling a tile's programs took, by engine.
    """

    window_s: Mapping[EngineName, float]
    prepare_s: Mapping[EngineName, float]

    def fastest(self, windows: float) -> EngineName:
        """The engine that takes the least time for so many windows, compiling included."""
        torch_s = self.window_s["torch"]
        clear = [name for name, each in self.window_s.items() if name == "torch" or each <= _GAIN * torch_s]
        return min(clear, key=lambda name: windows * self.window_s[name] + self.prepare_s[name])

    @property
    def text(self) -> str:
        """The times in words, the least first."""
        found = sorted(self.window_s.items(), key=lambda item: item[1])
        return "measured a window: " + ", ".join(f"{name} {each * 1e3:.3g} ms" for name, each in found)


def prepare_scan(request: ScanRequest, *, on_disk: bool = False, progress: OnProgress | None = None) -> ScanJob:
    """Everything that a scan needs, as ``prepare_job``, in the engine that computes it fastest.

    It is planned by the constants of the request, else by those of this machine, which long scans measure.

    Raises:
        FullfieldError: as for ``prepare_job``.
    """
    job = prepare_job(request, on_disk=on_disk, progress=progress)
    if request.constants is not None:
        return with_fastest_engine(job, on_disk=on_disk, progress=progress)
    job = with_measured_costs(job, on_disk=on_disk, progress=progress)
    chosen = with_fastest_engine(job, on_disk=on_disk, progress=progress)
    same = chosen.request.engine.name == job.request.engine.name
    return chosen if same else with_measured_costs(chosen, on_disk=on_disk, progress=progress)


def with_fastest_engine(job: ScanJob, *, on_disk: bool = False, progress: OnProgress | None = None) -> ScanJob:
    """The job with the engine that computes it fastest, compiling counted, if the choice is open and worth measuring.

    Measuring takes two tiles in each engine, and compiling one; it is done where the scan is predicted to take
    25 times as long, and kept in the user's cache folder for later scans of the same kind. Shorter scans of half a
    minute and more run in OpenVINO where nearly all is computed per window: EfficientNet-B0 took 0.73 of torch's time,
    ViT-S 0.85 (``benchmarks/rivals.md``). Scans that several processes share stay with torch, so that all choose the
    same.

    Args:
        job: with torch as its engine.
        on_disk: whether the scores go to a store, in blocks.
        progress: called once if engines are measured.
    """
    request = job.request
    if request.compute.engine != "auto" or request.compute.world > 1:
        return job
    windows, others = float(job.plan.windows), _others(job)
    if not others or windows * time_per_window(job.plan) < _SHORT_MACS:
        return job
    kept, key = Blobs("measured", KEPT_BYTES), _key(job, others)
    times = _read(kept, key)
    if times is None:
        if not _is_worth(job, len(others) + 1, windows):
            return _per_window_engine(job, others, on_disk=on_disk)
        windows = job.wanted_windows  # which may read parts of the image
        if not _is_worth(job, len(others) + 1, windows):
            return _per_window_engine(job, others, on_disk=on_disk)
        announce(progress, "measuring engines")
        times = _measured(job, others, on_disk=on_disk)
        kept.write(key, json.dumps({"window_s": times.window_s, "prepare_s": times.prepare_s}).encode())
    name = times.fastest(windows)
    if name == "torch":
        return replace(job, plan=replace(job.plan, engine=replace(request.engine, why=times.text).text))
    return _in_engine(job, name, times.text, on_disk=on_disk)


def _per_window_engine(job: ScanJob, others: Mapping[EngineName, str], *, on_disk: bool) -> ScanJob:
    """The job in OpenVINO where that is sure to be faster than torch; else as it is."""
    cost = job.plan.all_passes[0].cost
    if "openvino" not in others or platform.machine() not in _X86 or cost.window_macs < _PER_WINDOW * cost.macs:
        return job
    window_macs = time_per_window(job.plan)
    if job.plan.windows * window_macs < _LONG_MACS or job.wanted_windows * window_macs < _LONG_MACS:
        return job
    return _in_engine(job, "openvino", "nearly all runs per window", on_disk=on_disk)


def _in_engine(job: ScanJob, name: EngineName, why: str, *, on_disk: bool) -> ScanJob:
    """The job in another engine, which is imported; as it is where that cannot run it: it was not asked for."""
    try:
        found = prepare_job(_with_engine(job, name, why), on_disk=on_disk)
        assert found.engine.name == name
    except FullfieldError as error:
        level = logging.INFO if isinstance(error, BudgetError) else logging.WARNING
        _log.log(level, "%s is not used: %s", name, str(error).partition("\n")[0])
        return job
    return found


def _others(job: ScanJob) -> dict[EngineName, str]:
    """Versions of the installed engines besides torch that compute in this precision on this device."""
    if job.request.model.device.type != "cpu":
        return {}
    precision = job.request.engine.precision
    names = [name for name, known in PRECISIONS.items() if precision in known and is_installed(name)]
    return {name: version_of(name) for name in names}


def _key(job: ScanJob, others: Mapping[EngineName, str]) -> bytes:
    """What the times depend on: network, tile, precision, threads, processor, and the engines' versions."""
    plan, request = job.plan, job.request
    facts = {
        "model": request.model.hash,
        "torch": torch.__version__,
        "others": others,
        "precision": request.engine.precision,
        "threads": request.compute.threads,
        "processor": processor(),
        "mode": str(plan.borders),
        "step": plan.step,
        "tile": [plan.tile, plan.batch, plan.method, plan.shifts],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()


def _read(kept: Blobs, key: bytes) -> EngineTimes | None:
    """Times that were measured before; ``None`` if there are none, or none that can be read."""
    data = kept.read(key)
    if data is None:
        return None
    try:
        said = json.loads(bytes(data))
        times = EngineTimes(dict(said["window_s"]), dict(said["prepare_s"]))
        times.fastest(1.0)
    except (ValueError, KeyError, TypeError) as error:
        kept.drop(key, str(error))
        return None
    return times


def _is_worth(job: ScanJob, engines: int, windows: float) -> bool:
    """Whether a scan is predicted to take many times as long as measuring its engines."""
    plan, threads = job.plan, job.request.compute.threads
    tiles_s = 2 * engines * math.prod(plan.tile) * window_seconds(plan, threads)
    return is_worth_measuring(plan, windows, threads, _COMPILING_S * (engines - 1) + tiles_s)


def _measured(job: ScanJob, others: Mapping[EngineName, str], *, on_disk: bool) -> EngineTimes:
    """The times of torch, and of those other engines that can compute the scan."""
    window_s: dict[EngineName, float] = {}
    prepare_s: dict[EngineName, float] = {}
    window_s["torch"], prepare_s["torch"] = _time_tile(job)
    for name in others:
        try:
            window_s[name], prepare_s[name] = _time_tile(prepare_job(_with_engine(job, name), on_disk=on_disk))
        except (FullfieldError, RuntimeError, MemoryError) as error:
            _log.info("%s is not measured: %s", name, error)
    return EngineTimes(window_s, prepare_s)


def _time_tile(job: ScanJob) -> tuple[float, float]:
    """Seconds a window in a tile in the middle of the map, and seconds that compiling its programs takes."""
    plan = job.plan.all_passes[0]
    tile = plan.tile_at(*(n // 2 // side for n, side in zip(plan.shape, plan.tile, strict=True)))
    layout = Layouts(job.engine).layout(plan, tile)
    pixels = job.source.read(*region_of(plan, tile, layout))
    spent = []
    for _ in range(3 if math.prod(plan.tile) * time_per_window(plan) < 1e9 else 2):
        started = time.perf_counter()
        job.engine.compile(plan, layout)(pixels)
        spent.append(time.perf_counter() - started)
    again = min(spent[1:])
    return again / (layout.windows[0] * layout.windows[1]), max(0.0, spent[0] - again)


def _with_engine(job: ScanJob, name: EngineName, why: str = "measured") -> ScanRequest:
    """The request with another engine, to be planned by its constants."""
    request = job.request
    return replace(request, compute=replace(request.compute, engine=name), engine_why=why, constants=None)
