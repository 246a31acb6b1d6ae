"""Scans every classifier of timm and torchvision in float64, each in a process, and compares it with crops.

    python -m benchmarks.sweep [--names NAME ...] [--match 'resnet*'] [--most-parameters 30] --results sweep.jsonl
    python -m benchmarks.sweep --table sweep.jsonl > benchmarks/sweep.md

Needs timm or torchvision (names of torchvision begin with ``tv:``), which are not dependencies. Weights and statistics
of batch norms are random: no file is downloaded. Each model adds one line of JSON; models that have a line are skipped,
so that an interrupted sweep resumes; those that were too large, or took too long, are tried again if the limits are
higher now. Modules of the library with the fewest passed models come first. A model passes if

- ``exact`` scores of two windows, at steps of 32 and 27 px, equal the crops' to 1e-9 of their spread,
- the predicted multiply-adds equal those of torch's counter,
- ``context`` scores, where defined, equal those of the whole network on the image.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import signal
import sys
import time
import traceback
import zlib
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fullfield
from fullfield.canonical.pipeline import canonical
from fullfield.jobs.in_memory import compute_scores
from fullfield.jobs.prepare import prepare
from fullfield.verification.crops import run_crops
from tests.requests import job_of

TOLERANCE = 1e-9
BUDGET = "12GB"
TORCHVISION: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", help="models; all that are installed if left out")
    parser.add_argument("--match", default="*", help="names to keep, with wildcards")
    parser.add_argument("--most-parameters", type=float, default=math.inf, help="millions")
    parser.add_argument("--limit", type=int, default=300, help="seconds of the processor a model")
    parser.add_argument("--memory", type=float, default=18, help="GB of addresses a model")
    parser.add_argument("--results", type=Path, default=Path("sweep.jsonl"), help="JSON lines, appended to")
    parser.add_argument("--table", type=Path, nargs="+", metavar="RESULTS", help="print a table of results and end")
    args = parser.parse_args()
    if args.table:
        print(table(args.table))
        return
    found = recorded([args.results])
    wanted = [
        name for name in args.names or available() if fnmatch(name, args.match) and not known(found.get(name), args)
    ]
    for name in fewest_first(wanted, found):
        if known(recorded([args.results]).get(name), args):  # by another sweep that writes to the same file
            continue
        facts = apart(name, args)
        with args.results.open("a") as file:
            file.write(json.dumps(facts) + "\n")
        print(f"{name:40} {facts['verdict']:8} {facts.get('error', '')[:100]}", flush=True)


def known(facts: dict[str, Any] | None, args: argparse.Namespace) -> bool:
    """Whether a model was tried with the limits of now."""
    if facts is None:
        return False
    if facts["verdict"] == "large":
        return bool(facts["parameters"] > args.most_parameters * 1e6)
    return facts["verdict"] != "late" or bool(facts["limit"] >= args.limit)


def fewest_first(names: list[str], found: dict[str, dict[str, Any]]) -> list[str]:
    """The models, one of each family in turn, families with fewer passed models first."""
    count = Counter(family(name) for name, facts in found.items() if facts["verdict"] == "passed")
    turns = []
    for name in names:
        turns.append(count[family(name)])
        count[family(name)] += 1
    return [name for _, name in sorted(zip(turns, names, strict=True), key=lambda pair: pair[0])]


def recorded(files: list[Path]) -> dict[str, dict[str, Any]]:
    """The last result of each model."""
    lines = [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]
    return {facts["name"]: facts for facts in lines}


def available() -> list[str]:
    """The models of the installed libraries, in a fixed random order."""
    names: list[str] = []
    try:
        import timm

        names += timm.list_models()
    except ImportError:
        pass
    try:
        from torchvision import models

        names += [f"tv:{name}" for name in models.list_models(module=models)]
    except ImportError:
        pass
    if not names:
        sys.exit("neither timm nor torchvision is installed: pip install timm torchvision")
    random.Random(0).shuffle(names)
    return names


def apart(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """The result of a model in a separate process; crashes and exceeded limits are results too."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        most = int(args.memory * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        with os.fdopen(writing, "w") as file:
            json.dump(tried(name, args), file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return {"name": name, "verdict": "crashed", "error": f"ended with status {status}"}
    found: dict[str, Any] = json.loads(text)
    return found


def tried(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """The result of one model, or the reason why there is none."""

    def late(*_: object) -> None:
        raise _Late

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, args.limit)
    facts: dict[str, Any] = {"name": name, "verdict": "refused"}
    began = time.process_time()
    try:
        examine(name, args.most_parameters * 1e6, facts)
    except _Late:
        facts |= {"verdict": "late", "limit": args.limit, "error": f"over {args.limit} s while {facts.pop('doing')}"}
    except fullfield.FullfieldError as error:
        facts["error"] = str(error)
    except Exception as error:  # noqa: BLE001 - any error of a model is a result
        facts |= {"verdict": "failed", "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    facts.pop("doing", None)
    return facts | {"seconds": round(time.process_time() - began)}


class _Late(BaseException):
    """A model takes too long; not an ``Exception``, so that no handler catches it."""


def examine(name: str, most_parameters: float, facts: dict[str, Any]) -> None:
    """Fills in the result step by step."""
    noise = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    facts["doing"] = "built"
    module, window = built(name, noise)
    facts["parameters"] = sum(p.numel() for p in module.parameters())
    if facts["parameters"] > most_parameters:
        facts["verdict"] = "large"
        return
    facts["doing"] = "captured"
    net = fullfield.load(module, window=window, preprocessing="imagenet")
    step = (32, 27) if zlib.crc32(name.encode()) % 2 else (27, 32)
    image = 255 * torch.rand(3, window + step[0], window + step[1], generator=noise, dtype=torch.float64)
    facts["doing"] = "planned"
    work = job_of(net, image, step=step, tile=(2, 2), budget=BUDGET)
    places = work.plan.places
    first = next((n for n in work.prepared.network if not places[n.name].shared), None)
    facts["frontier"] = None if first is None else f"{first.path} {first.op}: {places[first.name].reason}"
    facts["doing"] = "scanned"
    with FlopCounterMode(display=False) as counter:
        scores = compute_scores(work).array
    facts["macs"] = [work.plan.table.scan.total, counter.get_total_flops() // 2]
    facts["doing"] = "run as crops"
    cells = [(0, 0), (1, 1)]
    crops = run_crops(net, work.source, cells, work.plan.step)
    found = scores[:, [i for i, _ in cells], [j for _, j in cells]].T
    facts["error_over_spread"] = float(abs(found - crops).max() / (crops.max() - crops.min()))
    facts["doing"] = "scanned in context"
    facts["context"] = slid(net, window, noise)
    wrong = max(facts["error_over_spread"], facts["context"] or 0) > TOLERANCE
    counted = facts["macs"][0] == facts["macs"][1]
    facts["verdict"] = "wrong" if wrong else "passed" if counted else "counted"


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


def built(name: str, noise: torch.Generator) -> tuple[nn.Module, int]:
    """A model in float64 with moderate weights, and the smallest window that it takes."""
    if name.startswith("tv:"):
        from torchvision import models

        module: nn.Module = models.get_model(name[3:], weights=None, **TORCHVISION.get(name[3:], {}))
        window = 299 if "inception" in name else 256 if "swin_v2" in name else 224
    else:
        import timm

        module = timm.create_model(name, pretrained=False)
        settings: dict[str, Any] = module.default_cfg  # type: ignore[assignment]
        window, least = settings["input_size"][1], settings.get("min_input_size")
        if least and not settings.get("fixed_input_size", False):
            window = max(least[1], 96)
    module = module.double().eval()
    with torch.no_grad():
        for key, buffer in module.named_buffers():
            drawn = torch.randn(buffer.shape, generator=noise, dtype=torch.float64)
            if key.endswith("running_mean"):
                buffer.copy_(0.1 * drawn)
            if key.endswith("running_var"):
                buffer.copy_(drawn.abs() + 0.5)
        for parameter in module.parameters():
            drawn = torch.randn(parameter.shape, generator=noise, dtype=torch.float64)
            if parameter.dim() < 2:
                parameter.add_(0.1 * drawn)
            elif not parameter.any():
                parameter.add_(0.02 * drawn)
    return module, window


def table(files: list[Path]) -> str:
    """Prints results by module of the library, and the models that did not pass by name."""
    found = recorded(files)
    families: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(available()):
        families.setdefault(family(name), []).append(found.get(name, {"name": name, "verdict": "not tried"}))
    rows = [
        "| module | models | tried | pass | also in `context` | largest error | in `context` | s a model |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    every = [facts for each in families.values() for facts in each]
    for title, each in [*sorted(families.items()), ("all", every)]:
        tried = [facts for facts in each if facts["verdict"] not in ("not tried", "large")]
        if not tried:
            continue
        passed = [facts for facts in tried if facts["verdict"] == "passed"]
        slides = [facts for facts in passed if facts["context"] is not None]
        errors = f"{most(passed, 'error_over_spread')} | {most(slides, 'context')}"
        seconds = f"{sum(facts['seconds'] for facts in tried) / len(tried):.0f}"
        rows.append(f"| {title} | {len(each)} | {len(tried)} | {len(passed)} | {len(slides)} | {errors} | {seconds} |")
    failed = []
    for facts in every:
        if facts["verdict"] not in ("not tried", "large", "passed"):
            what = facts.get("error", "").splitlines() or [""]
            if facts["verdict"] == "counted":
                what = [f"exact; multiply-adds predicted {facts['macs'][0]}, counted {facts['macs'][1]}"]
            failed.append(f"- {facts['name']}, {facts['verdict']}: {what[0][:200]}")
    names = [facts["name"] for facts in every if facts["verdict"] == "passed"]
    rows += ["", f"Passed: {', '.join(names)}.", "", "Did not pass:", "", *(failed or ["none"])]
    return "\n".join(rows)


def family(name: str) -> str:
    """The module of the library that defines a model."""
    if name.startswith("tv:"):
        return "torchvision"
    from timm.models import model_entrypoint

    return model_entrypoint(name).__module__.removeprefix("timm.models.")


def most(found: list[dict[str, Any]], key: str) -> str:
    return f"{max(facts[key] for facts in found):.0e}" if found else ""


if __name__ == "__main__":
    main()
