"""Draws the picture of docs/segments.md: ``python -m scripts.segments_picture docs/segments.png``.

Left to right: a mosaic of textures, its true borders, segments without and with the guided filter.
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

from fullfield import Segmentation
from fullfield.store.palette import distinct
from tests.decisions.mosaic import mosaic, scanned

GAP = 8


def main(path: str) -> None:
    """Writes the picture in 8 bits with a palette."""
    photo, truth = mosaic()
    scores = scanned(photo)
    colours = np.array([*distinct(4), (0, 0, 0)], np.uint8)
    options = Segmentation(), Segmentation(activation="softmax", guided=16, min_area=100)
    labels = [truth, *(np.asarray(scores.segments(how, image=photo)) for how in options)]
    gap = np.full((photo.shape[0], GAP, 3), 255, np.uint8)
    parts = [photo, *(part for label in labels for part in (gap, colours[label]))]
    Image.fromarray(np.hstack(parts)).reduce(2).quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
