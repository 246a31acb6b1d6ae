"""Scores in SpatialData: ``make spatial-test`` runs this in an environment of its own."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of spatialdata's own packages


def test_scores_segments_and_windows_lie_on_the_image(tmp_path: Path) -> None:
    spatialdata = pytest.importorskip("spatialdata")
    from tests.handover.recipes import PLACE, run

    names = run("import spatialdata", tmp_path)
    data, scores = names["data"], names["scores"]
    top, left, bottom, right = PLACE.footprint()
    for kind, wanted in (
        ("scores", (top, bottom, left, right)),
        ("segments", (0, 240, 0, 200)),
        ("windows", (0, 240, 0, 200)),
    ):
        found = spatialdata.get_extent(data[kind])
        assert (*found["y"], *found["x"]) == pytest.approx(wanted)
    assert list(data["scores"].coords["c"].values) == ["a", "b", "c"]
    np.testing.assert_array_equal(data["scores"].values, scores.array)
    np.testing.assert_array_equal(data["segments"].values, np.asarray(names["segments"]) + 1)
    data.write(tmp_path / "spatial.zarr")
    again = spatialdata.read_zarr(tmp_path / "spatial.zarr")
    np.testing.assert_array_equal(again["scores"].values, scores.array)
    assert len(again["windows"]) == PLACE.shape[0] * PLACE.shape[1]
