"""Compares scans with the fastest crops that a user can run on the same machine, turn by turn in one process.

    python -m benchmarks.rivals [--only NETWORK ...] [--threads 1 2] [--engines torch openvino] [--minutes 4.5]
    python -m benchmarks.rivals --tables rivals.jsonl > tables.md

Crops are computed by torch (channels-last), ONNX Runtime and OpenVINO, each in the fastest of batches of 1 to 64
windows, in full batches and the precision that is named; at least 64 windows a turn. Scans are calls of
``fullfield.scan`` on the same ONNX file. Weights are random, of the published shapes. All sides have the same number of
threads, and torch gets its memory in pages of 2 MB, as on fullfield's command line.

``--minutes`` is the time of each network, of the processor: what is listed last is measured last, and left out where no
time is left. Measurements, also those of an interrupted run, are appended to ``--results`` as JSON lines, of which
``--tables`` makes tables; ratios are taken within one run only.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

import fullfield
from benchmarks.networks import built, write_onnx
from benchmarks.rival_crops import LEAST, RUNS, Crops, Network, SplitByMonai, WholeImage, installed, run_monai
from benchmarks.rival_scans import Scan, bound, computes
from benchmarks.rival_tables import tables
from benchmarks.turns import Contender, Entry, Record, measure
from fullfield.jobs.prepare import prepare
from fullfield.model.save import export_onnx

ORDER = (
    *("ResNet-18", "MobileNetV2", "ResNet-50", "VGG-16", "EfficientNet-B0", "ConvNeXt-T", "DenseNet-121", "ViT-S"),
    "LeNet (unpadded)",
)
LARGE, SMALL, STEP, FINE = 1024, 512, 32, 8  # px
MOST_TURNS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(ORDER), choices=list(ORDER), metavar="NETWORK")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--engines", nargs="+", default=["torch", "onnxruntime", "openvino"], metavar="ENGINE")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--minutes", type=float, default=4.5, help="for each network")
    parser.add_argument("--results", type=Path, help="JSON lines that measurements are appended to")
    parser.add_argument("--tables", type=Path, nargs="+", metavar="RESULTS", help="print tables of results and end")
    args = parser.parse_args()
    if args.tables:
        print(tables(_read(args.tables)))
        return
    print(_about(args), flush=True)
    for name in args.only:
        records: list[Record] = []
        try:
            _measure(name, args, records)
        finally:
            if args.results:
                with args.results.open("a") as file:
                    file.writelines(json.dumps(record.to_json()) + "\n" for record in records)
            print(tables(records), flush=True)
        gc.collect()


def _measure(name: str, args: argparse.Namespace, records: list[Record]) -> None:
    """Adds the records of one network."""
    until = time.process_time() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # first scans find nothing that earlier runs compiled
        bench = Bench(name, Path(folder), args.engines, args.precisions)
        for k, threads in enumerate(args.threads):
            now = time.process_time()
            share = (until - now) / (len(args.threads) - k)
            measure(list(bench.contenders(threads)), records, until=now + share, most=MOST_TURNS)


class Bench:
    """All contenders of one network."""

    def __init__(self, name: str, folder: Path, engines: list[str], precisions: list[str]) -> None:
        module, self.window = built(name)
        self.engines, self.precisions = engines, precisions
        self.image = torch.rand(3, LARGE, LARGE)
        path = folder / "network.onnx"
        write_onnx(module, self.window, path)
        net = fullfield.load(path, window=self.window)
        self.integers = {mode: prepare(net, sliding=mode != "exact").network for mode in ("exact", "2", "context")}
        self.network = Network(name, module, self.window, path)
        try:
            self.convolutional = fullfield.convert(net)
            whole = export_onnx(self.convolutional, (3, self.window, self.window), folder / "convolutional.onnx")
            self.network = replace(self.network, convolutional=whole)
        except fullfield.UnsupportedError:
            pass  # it looks at the whole window

    def contenders(self, threads: int) -> Iterator[Contender]:
        """The most important ones first."""
        yield from self._crops(threads)
        for precision in self.precisions:
            for mode in ("exact", "context"):
                yield from self._scans(threads, mode, precision, LARGE, STEP)
            yield from self._whole_images(threads, precision)
        for precision in self.precisions if self.window != STEP else ():
            yield from self._scans(threads, "exact", precision, LARGE, self.window)
        for precision in self.precisions:
            yield from self._scans(threads, "2", precision, LARGE, STEP)
        for mode in ("exact", "context", "2"):
            for precision in self.precisions:
                yield from self._scans(threads, mode, precision, SMALL, FINE)
        if installed("monai") and "torch" in self.engines:
            entry = Entry(self.network.name, threads, "crops", "MONAI", "float32")
            yield SplitByMonai(entry, self.network, run_monai, self.image.numpy())

    def _crops(self, threads: int) -> Iterator[Crops]:
        expected = None
        for (engine, precision), make in RUNS.items():
            if engine not in self.engines or precision not in self.precisions or not installed(engine):
                continue
            crops = Crops(
                Entry(self.network.name, threads, "crops", engine, precision), self.network, make, self.image.numpy()
            )
            if expected is None:
                expected = crops.scores(LEAST)
            yield replace(crops, expected=expected)

    def _scans(self, threads: int, mode: str, precision: str, size: int, step: int) -> Iterator[Contender]:
        if mode != "exact" and self.network.convolutional is None:
            return
        windows = ((size - self.window) // step + 1) ** 2
        least = bound(self.integers[mode], size, step, mode)
        for engine in self.engines:
            if computes(engine, precision):
                entry = Entry(self.network.name, threads, mode, engine, precision, size, step, windows, least)
                compute = fullfield.Compute(engine=engine, precision=precision, threads=threads)
                image = self.image[:, :size, :size].contiguous()
                yield Scan(entry, self.network.path, self.window, image, compute)

    def _whole_images(self, threads: int, precision: str) -> Iterator[WholeImage]:
        if self.network.convolutional is None:
            return
        with torch.inference_mode():
            cells = self.convolutional(self.image[None]).shape[-2:]
        windows = ((LARGE - self.window) // STEP + 1) ** 2
        if math.prod(cells) != windows:
            return  # its cells are not STEP px apart
        for engine in self.engines:
            if (engine, precision) in RUNS and installed(engine):
                entry = Entry(self.network.name, threads, "whole image", engine, precision, LARGE, STEP, windows)
                yield WholeImage(entry, self.network, self.convolutional, self.image.numpy())


def _read(paths: list[Path]) -> list[Record]:
    return [Record.from_json(json.loads(line)) for path in paths for line in path.read_text().splitlines()]


def _about(args: argparse.Namespace) -> str:
    packages = [f"fullfield {fullfield.__version__}", f"torch {torch.__version__}"]
    others = [name for name in ("onnxruntime", "openvino", "monai") if installed(name)]
    packages += [f"{name} {importlib.import_module(name).__version__.split('-')[0]}" for name in others]
    command = "python -m benchmarks.rivals " + " ".join(sys.argv[1:])
    return (
        f"`{command}`\n{datetime.date.today()}, {_processor()}, load {os.getloadavg()[0]:.1f}; {', '.join(packages)}\n"
    )


def _processor() -> str:
    """The name of the processor, with how many cores there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
