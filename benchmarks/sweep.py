"""Scans every classifier of timm, torchvision and transformers in float64 and compares it with crops.

    python -m benchmarks.sweep [--names NAME ...] [--match 'resnet*'] [--most-parameters 30] [--results FILE]
    python -m benchmarks.sweep --table > table.md

Needs the three libraries, which are not dependencies; names of torchvision begin with ``tv:``, those of transformers
with ``hf:``. Weights and statistics of batch norms are random: no file is downloaded; networks of transformers have few
layers. Each model runs in a process and adds one line to ``benchmarks/sweep.csv``; models that have a line are skipped,
so that an interrupted sweep resumes; those that were too large, or took too long, are tried again if the limits are
higher now. Modules of a library with the fewest passed models come first. A model passes if

- ``exact`` scores of two windows, at steps of 32 and 27 px, equal the crops' to 1e-9 of their spread,
- the predicted multiply-adds equal those of torch's counter,
- ``context`` scores, where defined, equal those of the whole network on the image.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import signal
import time
import traceback
import zlib
from collections import Counter
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import fullfield
from benchmarks.sweep_networks import available, built, family, parameters
from benchmarks.sweep_results import Result, append_result, read_results, table, write_results
from fullfield.canonical.pipeline import canonical
from fullfield.jobs.in_memory import compute_scores
from fullfield.jobs.prepare import prepare
from fullfield.verification.crops import run_crops
from tests.requests import job_of

TOLERANCE = 1e-9
BUDGET = "12GB"
RESULTS = Path(__file__).with_suffix(".csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", help="models; all that are installed if left out")
    parser.add_argument("--match", default="*", help="names to keep, with wildcards")
    parser.add_argument("--most-parameters", type=float, default=math.inf, help="millions")
    parser.add_argument("--limit", type=int, default=300, help="seconds of the processor a model")
    parser.add_argument("--memory", type=float, default=18, help="GB of addresses a model")
    parser.add_argument("--results", type=Path, default=RESULTS, help="one line a model, appended to")
    parser.add_argument("--table", action="store_true", help="sort the results, print a table of them and end")
    args = parser.parse_args()
    found = read_results(args.results)
    if args.table:
        write_results(args.results, found.values())
        print(table(found, available()))
        return
    wanted = [
        name for name in args.names or available() if fnmatch(name, args.match) and not known(found.get(name), args)
    ]
    for name in fewest_first(wanted, found):
        if known(read_results(args.results).get(name), args):  # by another sweep that writes to the same file
            continue
        result = apart(name, args)
        append_result(args.results, result)
        print(f"{name:40} {result.verdict:8} {result.note[:100]}", flush=True)


def known(result: Result | None, args: argparse.Namespace) -> bool:
    """Whether a model was tried with the limits of now."""
    if result is None:
        return False
    if result.verdict == "large":
        return bool((result.parameters or 0) > args.most_parameters * 1e6)
    return result.verdict != "late" or bool((result.limit or 0) >= args.limit)


def fewest_first(names: list[str], found: dict[str, Result]) -> list[str]:
    """The models, one of each family in turn, families with fewer passed models first."""
    count = Counter(family(name) for name, result in found.items() if result.verdict == "passed")
    turns = []
    for name in names:
        turns.append(count[family(name)])
        count[family(name)] += 1
    return [name for _, name in sorted(zip(turns, names, strict=True), key=lambda pair: pair[0])]


def apart(name: str, args: argparse.Namespace) -> Result:
    """The result of a model in a separate process; crashes and exceeded limits are results too."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        most = int(args.memory * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        with os.fdopen(writing, "w") as file:
            json.dump(asdict(tried(name, args)), file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return Result(name, "crashed", note=f"ended with status {status}")
    return Result(**json.loads(text))


def tried(name: str, args: argparse.Namespace) -> Result:
    """The result of one model, or the reason why there is none."""

    def late(*_: object) -> None:
        raise _Late

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, args.limit)
    facts: dict[str, Any] = {"verdict": "refused"}
    began = time.process_time()
    try:
        examine(name, args.most_parameters * 1e6, facts)
    except _Late:
        note = f"over {args.limit} s while {facts['doing']}"
        facts |= {"verdict": "late", "limit": args.limit, "note": note}
    except fullfield.FullfieldError as error:
        facts["note"] = str(error).partition("\n")[0]
    except Exception as error:  # noqa: BLE001 - any error of a model is a result
        facts |= {"verdict": "failed", "note": f"{type(error).__name__}: {error}"}
        traceback.print_exc()
    facts.pop("doing", None)
    return Result(name, seconds=round(time.process_time() - began), **facts)


