"""``fullfield.export`` of scores in memory and on disk."""

from pathlib import Path

import numpy as np
import pytest

import fullfield
from fullfield.geometry.placement import Placement


@pytest.mark.parametrize("suffix", [".zarr", ".npz"])
def test_scores_on_disk_are_exported_as_those_in_memory(tmp_path: Path, suffix: str) -> None:
    place = Placement((4, 4), (16, 16), (200, 300), (200, 300))
    scores = fullfield.Scores.from_array(np.random.default_rng(0).standard_normal((3, *place.shape)), place)
    scores.save(tmp_path / f"s{suffix}")
    fullfield.export(scores, tmp_path / "a.npy", resolution="image", resample="lanczos")
    fullfield.export(tmp_path / f"s{suffix}", tmp_path / "b.npy", resolution="image", resample="lanczos")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
