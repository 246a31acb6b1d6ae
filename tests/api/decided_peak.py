"""The peak memory of ``fullfield.decide``, in a process of its own: ``python decided_peak.py SIDE BUDGET HOW``.

Prints one line of JSON. The image has SIDE px a side, made by a formula when they are read, and each of its windows
100 scores. The start is taken when a small image has been decided.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import nn

import fullfield
from tests.api.stream_peak import Endless
from tests.engine.peak import Watch


def measure(side: int, budget: str, how: str) -> dict[str, Any]:
    """What one decision took beside what was there, and the map in memory would take, bytes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(32, 100)).eval()
    model = fullfield.load(net, window=8)
    compute = fullfield.Compute(budget=budget, engine="torch", threads=1)
    fullfield.decide(model, Endless(400), how, on="softmax", compute=compute)
    with Watch() as watch:
        found = fullfield.decide(model, Endless(side), how, on="softmax", compute=compute)
    return {"measured": watch.taken, "map": found.windows * 100 * 4}


if __name__ == "__main__":
    side, budget, how = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(int(side), budget, how)) + "\n")
