"""Recipes in docs/results.md that need an environment of their own."""

import re
from pathlib import Path
from typing import Any

import numpy as np

import fullfield
from fullfield import Placement, Scores, Segmentation
from tests.store.maps import stored

PAGE = Path(__file__).parents[2] / "docs/results.md"
PLACE = Placement((4, 3), (12, 10), (240, 200), (120, 100))


def run(first_line: str, folder: Path, **names: Any) -> dict[str, Any]:
    """Runs the block of the page that begins with a line, with scores on disk and segments; returns its names."""
    (block,) = re.findall(rf"^```text\n({re.escape(first_line)}\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    rng = np.random.default_rng(0)
    array = np.kron(rng.normal(size=(3, *(-(-n // 7) for n in PLACE.shape))), np.ones((7, 7)))
    array = array[:, : PLACE.shape[0], : PLACE.shape[1]].astype(np.float32)
    stored(folder / "map.zarr", array, placement=PLACE, class_names=("a", "b", "c"))
    scores: Scores = fullfield.open_scores(folder / "map.zarr")
    names |= {"scores": scores, "segments": scores.segments(Segmentation(min_area=50)), "numpy": np}
    exec(block, names)
    return names
