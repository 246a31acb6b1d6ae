"""Compares whole commands on one photograph: ``fullfield scan`` with a short ONNX Runtime script that cuts crops.

    python -m benchmarks.command [--only MobileNetV2 ResNet-50] [--engines torch] [--cores 2] [--rounds 5]

Every process starts from nothing: it imports its libraries, reads the model and the photograph of 1000x1000 px, and
scores every window at a step of 32 px. The commands take turns; the table has medians of wall time, and of the time of
the processor. All may use ``--cores`` cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.networks import NETWORKS, built, write_onnx
from benchmarks.turns import Spent
from fullfield.cli import HUGE_PAGES

SIZE, STEP = 1000, 32  # px
SCRIPT = Path(__file__).with_name("crops_script.py")
_NOT_USERS = ("OMP_NUM_THREADS", HUGE_PAGES, "PYTHONDONTWRITEBYTECODE")  # settings that users' shells do not have


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["MobileNetV2", "ResNet-50"], choices=list(NETWORKS))
    parser.add_argument("--engines", nargs="+", default=["auto"], help="of fullfield")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    print(f"{args.cores} cores, {args.rounds} rounds, load {os.getloadavg()[0]:.1f} at the start\n")
    print("| network | command | wall s | CPU s | wall, of the script's |\n|---|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        Image.fromarray(photograph()).save(photo)
        for name in args.only:
            model = Path(folder) / "model.onnx"
            module, window = built(name)
            write_onnx(module, window, model)
            for line in compared(name, _commands(model, photo, window, args.engines), args.rounds):
                print(line, flush=True)


def photograph() -> np.ndarray:
    """Smooth shapes with some noise, which compress about as much as a photograph does."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((1, 3, 16, 16), np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic")[0].permute(1, 2, 0).numpy()
    return (255 * smooth + rng.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)


def _commands(model: Path, photo: Path, window: int, engines: list[str]) -> dict[str, list[str]]:
    """The script's command first."""
    files = [str(model), str(photo)]
    commands = {SCRIPT.name: [sys.executable, str(SCRIPT), *files, str(STEP), str(window)]}
    fullfield = str(Path(sys.executable).with_name("fullfield"))
    scan = [fullfield, "scan", *files, "--step", str(STEP), "--window", str(window), "--preprocessing", "unit"]
    for engine in engines:
        chosen = [] if engine == "auto" else ["--engine", engine]
        for mode in ("exact", "context"):
            commands[" ".join(["fullfield scan", "--mode", mode, *chosen])] = [*scan, "--mode", mode, *chosen]
    return commands


def compared(name: str, commands: dict[str, list[str]], rounds: int) -> list[str]:
    """Lines of the table, after one round that fills the caches of files."""
    env = {name: value for name, value in os.environ.items() if name not in _NOT_USERS}
    found: dict[str, list[Spent]] = {label: [] for label in commands}
    for each in range(rounds + 1):
        for label, command in commands.items():
            taken = run(command, env)
            if each:
                found[label].append(taken)
    walls = {label: statistics.median(t.wall_s for t in turns) for label, turns in found.items()}
    first = walls[SCRIPT.name]
    return [
        f"| {name} | `{label}` | {walls[label]:.2f} | {statistics.median(t.cpu_s for t in turns):.2f} "
        f"| {walls[label] / first:.2f} |"
        for label, turns in found.items()
    ]


def run(command: Sequence[str], env: dict[str, str]) -> Spent:
    """What a process takes, from its start to its end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=env, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


if __name__ == "__main__":
    main()
