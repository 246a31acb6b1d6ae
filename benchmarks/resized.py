"""Compares a scan of windows resized from 512 to 224 px with crops that are cut, resized and run in batches.

    python -m benchmarks.resized [--network ResNet-18] [--image 2048] [--steps 64] [--turns 3] [--modes exact context]

Crops are resized by torch (antialiased bilinear) and run by torch (channels-last), ONNX Runtime and OpenVINO, each in
the fastest of its batches; 64 windows a turn. One thread and float32 on all sides, turns alternate, and times are the
processor's, of the fastest turn.
"""

from __future__ import annotations

import argparse
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

WINDOW, BATCHES, CROPS = 512, (8, 16, 32), 64
ENGINES: dict[str, Callable[..., Run]] = {
    "torch": run_torch,
    "onnxruntime": run_onnxruntime,
    "openvino": run_openvino,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="ResNet-18")
    parser.add_argument("--image", type=int, default=2048)
    parser.add_argument("--steps", type=int, nargs="+", default=[64])
    parser.add_argument("--modes", nargs="+", default=["exact", "context"])
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    module, side = built(args.network)
    image = np.random.default_rng(0).random((args.image, args.image, 3), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        write_onnx(module, side, path)
        network = Network(args.network, module, side, path)
        crops = {
            f"crops, {name}, batches of {batch}": _crops(run(network, "float32", batch, 1), batch, image, side)
            for name, run in ENGINES.items()
            for batch in BATCHES
        }
        model = fullfield.load(module, window=WINDOW, resize=side, preprocessing="none")
        scans = {
            f"{mode}, step {step}, {engine}": (_scan(model, image, step=step, mode=mode, engine=engine), step)
            for step in args.steps
            for mode in args.modes
            for engine in ENGINES
        }
        times = _times(crops | {name: scan for name, (scan, _) in scans.items()}, args.turns)
    best = min(crops, key=times.__getitem__)
    each = times[best] / CROPS
    print(f"{best}: {each * 1e3:.1f} ms a window")
    for name, (_, step) in scans.items():
        windows = ((args.image - WINDOW) // step + 1) ** 2
        seconds = times[name]
        print(
            f"{name}: {seconds:.1f} s for {windows} windows, {each * windows / seconds:.2f}x the speed of these crops"
        )


def _crops(run: Run, batch: int, image: NDArray[np.float32], side: int) -> Callable[[], Any]:
    hop = (image.shape[0] - WINDOW) // 7
    places = [(i * hop, j * hop) for i in range(8) for j in range(8)]
    pixels = torch.from_numpy(image).permute(2, 0, 1)

    def turn() -> None:
        for first in range(0, CROPS, batch):
            cut = [pixels[:, y : y + WINDOW, x : x + WINDOW] for y, x in places[first : first + batch]]
            small = torch.nn.functional.interpolate(torch.stack(cut), (side, side), mode="bilinear", antialias=True)
            run(small.numpy())

    return turn


def _scan(
    model: fullfield.Model, image: NDArray[np.float32], *, step: int, mode: Any, engine: Any
) -> Callable[[], Any]:
    compute = Compute(engine=engine, threads=1)
    return lambda: fullfield.scan(model, image, step=step, mode=mode, compute=compute)


def _times(ways: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """The processor's time of the fastest turn of each, after one that is not counted, s."""
    found: dict[str, float] = {}
    for turn in range(turns + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if turn:
                found[name] = min(found.get(name, np.inf), time.process_time() - start)
    return found


if __name__ == "__main__":
    main()
