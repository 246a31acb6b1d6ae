"""Scores in napari from Python: ``make viewers-test`` runs this in an environment of its own."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # napari warns of napari


def test_every_cell_lies_on_the_centre_of_its_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    components = pytest.importorskip("napari.components")
    from tests.handover.recipes import PLACE, run

    # the viewer without its window, which needs a display
    monkeypatch.setitem(sys.modules, "napari", SimpleNamespace(Viewer=components.ViewerModel))
    names = run("import napari", tmp_path, photo=np.zeros((240, 200), np.uint8))
    photo, *classes, segments = names["viewer"].layers
    assert [layer.name for layer in (*classes, segments)] == ["a", "b", "c", "segments"]
    for layer in classes:
        for cell in ((0, 0), (7, 20)):
            edges = PLACE.centre(*cell)  # a photograph's layer has the centre of its first pixel at 0
            assert layer.data_to_world(cell) == pytest.approx([edge - 0.5 for edge in edges])
    assert photo.extent.world == pytest.approx(segments.extent.world)
    np.testing.assert_array_equal(np.asarray(classes[1].data), names["scores"]["b"])
