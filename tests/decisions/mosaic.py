"""A mosaic of four textures with known borders, and a network that tells them apart by their mean features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import fullfield
from fullfield import Model, Scores, Where

WINDOW, STEP, SIDE = 32, 8, 512
COLOURS = np.array([[0.35, 0.5, 0.3], [0.55, 0.45, 0.35], [0.45, 0.5, 0.6], [0.5, 0.55, 0.4]])
STRIPES = ((0.0, 0.0), (0.08, 0.0), (0.0, 0.06), (0.03, 0.03))  # amplitude along y and x


def textures(side: int, seed: int) -> NDArray[np.float32]:
    """Four textures ``(4, y, x, 3)``: a colour, stripes and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    found = []
    for colour, (down, across) in zip(COLOURS, STRIPES, strict=True):
        waves = down * np.sin(y * 1.3) + across * np.sin(x * 0.9)
        noise = rng.normal(0, 0.06, (side, side, 3)) + rng.normal(0, 0.04, (side, side, 1))
        found.append(np.clip(colour + waves[:, :, None] + noise, 0, 1))
    return np.array(found, np.float32)


def mosaic(seed: int = 0, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """A photograph, and the texture of each of its pixels: cells around random points, discs and a winding road."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    points, owners = rng.uniform(0, side, (14, 2)), rng.integers(0, 4, 14)
    owners[:4] = range(4)
    far = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    truth = owners[far.argmin(axis=-1)]
    for cy, cx, radius, kind in zip(
        *rng.uniform(40, side - 40, (2, 6)), rng.uniform(12, 36, 6), rng.integers(0, 4, 6), strict=True
    ):
        truth[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = kind
    truth[np.abs(y - side * (0.5 + 0.3 * np.sin(x / 70))) < 9] = 2
    photo = np.take_along_axis(textures(side, seed + 1), truth[None, :, :, None], axis=0)[0]
    return np.rint(photo * 255).astype(np.uint8), truth


class Means(nn.Module):
    """The nearest of four centres of mean colours and mean gradients, as a linear layer after a global mean."""

    def __init__(self) -> None:
        super().__init__()
        self.gradients = nn.Conv2d(3, 2, 3, bias=False)
        weight = torch.zeros(2, 3, 3, 3)
        weight[0, :, :, 1], weight[1, :, 1, :] = torch.tensor([-1.0, 0, 1]), torch.tensor([-1.0, 0, 1])
        self.gradients.weight.data = weight
        self.linear = nn.Linear(5, 4)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Mean colours and mean absolute gradients of each window."""
        steep = self.gradients(x)
        return torch.cat([x[:, :, 1:-1, 1:-1], 0.5 * (steep.relu() + (-steep).relu())], 1).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.features(x))


def network() -> Model:
    """The centres are those of textures that the mosaic does not show; logits are negative squared distances."""
    module = Means().eval()
    with torch.no_grad():
        samples = torch.from_numpy(textures(256, 100)).permute(0, 3, 1, 2)
        centres = module.features(samples)
        scale = 1 / 0.03**2
        module.linear.weight.copy_(2 * scale * centres)
        module.linear.bias.copy_(-scale * (centres**2).sum(1))
    return fullfield.load(
        module,
        window=WINDOW,
        preprocessing=fullfield.Preprocessing(value_range=(0, 1), order="RGB"),
        class_names=tuple("abcd"),
    )


def scanned(photo: NDArray[np.uint8], step: int = STEP) -> Scores:
    """Scores up to the corners of the photograph."""
    return fullfield.scan(network(), photo, step=step, where=Where(edge="reflect"))


def near_borders(truth: NDArray[Any], distance: int = WINDOW // 2) -> NDArray[np.bool_]:
    """Pixels with another texture within so many px."""
    near = np.zeros(truth.shape, np.bool_)
    for shift in range(1, distance + 1):
        for axis in (0, 1):
            one, other = (np.moveaxis(part, axis, 0) for part in (near, truth))  # views
            changed = other[shift:] != other[:-shift]
            one[shift:] |= changed
            one[:-shift] |= changed
    return near


def agreement(found: NDArray[Any], truth: NDArray[Any]) -> tuple[float, float, float]:
    """Part of the labelled pixels that is right, of those near borders, and the mean intersection over union."""
    near, known = near_borders(truth), found >= 0
    right = found == truth
    shared = [((found == k) & right & known).sum() / (((found == k) | (truth == k)) & known).sum() for k in range(4)]
    return float(right[known].mean()), float(right[near & known].mean()), float(np.mean(shared))
