"""Lists step by step where the CPU time of a first scan goes.

    OMP_NUM_THREADS=1 python -m benchmarks.startup [--networks MobileNetV2 ...] [--engines torch ...] [--runs 5]

Every column scans one photograph with one ONNX file in fresh processes, which import what the command imports, and
gives medians of CPU seconds. A second scan in the same process tells what the programs cost to make. ``openvino-kept``
is OpenVINO with the programs that an earlier process has kept; other columns keep none. Weights are random. The first
line of the output gives the time of a loop in Python on the same machine: by it tables of different machines compare.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEPS = {  # stages that a scan reports, by the names of the table's rows
    "preparing the model": "prepare it",
    "reading the image": "open the image",
    "planning": "plan",
    "computing the first tile": "compute",
}
_KEPT = "-kept"
ROWS = ("start Python", "import the command", "import torch", "import the rest", "read the network", *STEPS.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["MobileNetV2", "ResNet-18", "ResNet-50"])
    parser.add_argument("--modes", nargs="+", default=["exact", "context"])
    parser.add_argument("--engines", nargs="+", default=["torch"], help="such as openvino, openvino-kept, onnxruntime")
    parser.add_argument("--size", type=int, default=1000, help="height and width of the photograph, px")
    parser.add_argument("--step", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5, help="processes a column")
    parser.add_argument("--child", nargs=4, metavar=("FILE", "PHOTO", "MODE", "ENGINE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(first_scan(*args.child, step=args.step)))
        return
    loop = min(_loop_seconds() for _ in range(3))
    print(f"Ten million additions in Python take {loop:.2f} s; {args.size}×{args.size} px, step {args.step}.\n")
    with tempfile.TemporaryDirectory() as folder:
        photo = write_photo(Path(folder) / "photo.png", args.size)
        columns = {}
        for name in args.networks:
            file = write_network(name, Path(folder) / f"{name}.onnx")
            for mode, engine in itertools.product(args.modes, args.engines):
                command = [sys.executable, "-m", "benchmarks.startup", "--step", str(args.step), "--child"]
                kept = engine.endswith(_KEPT)
                scan = [*command, str(file), str(photo), mode, engine.removesuffix(_KEPT)]
                runs = [_run(scan, folder if kept else "") for _ in range(args.runs + kept)]
                del runs[:kept]  # the process that keeps the programs
                columns[f"{name}, {mode}, {engine}"] = {k: statistics.median(run[k] for run in runs) for k in runs[0]}
    print("\n".join(table(columns)))


def table(columns: dict[str, dict[str, float]]) -> list[str]:
    """The lines of the table: a row a step, a column a network and mode."""
    lines = [f"| CPU seconds | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    rows = [*ROWS[:-1], "make the programs", "run them", "all", "a later scan"]
    return lines + [f"| {row} | {' | '.join(f'{column[row]:.2f}' for column in columns.values())} |" for row in rows]


def first_scan(file: str, photo: str, mode: str, engine: str, *, step: int) -> dict[str, float]:
    """CPU seconds of every step in this process, which has done nothing yet."""
    marks = [("start Python", time.process_time())]

    def mark(row: str) -> None:
        marks.append((row, time.process_time()))

    importlib.import_module("fullfield.cli.scan")
    mark("import the command")
    with importlib.import_module("fullfield.cli.imports").without_collections():
        importlib.import_module("torch")
        mark("import torch")
        importlib.import_module("fullfield.api.scan_files")
    fullfield: Any = importlib.import_module("fullfield")
    load, scan, compute = fullfield.load, fullfield.scan, fullfield.Compute(engine=engine)
    mark("import the rest")
    model = load(file)
    mark("read the network")
    stages = ["preparing the model"]

    def ended(stage: str) -> None:
        if stage in STEPS and stage != stages[-1]:
            mark(STEPS[stages[-1]])
            stages.append(stage)

    settings = {"step": step, "mode": mode, "compute": compute}
    scan(model, photo, **settings, progress=lambda now: ended(now.stage))
    mark("compute")
    began = time.process_time()
    later: dict[str, float] = {}
    scan(model, photo, **settings, progress=lambda now: later.setdefault(now.stage, time.process_time()))
    ended_at = time.process_time()
    starts = [0.0, *(at for _, at in marks)]
    found = {row: at - start for (row, at), start in zip(marks, starts, strict=False)}
    run = ended_at - later["computing the first tile"]
    return found | {
        "make the programs": found["compute"] - run,
        "run them": run,
        "all": marks[-1][1],
        "a later scan": ended_at - began,
    }


def write_network(name: str, path: Path) -> Path:
    """One of the benchmarks' networks as an ONNX file."""
    import torch

    import fullfield
    from benchmarks.networks import NETWORKS

    build, window = NETWORKS[name]
    torch.manual_seed(0)
    fullfield.save(fullfield.load(build().eval(), window=window, name=name), path)
    return path


def write_photo(path: Path, size: int) -> Path:
    """Noise of several scales, as large as a photograph."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0)
    parts = (noise.integers(0, 86, (-(-size // k), -(-size // k), 3)).repeat(k, 0).repeat(k, 1) for k in (1, 8, 64))
    Image.fromarray(sum(part[:size, :size] for part in parts).astype(np.uint8)).save(path)
    return path


def _run(command: list[str], kept: str) -> dict[str, float]:
    """What a process finds that keeps programs in a folder, or none."""
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "FULLFIELD_CACHE": kept}
    environment["THP_MEM_ALLOC_ENABLE"] = "1"  # as the command line sets it
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # users' processes find modules that are compiled
    found: dict[str, float] = json.loads(subprocess.check_output(command, env=environment, text=True))
    return found


def _loop_seconds() -> float:
    began = time.process_time()
    total = 0
    for number in range(10**7):
        total += number
    return time.process_time() - began


if __name__ == "__main__":
    main()
