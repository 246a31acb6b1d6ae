"""Compares the time of scans on a GPU with that of the fastest crops there.

    python -m benchmarks.gpu [--size 2048] [--step 32] [--networks ResNet-18 ...] > benchmarks/gpu.md

Crops are cut on the device, from an image that is sent once, and run by torch on channels-last maps with their batch
norms folded, at the fastest of several batch sizes, launched one by one or as a CUDA graph, whichever is faster; their
scores are fetched once. Scan and crops have the same precision, and cuDNN kernels are chosen alike. Both take turns,
three times; the ratio is that of the median times of a whole map. Weights are random. The image is in memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from benchmarks.networks import NETWORKS
from fullfield import Compute
from fullfield.errors import FullfieldError
from fullfield.importers.load import load
from fullfield.jobs.in_memory import compute_scores
from fullfield.jobs.job import prepare_job
from fullfield.jobs.request import ScanRequest
from fullfield.model.cuda_arithmetic import cuda_arithmetic
from fullfield.model.model import Model

ROUNDS = 3
BATCHES = (32, 64, 128, 256, 512)
LIMIT_S = 270  # no new row after that


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048, help="height and width of the image, px")
    parser.add_argument("--step", type=int, default=32)
    networks = ["ResNet-18", "MobileNetV2", "ResNet-50", "VGG-16"]
    parser.add_argument("--networks", nargs="+", default=networks, choices=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--modes", nargs="+", default=["exact", "context"])
    parser.add_argument("--budget", default="8GB")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, "benchmarks.gpu needs a GPU that torch reaches through CUDA\n")
    began = time.perf_counter()
    print(f"`python -m benchmarks.gpu --size {args.size} --step {args.step} --budget {args.budget}`,")
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}. Times are of a whole map.\n")
    print("| network | precision | crops ms | batch | graph | mode | tile | first ms | later ms | ratio | difference |")
    print("|---|---|--:|--:|---|---|--:|--:|--:|--:|--:|")
    for name in args.networks:
        for precision in args.precisions:
            if time.perf_counter() - began > LIMIT_S:
                print(f"| {name} | {precision} | left out: {LIMIT_S} s are over |")
                continue
            for line in rows(name, precision, args, torch.device("cuda:0")):
                print(line, flush=True)


def rows(name: str, precision: str, args: argparse.Namespace, device: torch.device) -> Iterator[str]:
    """The lines of one network in one precision, one for each mode."""
    build, window = NETWORKS[name]
    torch.manual_seed(0)
    module = build().eval()
    image = torch.rand(3, args.size, args.size)
    model = load(module, window=window, name=name)
    task = Task(fuse(module), image, window, args.step, precision, device)
    crops, crop_s, expected = best_crops(task)
    for mode in args.modes:
        try:
            yield row(name, model, task, crops, crop_s, expected, mode, args.budget)
        except FullfieldError as error:
            yield f"| {name} | {precision} | | | | {mode} | {error.what} |"
    torch.cuda.empty_cache()


@dataclass(frozen=True, eq=False)
class Task:
    """What is computed both ways."""

    module: nn.Module
    image: Tensor
    window: int
    step: int
    precision: str
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = getattr(torch, "float32" if self.precision == "tf32" else self.precision)
        return found


class Crops:
    """All windows of an image, in batches of one size; the last batch holds some windows twice.

    Args:
        task: what is computed.
        batch: windows at a time.
        graphed: run each batch as a CUDA graph.
    """

    def __init__(self, task: Task, batch: int, *, graphed: bool) -> None:
        self.task, self.batch, self.graphed = task, batch, graphed
        self.net = task.module.to(task.device, task.dtype).to(memory_format=torch.channels_last)
        shape = (batch, task.image.shape[0], task.window, task.window)
        self.windows = torch.empty(
            shape, dtype=task.dtype, device=task.device, memory_format=torch.channels_last
        ).zero_()
        self.graph: torch.cuda.CUDAGraph | None = None

    @torch.inference_mode()
    def prepare(self) -> None:
        """Warms up, and records the graph."""
        for _ in range(2):
            self.scores = self.net(self.windows)
        if self.graphed:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.scores = self.net(self.windows)

    @torch.inference_mode()
    def run(self) -> np.ndarray:
        """The scores of all windows. Shape: ``(k, y, x)``"""
        size, step = self.task.window, self.task.step
        image = self.task.image.to(self.task.device)
        views = image.unfold(1, size, step).unfold(2, size, step)
        rows, columns = views.shape[1:3]
        count = rows * columns
        found = torch.empty((count, self.scores.shape[1]), dtype=torch.float32, device=self.task.device)
        for first in range(0, count, self.batch):
            start = max(0, min(first, count - self.batch))
            index = torch.arange(start, min(start + self.batch, count), device=self.task.device)
            self.windows[: len(index)].copy_(views[:, index // columns, index % columns].transpose(0, 1))
            if self.graph is None:
                self.scores = self.net(self.windows)
            else:
                self.graph.replay()
            found[start : start + len(index)] = self.scores[: len(index)]
        return found.T.reshape(-1, rows, columns).cpu().numpy()


def best_crops(task: Task) -> tuple[Crops, float, np.ndarray]:
    """The fastest way to run crops, its seconds for the map, and the scores."""
    best: tuple[Crops, float, np.ndarray] | None = None
    for batch in BATCHES:
        for graphed in (False, True) if task.device.type == "cuda" else (False,):
            crops = Crops(task, batch, graphed=graphed)
            try:
                with cuda_arithmetic(task.device, tf32=task.precision == "tf32"):
                    crops.prepare()
                    seconds, scores = timed(crops.run)
            except torch.OutOfMemoryError:
                continue
            if best is None or seconds < best[1]:
                best = crops, seconds, scores
    assert best is not None
    return best


def row(
    name: str, model: Model, task: Task, crops: Crops, crop_s: float, expected: np.ndarray, mode: str, budget: str
) -> str:
    """One line of the table."""
    precision: str | None = None if task.precision == "float32" else task.precision
    compute = Compute(device=str(task.device), precision=precision, budget=budget)  # type: ignore[arg-type]
    request = ScanRequest.parse(model, task.image, step=task.step, mode=mode, compute=compute)  # type: ignore[arg-type]

    def scan() -> np.ndarray:
        return compute_scores(prepare_job(request)).array

    first, found = timed(scan)
    crop_times, scan_times = [crop_s], []
    for _ in range(ROUNDS):
        with cuda_arithmetic(task.device, tf32=task.precision == "tf32"):
            crop_times.append(timed(crops.run)[0])
        scan_times.append(timed(scan)[0])
    crop_s, later = statistics.median(crop_times), statistics.median(scan_times)
    rows, columns = prepare_job(request).plan.tile
    far = float(np.abs(found - expected).max() / np.ptp(expected))
    return (
        f"| {name} | {task.precision} | {crop_s * 1e3:.1f} | {crops.batch} | {'yes' if crops.graphed else 'no'} "
        f"| {mode} | {rows}×{columns} | {first * 1e3:.1f} | {later * 1e3:.1f} | {crop_s / later:.2f} | {far:.1e} |"
    )


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Seconds of work whose result is fetched from the device, and the result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
