"""What napari and the JSON schemas of OME-Zarr make of a stored map; `make viewers-test` installs them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.store.maps import place, stored

pytestmark = pytest.mark.slow
ARRAY = np.random.default_rng(0).standard_normal((3, 300, 280)).astype(np.float32)
LABELS = ARRAY.argmax(axis=0)[None].astype(np.uint8)
NAMES = ("cat", "dog", "owl")
MPP = (0.25, 0.5)


def stores(folder: Path) -> tuple[Path, Path]:
    stored(folder / "a.zarr", ARRAY, class_names=NAMES, mpp=MPP)
    stored(folder / "l.zarr", LABELS, kind="labels", classes=(0, 1, 2), class_names=NAMES, mpp=MPP)
    return folder / "a.zarr", folder / "l.zarr"


def layers(path: Path) -> list[Any]:
    from napari.components import ViewerModel
    from napari_ome_zarr import napari_get_reader

    viewer = ViewerModel()
    ((data, meta, kind),) = napari_get_reader(str(path))(str(path))
    return list(viewer.add_image(data, **meta)) if kind == "image" else [viewer.add_labels(data, **meta)]


@pytest.mark.filterwarnings("ignore")  # napari warns of napari
def test_napari_lays_every_cell_on_the_centre_of_its_window(tmp_path: Path) -> None:
    pytest.importorskip("napari_ome_zarr")
    scores, labels = stores(tmp_path)
    for layer in (*layers(scores), *layers(labels)):
        for cell in ((0, 0), (7, 31)):
            edges = place(300, 280).centre(*cell)  # a photograph's layer has the centre of its first pixel at 0
            found = layer.data_to_world((0, *cell)[-layer.ndim :])[-2:]
            assert found == pytest.approx([(edge - 0.5) * size for edge, size in zip(edges, MPP, strict=True)])


@pytest.mark.filterwarnings("ignore")  # napari warns of napari
def test_napari_shows_the_classes_by_name_and_their_pixels(tmp_path: Path) -> None:
    pytest.importorskip("napari_ome_zarr")
    scores, labels = stores(tmp_path)
    shown = layers(scores)
    assert [layer.name for layer in shown] == list(NAMES)
    assert [layer.visible for layer in shown] == [True, False, False]
    for layer, band in zip(shown, ARRAY, strict=True):
        np.testing.assert_array_equal(np.asarray(layer.data[0]), band)
    (layer,) = layers(labels)
    np.testing.assert_array_equal(np.asarray(layer.data[0]), LABELS)


def test_the_metadata_hold_against_the_json_schemas(tmp_path: Path) -> None:
    pytest.importorskip("jsonschema")
    import ngff_zarr
    from ngff_zarr.validate import validate

    for path, models in zip(stores(tmp_path), (("image",), ("image", "label")), strict=True):
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]
        for model in models:
            validate(attributes, version="0.5", model=model, strict=True)
        ngff_zarr.from_ngff_zarr(str(path), validate=True)
        broken = {"ome": {**attributes["ome"], "multiscales": []}}
        with pytest.raises(Exception, match="should be non-empty"):
            validate(broken, version="0.5", model="image")
