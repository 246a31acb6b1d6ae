"""Scans that are killed at random moments and begun again until they are done: ``python killing.py JSON``.

Prints one line of JSON. torch takes seconds to start, so that one process starts it, makes network and image, and then
forks one child for every attempt; children are told nothing that a new process would not know.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import zarr  # takes a second, which children would take again
from torch import nn

import fullfield
from fullfield.api.scan import scan
from fullfield.errors import FullfieldError
from fullfield.planning import overhead
from tests.requests import grouped

assert zarr.__version__
WAYS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
DONE, OTHERS, FAILED, STOPPED = 0, 3, 1, 130


@dataclass
class Campaign:
    """One output, written by ``world`` processes that are killed again and again.

    Args:
        folder: for image and output.
        world: processes side by side.
        cells: of an image's side, in tiles.
        kills: wanted, over as many outputs as that takes.
        seed: of the moments.
        padded: whether the network pads.
        life: of an output's first attempt, at most, in times of a whole run; later ones may live longer, so that one
            reaches the end of the seal, which begins anew every time.
        engine: that computes.
        overwrite: whether the output replaces an earlier result, which is there until the new one is.
    """

    folder: Path
    world: int = 1
    cells: tuple[int, int] = (14, 16)
    kills: int = 50
    seed: int = 0
    padded: bool = False
    life: float = 0.3
    engine: str = "auto"
    overwrite: bool = False
    net: fullfield.Model = field(init=False)
    lived: list[float] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    allowed: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        layers = [nn.Conv2d(3, 4, 3, padding=1 if self.padded else 0), nn.ReLU(), nn.MaxPool2d(2)]
        head = [nn.Flatten(), nn.Linear(4 * (8 if self.padded else 7) ** 2, 5)]
        self.net = fullfield.load(nn.Sequential(*layers, *head).eval(), window=16)
        height, width = (16 * n + 10 for n in self.cells)
        pixels = np.random.default_rng(self.seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        tifffile.imwrite(self.folder / "image.tif", pixels, tile=(32, 48), photometric="rgb", compression="zlib")
        overhead._BLOCK_BYTES = 1  # a block for every tile

    def scan(self, output: Path, rank: int, world: int) -> int:
        """One run in this process; its exit status."""
        settings = {"step": 4, "tile": (4, 4), "budget": "256MB", "mask": self.mask, "rank": rank, "world": world}
        settings["engine"] = self.engine
        existing = "overwrite" if self.overwrite else "resume"
        image = self.folder / "image.tif"
        found = scan(self.net, image, output=output, existing=existing, verify=3, **grouped(settings))
        return OTHERS if found is None else DONE

    @property
    def mask(self) -> np.ndarray:
        """A corner that is not wanted, so that some blocks are empty and some partly so."""
        height, width = (16 * n + 10 for n in self.cells)
        mask = np.ones((height, width), np.uint8)
        mask[: height // 3, : width // 2] = 0
        return mask

    def start(self, output: Path, rank: int, world: int) -> int:
        """A child that runs; its process id."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # none may hit the child before it is one
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            return pid
        status = FAILED
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            status = self.scan(output, rank, world)
        except KeyboardInterrupt:
            status = STOPPED
        except FullfieldError as error:
            sys.stderr.write(f"{error}\n")
        except BaseException:  # noqa: BLE001  # whatever it is, the parent is told
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def whole(self, output: Path) -> float:
        """Runs without a kill; seconds."""
        began = time.perf_counter()
        _, status = os.waitpid(self.start(output, 0, 1), 0)
        assert os.waitstatus_to_exitcode(status) == DONE, "the uninterrupted run failed"
        return time.perf_counter() - began

    def run(self) -> dict[str, Any]:
        """Kills until there were enough, and compares every output that was completed meanwhile."""
        draw = random.Random(self.seed)
        seconds = self.whole(self.folder / "whole.zarr")
        wanted = contents(self.folder / "whole.zarr")
        earlier = self.folder / "earlier.zarr"
        if self.overwrite:
            scan(self.net, self.folder / "image.tif", step=8, output=earlier)
            self.allowed = {"earlier": contents(earlier), "new": wanted}
        outputs = 0
        while len(self.lived) < self.kills:
            output = self.folder / f"killed-{outputs}.zarr"
            if self.overwrite:
                shutil.copytree(earlier, output)
            self.finish(output, draw, seconds)
            assert contents(output) == wanted, differing(contents(output), wanted)
            assert not output.with_name(output.name + ".journal").exists(), "the journal is left"
            outputs += 1
        shards = sum(name.startswith("0/c/") for name in wanted)
        figures = {"seconds": seconds, "kills": len(self.lived), "outputs": outputs, "shards": shards}
        return figures | {"longest": max(self.lived), "ends": self.ends, "seen": self.seen}

    def finish(self, output: Path, draw: random.Random, seconds: float) -> None:
        """One output, however many attempts it takes."""
        running: dict[int, tuple[int, float, int, float]] = {}
        waiting = list(range(self.world))
        draw.shuffle(waiting)
        longest = self.life * seconds
        while running or waiting:
            while waiting:
                rank = waiting.pop()
                way, life = draw.choice(WAYS), draw.uniform(0, longest)
                longest += self.life * seconds / 25
                now = time.perf_counter()
                running[self.start(output, rank, self.world)] = rank, now + life, way, now
            time.sleep(0.001)
            for pid, (rank, until, way, began) in list(running.items()):
                over, status = os.waitpid(pid, os.WNOHANG)
                if over:
                    del running[pid]
                    code = os.waitstatus_to_exitcode(status)
                    self.note(code)
                    if code < 0 or code == STOPPED:
                        self.check_whole(output)
                        self.lived.append(time.perf_counter() - began)
                        waiting.append(rank)
                    else:
                        assert code in (DONE, OTHERS), f"an attempt failed with {code}"
                elif time.perf_counter() > until:
                    os.kill(pid, way)
                    running[pid] = rank, until + 20.0, signal.SIGKILL, began
                    check_visible(output)

    def check_whole(self, output: Path) -> None:
        """After a kill, an output that replaces an earlier result is that result or the new one, to the byte."""
        if self.overwrite:
            found = contents(output)
            names = [name for name, files in self.allowed.items() if files == found]
            assert names, f"neither the earlier nor the new result: {differing(found, self.allowed['new'])}"
            self.seen[names[0]] = self.seen.get(names[0], 0) + 1

    def note(self, code: int) -> None:
        """Counts how attempts end."""
        name = signal.Signals(-code).name if code < 0 else str(code)
        self.ends[name] = self.ends.get(name, 0) + 1


def check_visible(output: Path) -> None:
    """At any moment there is no output, or one that says whether it is complete; then its journal holds its job."""
    try:
        text = (output / "zarr.json").read_text()
    except FileNotFoundError:
        return
    assert isinstance(json.loads(text)["attributes"]["fullfield"]["complete"], bool)


def contents(path: Path) -> dict[str, bytes]:
    """Every file's bytes by its path in the store."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def differing(found: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    """Which files differ."""
    return ", ".join(sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))[:5])


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    options["cells"] = tuple(options.pop("cells", (14, 16)))
    campaign = Campaign(Path(options.pop("folder")), **options)
    sys.stdout.write(json.dumps(campaign.run()) + "\n")
