"""How well segments agree with the truth on mosaics of textures: ``python -m benchmarks.segments``.

Prints a row for each set of options, the means of four mosaics: part of the pixels that is right, of the pixels within
16 px of a border, mean intersection over union of the classes, and number of segments.
"""

from __future__ import annotations

import numpy as np

from fullfield import Placement, Scores, Segmentation
from tests.decisions.mosaic import agreement, mosaic, scanned

OPTIONS = {
    "interpolated": Segmentation(),
    "min_area=100": Segmentation(min_area=100),
    "logits, guided=16": Segmentation(guided=16),
    "softmax, guided=8": Segmentation(activation="softmax", guided=8),
    "softmax, guided=16": Segmentation(activation="softmax", guided=16),
    "softmax, guided=32": Segmentation(activation="softmax", guided=32),
    "softmax, guided=16, epsilon=0.0001": Segmentation(activation="softmax", guided=16, epsilon=1e-4),
    "softmax, guided=16, epsilon=0.01": Segmentation(activation="softmax", guided=16, epsilon=1e-2),
    "softmax, guided=16, min_area=100": Segmentation(activation="softmax", guided=16, min_area=100),
    "indicators of labels, guided=16, min_area=100": Segmentation(guided=16, min_area=100),
}


def main() -> None:
    """Prints a table of the means over four mosaics."""
    rows: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(4):
        photo, truth = mosaic(seed)
        scores = scanned(photo)
        for name, how in OPTIONS.items():
            some = indicators(scores) if name.startswith("indicators") else scores
            found = some.segments(how, image=photo)
            rows.setdefault(name, []).append((*agreement(np.asarray(found), truth), found.count))
    for name, each in rows.items():
        right, near, shared, count = np.mean(each, axis=0)
        print(f"{name:46} {right:.3f} {near:.3f} {shared:.3f} {count:6.0f}")


def indicators(scores: Scores) -> Scores:
    """1 at the pixels of each class, 0 at those of others, NaN at those without a class."""
    labels = np.asarray(scores.segments())
    planes = np.where(labels < 0, np.nan, labels == np.arange(4)[:, None, None]).astype(np.float32)
    return Scores.from_array(planes, Placement((1, 1), (1, 1), labels.shape, labels.shape))


if __name__ == "__main__":
    main()
