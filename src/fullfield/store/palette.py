"""Distinct colours for any number of classes."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

# Okabe & Ito 2008, "Color Universal Design", without black: distinct for the colour-blind too.
_FIRST = ("e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7")
_LEVELS = 18  # of each channel of the candidate colours


@cache
def distinct(count: int) -> tuple[Colour, ...]:
    """Distinct colours: first those of Okabe and Ito, then each time the candidate farthest from all before.

    Distance is Euclidean in Oklab; black and white count as taken, because pictures use them for text and paper. The
    colours of a smaller count are the first ones of a greater.

    Source: Ottosson 2020, "A perceptual color space for image processing" (Oklab); Glasbey et al. 2007,
        doi 10.1002/col.20327 (the sequence)

    Examples:
        >>> distinct(2)
        ((230, 159, 0), (86, 180, 233))
    """
    first = np.array([tuple(bytes.fromhex(text)) for text in _FIRST])
    if count <= len(first):
        return _plain(first[:count])
    level = np.linspace(0, 255, _LEVELS).round().astype(int)
    candidates = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    places, away = _oklab(candidates), _oklab(np.array([(0, 0, 0), (255, 255, 255)]))
    nearest = np.full(len(candidates), np.inf)
    for place in (*away, *_oklab(first)):
        nearest = np.minimum(nearest, ((places - place) ** 2).sum(axis=1))
    chosen = [*first]
    while len(chosen) < count:
        best = int(nearest.argmax())
        chosen.append(candidates[best])
        nearest = np.minimum(nearest, ((places - places[best]) ** 2).sum(axis=1))
    return _plain(np.array(chosen))


def _plain(colours: NDArray[np.int_]) -> tuple[Colour, ...]:
    return tuple((int(r), int(g), int(b)) for r, g, b in colours)


def _oklab(colours: NDArray[np.int_]) -> NDArray[np.float64]:
    """Oklab of sRGB 0..255. Shape: ``(n, 3)``"""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    lab: NDArray[np.float64] = np.cbrt(linear @ np.array(to_lms).T) @ np.array(to_lab).T
    return lab
