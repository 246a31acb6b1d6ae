"""Compares the time of scans with that of crops, and with the bound given by their multiply-adds.

    python -m benchmarks.scan [--size 1024] [--steps 32 8 4] [--networks VGG-16 ...]

Each row runs one tile of the scan and 64 crops, in turns and three times, by the same torch in the same process; the
ratio is that of the median times a window. Crops are channels-last, in full batches of the fastest size. Weights are
random. How scans compare with crops of faster engines is measured by ``benchmarks.rivals``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.networks import NETWORKS, settled
from benchmarks.rival_crops import BATCHES, LEAST, Network, run_torch
from fullfield.engine.engines.torch import TorchEngine
from fullfield.engine.protocols import Source
from fullfield.engine.run import run_tiles
from fullfield.errors import FullfieldError
from fullfield.importers.load import load
from fullfield.jobs.prepare import PreparedModel, prepare
from fullfield.jobs.source import open_source
from fullfield.planning import CONTEXT, EXACT, Plan, Tile, make_plan
from fullfield.planning.cost import crop_macs
from fullfield.verification.crops import sample_cells

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
        net = load(settled(build(), window), window=window, name=name)
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
    sampled = sample_cells((tile.rows, tile.columns), LEAST, 0)
    windows = np.stack([cut(source, cell, plan.step, prepared.model.window) for cell in sampled])
    net = Network(name, prepared.model.graph, prepared.model.window[0], Path())
    work = fastest_crops(net, windows)
    crops, scans = [], []
    found = expected = np.zeros(0)
    for _ in range(ROUNDS):
        seconds, expected = timed(work)
        crops.append(seconds / LEAST)
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


def cut(source: Source, cell: tuple[int, int], step: tuple[int, int], window: tuple[int, int]) -> np.ndarray:
    """The pixels of one window."""
    top, left = cell[0] * step[0], cell[1] * step[1]
    return source.read(top, top + window[0], left, left + window[1])


def fastest_crops(net: Network, windows: np.ndarray) -> Callable[[], np.ndarray]:
    """Computes ``LEAST`` windows, some of them again where there are fewer, in full batches of the fastest size."""
    run = run_torch(net, "float32", LEAST, torch.get_num_threads())
    filled = np.resize(windows, (LEAST, *windows.shape[1:]))

    def crops(batch: int) -> np.ndarray:
        parts = [run(filled[start : start + batch]) for start in range(0, LEAST, batch)]
        return np.concatenate(parts)[: len(windows)]

    rates = {batch: timed(partial(crops, batch))[0] for batch in BATCHES}
    return partial(crops, min(rates, key=lambda batch: rates[batch]))


def timed_tile(prepared: PreparedModel, plan: Plan, source: Source, tile: Tile) -> tuple[float, np.ndarray]:
    """Seconds of one tile's run, lowering left out, and its scores."""
    runs = run_tiles(plan, TorchEngine(prepared.canonical), source, [tile, tile])
    next(runs)  # lowers and warms up
    return timed(lambda: next(runs))


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
