"""Compares the time of scans with that of crops, and with the bound given by their multiply-adds.

    python -m benchmarks.scan [--size 1024] [--steps 32 8 4] [--networks VGG-16 ...] > benchmarks/scan.md

Each row runs one tile of the scan and a sample of crops at the fastest of several batch sizes, in turns and three
times, by the same torch in the same process; the ratio is that of the median times a window. Weights are random.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.networks import NETWORKS
from fullfield.engine.engines.torch import TorchEngine
from fullfield.engine.protocols import Source
from fullfield.engine.run import run_tiles
from fullfield.errors import FullfieldError
from fullfield.importers.load import load
from fullfield.jobs.prepare import PreparedModel, prepare
from fullfield.jobs.source import open_source
from fullfield.model.model import Model
from fullfield.planning import CONTEXT, EXACT, Plan, Tile, make_plan
from fullfield.planning.cost import crop_macs
from fullfield.verification.crops import run_crops, sample_cells

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="height and width of the image, px")
    parser.add_argument("--steps", type=int, nargs="+", default=[32, 8, 4])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--modes", nargs="+", default=["exact", "context"], choices=["exact", "context"])
    args = parser.parse_args()
    print(
        f"`python -m benchmarks.scan --size {args.size}`, torch {torch.__version__}, {torch.get_num_threads()} threads,"
    )
    print(f"load {os.getloadavg()[0]:.1f} at the start. Times are per window; *bound* is the ratio of multiply-adds.\n")
    print("| network | step | mode | tile | crop ms | scan ms | bound | measured | of bound | largest difference |")
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in args.networks:
        build, window = NETWORKS[name]
        torch.manual_seed(0)
        net = load(_settled(build()), window=window, name=name)
        source = open_source(net, torch.rand(3, args.size, args.size))
        for mode in args.modes:
            prepared = prepare(net, sliding=mode == "context")
            for step in args.steps:
                print(row(name, prepared, source, step, mode), flush=True)


def row(name: str, prepared: PreparedModel, source: Source, step: int, mode: str) -> str:
    """One line of the table."""
    borders = EXACT if mode == "exact" else CONTEXT
    try:
        plan = make_plan(prepared.network, image=source.shape[1:], step=(step, step), borders=borders)
    except FullfieldError as error:
        return f"| {name} | {step} | {mode} | {error.what} |"
    tile = next(plan.tiles())
    small = crop_macs(prepared.network) < 1e8
    sampled = sample_cells((tile.rows, tile.columns), 256 if small else 8, 0)
    batch = best_batch(prepared.model, source, sampled, plan)
    crops, scans = [], []
    found = expected = np.zeros(0)
    for _ in range(ROUNDS):
        seconds, expected = timed(lambda: run_crops(prepared.model, source, sampled, plan.step, batch=batch))
        crops.append(seconds / len(sampled))
        seconds, found = timed_tile(prepared, plan, source, tile)
        scans.append(seconds / (tile.rows * tile.columns))
    got = found[:, [i for i, _ in sampled], [j for _, j in sampled]].T
    far = float(np.abs(got - expected).max() / np.ptp(expected))
    bound = crop_macs(prepared.network) * tile.rows * tile.columns / plan.cost.macs
    crop, scan = statistics.median(crops), statistics.median(scans)
    return (
        f"| {name} | {step} | {mode} | {tile.rows}×{tile.columns} | {crop * 1e3:.2f} | {scan * 1e3:.3f} "
        f"| {bound:.1f} | {crop / scan:.1f} | {crop / scan / bound:.2f} | {far:.1e} |"
    )


def best_batch(net: Model, source: Source, cells: list[tuple[int, int]], plan: Plan) -> int:
    """The batch size at which crops run fastest."""
    rates = {b: timed(lambda b=b: run_crops(net, source, cells, plan.step, batch=b))[0] for b in (1, 4, 8, 64)}  # type: ignore[misc]
    return min(rates, key=lambda b: rates[b])


def timed_tile(prepared: PreparedModel, plan: Plan, source: Source, tile: Tile) -> tuple[float, np.ndarray]:
    """Seconds of one tile's run, lowering left out, and its scores."""
    runs = run_tiles(plan, TorchEngine(prepared.canonical), source, [tile, tile])
    next(runs)  # lowers and warms up
    return timed(lambda: next(runs))


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _settled(module: torch.nn.Module) -> torch.nn.Module:
    """Random statistics for batch norms, so that the scores vary."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return module.eval()


if __name__ == "__main__":
    main()
