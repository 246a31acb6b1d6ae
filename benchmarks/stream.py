"""Measures the cost of streaming: scans from a tiled TIFF to a Zarr store, compared with the engine in memory.

    OMP_NUM_THREADS=1 python -m benchmarks.stream [--parts overhead sizes classes] > benchmarks/stream.md

- *overhead*: the whole call of ``scan_to`` (planning, reading, normalising, storing, syncing, the pyramid) over
  ``engine.run`` of the same plan on pixels in memory, with a sink that drops the scores: the first scan of a network in
  a process, and a later one, for which it is prepared. They run in turns, for several rounds; a ratio is the median of
  those to the preceding run of the engine, since the machine's speed drifts. *Beside its programs* compares nothing
  across runs: the wall time of the later scan over the processor time that its computing thread spent in the network's
  programs, divided by the same of the engine. It is the cost of preparing, reading, waiting and writing, without the
  slowdown of programs while other threads use the same memory. For one thread of torch.
- *sizes*: seconds a megapixel for images of growing size in one file layout.
- *classes*: peak memory above that before the scan, for many classes at a modest budget.

Wall time depends on the machine's other load too; CPU time, of all threads, does not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from benchmarks.networks import lenet
from fullfield import Compute
from fullfield.api.scan import scan
from fullfield.arguments import parse_bytes
from fullfield.engine.engines.torch import TorchEngine
from fullfield.engine.run import run
from fullfield.image.open import open as open_image
from fullfield.importers.load import load
from fullfield.jobs.job import ScanJob, prepare_job
from fullfield.jobs.request import ScanRequest
from fullfield.model.model import Model
from fullfield.planning import Plan
from fullfield.planning.shards import Shards
from tests.report import classics

PHOTO = Path(__file__).parents[1] / "src/fullfield/data/astronaut.png"
LAYOUTS = [("jpeg", 256), ("jpeg", 512), ("deflate", 256), ("deflate", 512)]


@dataclass(frozen=True)
class Case:
    """A network and the options of its scans.

    Args:
        name: in the table.
        build: makes the module.
        window: of its input, px.
        options: of ``scan``.
    """

    name: str
    build: Callable[[], nn.Module]
    window: int
    options: dict[str, Any]

    def net(self) -> Model:
        torch.manual_seed(0)
        return load(self.build().eval(), window=self.window, preprocessing="unit", name=self.name)


OVERHEAD = [
    (Case("LeNet, step 4", lenet, 32, {"step": 4}), 12288),
    (Case("LeNet, step 16", lenet, 32, {"step": 16}), 12288),
    (Case("ResNet-18, context, step 32", classics.resnet18, 224, {"step": 32, "mode": "context"}), 3072),
    (Case("ResNet-18, exact, step 32", classics.resnet18, 224, {"step": 32}), 1024),
]


@dataclass(frozen=True)
class Time:
    """Of one run, s: wall time, CPU time of all threads, and CPU time of the computing thread in programs."""

    wall: float
    cpu: float
    programs: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"overhead": overhead, "sizes": sizes, "classes": many_classes}
    parser.add_argument("--parts", nargs="+", default=list(parts), choices=list(parts))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/fullfield-stream"), help="for images and results")
    parser.add_argument("--budget", default="512MB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=1000, help="megapixels of the largest image")
    parser.add_argument("--cases", nargs="+", type=int, default=list(range(len(OVERHEAD))), help="of the overhead")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.parts:
        print(f"`python -m benchmarks.stream {' '.join(sys.argv[1:])}`, torch {torch.__version__}, ", end="")
        print(
            f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start\n"
        )
        parts[name](args)
        print(f"\nLoad {os.getloadavg()[0]:.1f} at the end.\n", flush=True)


def overhead(args: argparse.Namespace) -> None:
    """Prints scans of files compared with the engine."""
    print(
        "| network | file | engine s/Mpx | first scan s/Mpx | wall ratio | CPU ratio | later scan, wall | CPU ", end=""
    )
    print("| beside its programs |\n|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for case, side in (OVERHEAD[k] for k in args.cases):
        net = case.net()
        files = [tiled(args.folder, side, *layout) for layout in LAYOUTS]
        job = _job(net, files[0], args, case.options)
        alone = _ready(job)
        alone()  # caches of the libraries
        megapixels = side * side / 1e6
        for (kind, tile), file in zip(LAYOUTS, files, strict=True):
            engine: list[Time] = []
            first: list[Time] = []
            later: list[Time] = []
            for _ in range(args.rounds):
                engine.append(timed(alone))
                first.append(_scan(replace(net), file, args, case.options))
                later.append(_scan(net, file, args, case.options))
            each = f"{_wall(engine) / megapixels:.4f} | {_wall(first) / megapixels:.4f}"
            ratios = f"{_over(first, engine)} | {_over(later, engine)}"
            beside = statistics.median(
                t.wall / t.programs * e.programs / e.wall for t, e in zip(later, engine, strict=True)
            )
            print(f"| {case.name} | {kind}, {tile} px | {each} | {ratios} | {beside:.3f} |", flush=True)


def sizes(args: argparse.Namespace) -> None:
    """Prints seconds a megapixel for images of growing size."""
    print("| image | blocks | wall s/Mpx | over that of 10 megapixels | CPU s/Mpx | likewise | peak above the start |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    case = OVERHEAD[1][0]
    net = case.net()
    _scan(net, tiled(args.folder, 3072, "jpeg", 256), args, case.options)  # caches of the libraries
    first: Time | None = None
    for side in (3072, 5376, 10240, 17408, 32768):
        megapixels = side * side / 1e6
        if megapixels > 1.1 * args.most:
            continue
        file = tiled(args.folder, side, "jpeg", 256)
        job = _job(net, file, args, case.options)
        blocks = len(Shards(job.plan, job.plan.memory.block))
        rounds = args.rounds if megapixels < 50 else 1
        with Peak() as peak:
            times = [_scan(replace(net), file, args, case.options) for _ in range(rounds)]
        each = Time(_wall(times) / megapixels, _cpu(times) / megapixels)
        first = first or each
        print(
            f"| {side}×{side}, {megapixels:.0f} Mpx | {blocks} | {each.wall:.4f} | {each.wall / first.wall:.3f} "
            f"| {each.cpu:.4f} | {each.cpu / first.cpu:.3f} | {peak.above / 1e6:.0f} MB |",
            flush=True,
        )


def many_classes(args: argparse.Namespace) -> None:
    """Prints the peak memory of maps of many classes."""
    print("| classes | budget | map | stored | wall s/Mpx | CPU s/Mpx | peak above the start |")
    print("|--:|--:|---|--:|--:|--:|--:|")
    for classes in (10, 1000):
        case = Case(f"LeNet with {classes} classes", lambda k=classes: _wide(k), 32, {"step": 4})  # type: ignore[misc]
        file = tiled(args.folder, 3072, "jpeg", 256)
        with Peak() as peak:
            found = _scan(case.net(), file, args, case.options)
        cells = (3072 - 32) // 4 + 1
        stored = classes * cells * cells * 4
        print(
            f"| {classes} | {(parse_bytes(args.budget) or 0) / 1e6:.0f} MB | {cells}×{cells} | {stored / 1e6:.0f} MB "
            f"| {found.wall / 9.44:.4f} | {found.cpu / 9.44:.4f} | {peak.above / 1e6:.0f} MB |",
            flush=True,
        )


def _wide(classes: int) -> nn.Module:
    layers = list(lenet())  # type: ignore[call-overload]
    return nn.Sequential(*layers[:-1], nn.Linear(84, classes))


class _Memory:
    """A source of pixels in memory."""

    def __init__(self, pixels: NDArray[np.floating]) -> None:
        self.pixels = pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.pixels.shape
        return channels, height, width

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        return self.pixels[:, top:bottom, left:right]


class _Nothing:
    """A sink that drops the scores."""

    todo = (0,)

    def __init__(self, plan: Plan) -> None:
        self.block = plan.shape

    def put(
        self, block: int, cells: tuple[slice, slice], scores: NDArray[np.floating], mask: NDArray[np.bool_] | None
    ) -> None:
        pass

    def finish(self, block: int) -> None:
        pass


def _ready(job: ScanJob) -> Callable[[], None]:
    """The engine alone, on the plan of a job."""
    channels, height, width = job.source.shape
    pixels = np.empty((height, width, channels), np.float32).transpose(2, 0, 1)  # as sources give them
    for top in range(0, height, 512):
        bottom = min(height, top + 512)
        pixels[:, top:bottom] = job.source.read(top, bottom, 0, width)
    return lambda: run(job.plan, job.engine, _Memory(pixels), _Nothing(job.plan), ahead=0)


def _job(net: Model, file: Path, args: argparse.Namespace, options: dict[str, Any]) -> ScanJob:
    """A scan of a file to disk, ready to run."""
    request = ScanRequest.parse(net, open_image(file), compute=Compute(budget=args.budget), **options)
    return prepare_job(request, on_disk=True)


def _scan(net: Model, file: Path, args: argparse.Namespace, options: dict[str, Any]) -> Time:
    output = args.folder / "scores.zarr"
    shutil.rmtree(output, ignore_errors=True)
    return timed(
        lambda: scan(net, open_image(file), output=output, compute=Compute(budget=args.budget), **options)  # type: ignore[call-overload]
    )


def timed(work: Callable[[], object]) -> Time:
    programs = 0.0
    plain = TorchEngine.run

    def clocked(self: TorchEngine, *inputs: Any) -> Any:
        nonlocal programs
        began = time.thread_time()
        try:
            return plain(self, *inputs)
        finally:
            programs += time.thread_time() - began

    with patch.object(TorchEngine, "run", clocked):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return Time(time.perf_counter() - wall, time.process_time() - cpu, programs)


def _over(times: list[Time], engine: list[Time]) -> str:
    """The medians of the ratios to the engine's times, by wall time and by CPU time."""
    pairs = list(zip(times, engine, strict=True))
    wall, cpu = ([getattr(t, kind) / getattr(e, kind) for t, e in pairs] for kind in ("wall", "cpu"))
    return f"{statistics.median(wall):.3f} | {statistics.median(cpu):.3f}"


