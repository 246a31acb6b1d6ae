"""Compares scans of windows resized to 224 px with crops that are cut, resized and run in batches.

    python -m benchmarks.resized [--network ResNet-18] [--window 512] [--image 2048] [--steps 64] [--turns 3]
                                 [--modes exact context] [--engines torch onnxruntime openvino] [--batches 8 16 32]
    python -m benchmarks.resized --plans

Crops are resized by torch (antialiased bilinear) and run by torch (channels-last), ONNX Runtime and OpenVINO, each in
the fastest of its batches; 64 windows a turn. One thread and float32 on all sides, turns alternate, and times are the
processor's: of the first turn, which plans and compiles, and of the fastest of the later ones. ``--plans`` measures
nothing: it counts the multiply-adds of scans of several windows at several steps against those of crops.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import fullfield
from benchmarks.networks import built, write_onnx
from benchmarks.rival_crops import Network, Run, run_onnxruntime, run_openvino, run_torch
from fullfield import Compute

CROPS = 64
PLANS = {  # px between windows, by the px of a window
    224: (7, 28, 56),
    512: (16, 32, 48, 64, 128),
    256: (8, 16, 32, 64),
    384: (12, 24, 48, 96),
    1024: (32, 64, 128),
    96: (12, 24, 48),
    100: (25, 50),
    300: (75, 150),
    298: (149,),
    299: (32, 64),
}
ENGINES: dict[str, Callable[..., Run]] = {
    "torch": run_torch,
    "onnxruntime": run_onnxruntime,
    "openvino": run_openvino,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="ResNet-18")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--image", type=int, default=2048)
    parser.add_argument("--steps", type=int, nargs="+", default=[64])
    parser.add_argument("--modes", nargs="+", default=["exact", "context"])
    parser.add_argument("--engines", nargs="+", choices=tuple(ENGINES), default=list(ENGINES))
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--plans", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    module, side = built(args.network)
    if args.plans:
        _print_plans(module, side, args.image)
        return
    image = np.random.default_rng(0).random((args.image, args.image, 3), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FULLFIELD_CACHE"] = str(Path(folder) / "cache")  # so that first scans compile
        path = Path(folder) / "network.onnx"
        write_onnx(module, side, path)
        network = Network(args.network, module, side, path)
        crops = {
            f"crops, {name}, batches of {batch}": _crops(
                run(network, "float32", batch, 1), batch, image, args.window, side
            )
            for name, run in ENGINES.items()
            for batch in args.batches
        }
        model = fullfield.load(module, window=args.window, resize=side, preprocessing="none")
        scans = {
            f"{mode}, step {step}, {engine}": (_scan(model, image, step=step, mode=mode, engine=engine), step)
            for step in args.steps
            for mode in args.modes
            for engine in args.engines
        }
        times = _times(crops | {name: scan for name, (scan, _) in scans.items()}, args.turns)
    best = min(crops, key=lambda name: times[name][1])
    each = times[best][1] / CROPS
    print(f"{best}: {each * 1e3:.1f} ms a window")
    for name, (_, step) in scans.items():
        windows = ((args.image - args.window) // step + 1) ** 2
        seconds = [f"{time:.1f} s, {each * windows / time:.2f}x the speed of these crops" for time in times[name]]
        print(f"{name}, {windows} windows: first scan {seconds[0]}; later ones {seconds[1]}")


def _print_plans(module: torch.nn.Module, side: int, px: int) -> None:
    """How many times fewer multiply-adds a scan takes than its crops, by window and step, in ``exact`` mode."""
    image = np.zeros((px, px, 3), np.uint8)
    for window, steps in PLANS.items():
        how: dict[str, Any] = {} if window == side else {"resize": side}
        model = fullfield.load(module, window=window, preprocessing="imagenet", **how)
        for step in steps:
            plan = fullfield.plan(model, image, step=step)
            print(f"{window} px, step {step}: {plan.table.mac_ratio:.2f}x in {len(plan.all_passes)} passes")


def _crops(run: Run, batch: int, image: NDArray[np.float32], window: int, side: int) -> Callable[[], Any]:
    hop = (image.shape[0] - window) // 7
    places = [(i * hop, j * hop) for i in range(8) for j in range(8)]
    pixels = torch.from_numpy(image).permute(2, 0, 1)

    def turn() -> None:
        for first in range(0, CROPS, batch):
            cut = [pixels[:, y : y + window, x : x + window] for y, x in places[first : first + batch]]
            small = torch.nn.functional.interpolate(torch.stack(cut), (side, side), mode="bilinear", antialias=True)
            run(small.numpy())

    return turn


def _scan(
    model: fullfield.Model, image: NDArray[np.float32], *, step: int, mode: Any, engine: Any
) -> Callable[[], Any]:
    compute = Compute(engine=engine, threads=1)
    return lambda: fullfield.scan(model, image, step=step, mode=mode, compute=compute)


def _times(ways: dict[str, Callable[[], Any]], turns: int) -> dict[str, tuple[float, float]]:
    """The processor's time of the first turn of each, and of the fastest of ``turns`` after it, s."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            found[name].append(time.process_time() - start)
    return {name: (first, min(later)) for name, (first, *later) in found.items()}


if __name__ == "__main__":
    main()