class _Late(BaseException):
    """A model takes too long; not an ``Exception``, so that no handler catches it."""


def examine(name: str, most_parameters: float, facts: dict[str, Any]) -> None:
    """Fills in the result step by step."""
    noise = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    facts["doing"] = "built"
    count = parameters(name)
    made = None if count is not None and count > most_parameters else built(name, noise)
    facts["parameters"] = count if made is None else sum(p.numel() for p in made[0].parameters())
    if made is None or facts["parameters"] > most_parameters:
        facts["verdict"] = "large"
        return
    module, window = made
    facts["doing"] = "captured"
    net = fullfield.load(module, window=window, preprocessing="imagenet", score=score_of(name))
    step = (32, 27) if zlib.crc32(name.encode()) % 2 else (27, 32)
    image = 255 * torch.rand(3, window + step[0], window + step[1], generator=noise, dtype=torch.float64)
    facts["doing"] = "planned"
    work = job_of(net, image, step=step, tile=(2, 2), budget=BUDGET)
    facts["doing"] = "scanned"
    with FlopCounterMode(display=False) as counter:
        scores = compute_scores(work).array
    predicted, counted = work.plan.table.scan.total, counter.get_total_flops() // 2
    facts["doing"] = "run as crops"
    cells = [(0, 0), (1, 1)]
    crops = run_crops(net, work.source, cells, work.plan.step)
    found = scores[:, [i for i, _ in cells], [j for _, j in cells]].T
    facts["exact"] = float(abs(found - crops).max() / (crops.max() - crops.min()))
    facts["doing"] = "scanned in context"
    facts["context"] = slid(net, window, noise)
    wrong = max(facts["exact"], facts["context"] or 0) > TOLERANCE
    facts["verdict"] = "wrong" if wrong else "passed" if predicted == counted else "counted"
    if predicted != counted:
        facts["note"] = f"multiply-adds predicted {predicted}, counted {counted}"


def score_of(name: str) -> str | None:
    """The output to take: all classifiers of transformers call it alike, but one."""
    return "logits" if name.startswith("hf:") and "PPLCNet" not in name else None


def slid(net: fullfield.Model, window: int, noise: torch.Generator) -> float | None:
    """Largest difference of ``context`` to the whole network on the image, over the spread; ``None`` if refused."""
    if canonical(net, sliding=True).refused:
        return None
    prepared = prepare(net, sliding=True)
    places = prepared.network.places(cap=0)
    if not all(place.shared for place in places.values()):
        return None
    axes = [place.axes for place in places.values() if place.axes is not None]
    step = math.lcm(*(pair[0].jump for pair in axes))
    image = 255 * torch.rand(3, window + step, window + step, generator=noise, dtype=torch.float64)
    work = job_of(net, image, step=step, mode="context", budget=BUDGET)
    scores = compute_scores(work).array
    with torch.no_grad():
        pixels = torch.from_numpy(work.source.read(0, image.shape[1], 0, image.shape[2]))[None]
        whole = prepared.canonical.graph(pixels)[0]
    every = [step // axis.jump for axis in axes[-1]]
    whole = whole[:, :: every[0], :: every[1]][:, :2, :2].numpy()
    return float(abs(whole - scores).max() / (whole.max() - whole.min()))


if __name__ == "__main__":
    main()