def _wall(times: list[Time]) -> float:
    return statistics.median(t.wall for t in times)


def _cpu(times: list[Time]) -> float:
    return statistics.median(t.cpu for t in times)


class Peak:
    """Peak memory above that at the beginning, sampled every 10 ms."""

    above = 0

    def __enter__(self) -> Peak:
        self._start = _resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.above = max(self.above, _resident() - self._start)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def tiled(folder: Path, side: int, kind: str, tile: int) -> Path:
    """A BigTIFF of photographs side by side, rotated, dimmed and with noise."""
    import tifffile

    path = folder / f"{side}-{kind}-{tile}.tif"
    if path.exists():
        return path
    how = {"compression": "jpeg", "photometric": "ycbcr"} if kind == "jpeg" else {"compression": "zlib"}
    temporary = path.with_suffix(".partial")
    with tifffile.TiffWriter(temporary, bigtiff=True) as file:
        shape = (side, side, 3)
        file.write(_tiles(side, tile), shape=shape, dtype="uint8", tile=(tile, tile), **{"photometric": "rgb", **how})
    return temporary.replace(path)


def _tiles(side: int, tile: int) -> Iterator[NDArray[np.uint8]]:
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    random = np.random.default_rng(0)
    pool = []
    for k in range(24):
        turned = np.rot90(photo, k % 4)[:: -1 if k % 2 else 1].astype(np.int16) * (0.6 + 0.05 * (k % 9))
        pool.append(np.clip(turned + random.integers(-6, 7, photo.shape), 0, 255).astype(np.uint8))
    count, side_of_photo = -(-side // tile), photo.shape[0]
    for i in range(count):
        for j in range(count):
            y, x = i * tile, j * tile
            picture = pool[(y // side_of_photo * 7 + x // side_of_photo * 11) % len(pool)]
            y, x = y % side_of_photo, x % side_of_photo
            yield np.ascontiguousarray(picture[y : y + tile, x : x + tile])


if __name__ == "__main__":
    main()
