"""A small network around one layer, and checks for every layer in it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import fullfield
from fullfield.model.model import Model
from tests.oracle import captured

WINDOW = 16


def network(layer: nn.Module, *, channels: int = 6, head: int = 2) -> Model:
    """Convolutions that pad before and after ``layer``, then a head; float64, biases shaken."""
    torch.manual_seed(0)
    maps = layer(torch.zeros(1, channels, WINDOW, WINDOW)).shape[1]
    body = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.ReLU(),
        layer,
        nn.Conv2d(maps, 5, 3, padding=1),
        nn.AdaptiveAvgPool2d(head),
        nn.Flatten(),
        nn.Linear(5 * head * head, 4),
    )
    return captured(body, WINDOW)


def image() -> np.ndarray:
    """Three channels of noise, larger than the window."""
    return np.random.default_rng(0).random((37, 34, 3))


def error_of_scan(net: Model, step: int) -> float:
    """The largest difference of an exact scan from all its crops."""
    scores = fullfield.scan(net, image(), step=step)
    pixels = torch.from_numpy(image()).permute(2, 0, 1)
    rows, columns = scores.array.shape[1:]
    crops = [
        pixels[:, i * step : i * step + WINDOW, j * step : j * step + WINDOW]
        for i in range(rows)
        for j in range(columns)
    ]
    with torch.no_grad():
        wanted = net(torch.stack(crops)).T.reshape(-1, rows, columns).numpy()
    return float(np.abs(scores.array - wanted).max())


def error_of_context(net: Model) -> float:
    """The largest difference of a scan in context mode from the converted network over the whole image."""
    scores = fullfield.scan(net, image(), mode="context")
    with torch.no_grad():
        wanted = fullfield.convert(net)(torch.from_numpy(image()).permute(2, 0, 1)[None])[0].numpy()
    return float(np.abs(scores.array - wanted[:, : scores.array.shape[1], : scores.array.shape[2]]).max())


def operators(net: Model) -> list[str]:
    """Short names of the captured operators, without the exporter's size nodes."""
    names = [n.target.__name__.partition(".")[0] for n in net.graph.graph.nodes if n.op == "call_function"]
    return [name for name in names if name != "sym_size"]
