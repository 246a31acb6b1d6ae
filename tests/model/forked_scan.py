"""Scans, forks, and scans again in the child; prints what both found as one line of JSON."""

from __future__ import annotations

import json
import multiprocessing
import sys
from typing import Any

import numpy as np
import torch
from torch import nn

import fullfield
from fullfield import Compute, FullfieldError

PATIENCE_S = 1800  # ends a child that hangs


def scan_in_child(net: fullfield.Model, image: np.ndarray, results: Any) -> None:
    """Puts the child's sum of scores, its threads, and the error for more threads into a queue."""
    total = float(fullfield.scan(net, image, step=8).array.sum())
    try:
        fullfield.scan(net, image, step=8, compute=Compute(threads=2))
        error = ""
    except FullfieldError as refused:
        error = str(refused)
    results.put({"child": total, "threads": torch.get_num_threads(), "error": error})


def main() -> None:
    """Runs the parent."""
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2)),
    )
    net = fullfield.load(module.double(), window=32, preprocessing="unit")
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    total = float(fullfield.scan(net, image, step=8).array.sum())
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=scan_in_child, args=(net, image, results))
    child.start()
    found = results.get(timeout=PATIENCE_S)
    child.join(PATIENCE_S)
    facts = {"parent": total, "parent_threads": torch.get_num_threads(), "exit": child.exitcode}
    sys.stdout.write(json.dumps(facts | found))


if __name__ == "__main__":
    main()
