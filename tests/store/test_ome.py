"""What other programs make of a stored map: axes, place, names and pixels."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models
import pytest
from ome_zarr.io import parse_url
from ome_zarr.reader import Node, Reader

from fullfield.store.encoding import Encoding, score_encoder
from fullfield.store.ome_zarr import create_store
from fullfield.store.palette import distinct
from fullfield.store.pyramid import seal
from tests.store.maps import fill_store, place, spec_of, stored

ARRAY = np.random.default_rng(0).standard_normal((3, 300, 280)).astype(np.float32)
NAMES = ("cat", "dog", "owl")
MPP = (0.25, 0.5)
# Steps of 4 and 3 px on a scan at half size are 8 and 6 px of the original; the first window's centre is 12, 10.
SCALE, FIRST = (8 * 0.25, 6 * 0.5), (11.5 * 0.25, 9.5 * 0.5)
SECOND = (15.5 * 0.25, 12.5 * 0.5)  # a cell of level 1 lies between two: half a step farther


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ome") / "a.zarr"
    stored(path, ARRAY, shard=(256, 256), class_names=NAMES, mpp=MPP, provenance={"model": "animals"})
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ome") / "l.zarr"
    stored(path, ARRAY.argmax(axis=0)[None].astype(np.uint8), kind="labels", classes=(0, 1, 2), class_names=NAMES)
    return path


def ome_zarr_node(path: Path) -> Node:
    (node,) = Reader(parse_url(str(path)))()
    return node


def attributes(path: Path) -> dict[str, Any]:
    return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]


def test_ome_zarr_reads_axes_scale_translation_names_and_pixels(scores: Path) -> None:
    node = ome_zarr_node(scores)
    assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "y", "x"]
    assert [axis.get("unit") for axis in node.metadata["axes"]] == [None, "micrometer", "micrometer"]
    assert node.metadata["channel_names"] == list(NAMES)
    steps = node.metadata["coordinateTransformations"]
    assert [step["scale"] for step, _ in steps] == [[1, *SCALE], [1, 2 * SCALE[0], 2 * SCALE[1]]]
    assert [step["translation"] for _, step in steps] == [[0, *FIRST], [0, *SECOND]]
    assert [level.shape for level in node.data] == [(3, 300, 280), (3, 150, 140)]
    np.testing.assert_array_equal(np.asarray(node.data[0]), ARRAY)


def test_ngff_zarr_reads_axes_scale_translation_names_and_pixels(scores: Path) -> None:
    import ngff_zarr

    found = ngff_zarr.from_ngff_zarr(str(scores))
    first, second = found.images
    assert first.dims == ("c", "y", "x")
    assert first.axes_units == {"c": None, "y": "micrometer", "x": "micrometer"}
    assert (first.scale, first.translation) == (
        {"c": 1, "y": SCALE[0], "x": SCALE[1]},
        {"c": 0, "y": FIRST[0], "x": FIRST[1]},
    )
    assert second.translation == {"c": 0, "y": SECOND[0], "x": SECOND[1]}
    assert first.name == "animals"
    assert [channel.label for channel in found.metadata.omero.channels] == list(NAMES)
    np.testing.assert_array_equal(np.asarray(first.data), ARRAY)


def test_the_metadata_are_those_of_the_standard(scores: Path, labels: Path) -> None:
    assert type(ome_zarr_models.open_ome_zarr(str(scores))) is ome_zarr_models.v05.image.Image
    assert type(ome_zarr_models.open_ome_zarr(str(labels))) is ome_zarr_models.v05.image_label.ImageLabel


def test_without_micrometres_lengths_are_pixels_and_carry_no_unit(labels: Path) -> None:
    multiscale = attributes(labels)["multiscales"][0]
    assert all("unit" not in axis for axis in multiscale["axes"])
    scale, first = multiscale["datasets"][0]["coordinateTransformations"]
    assert (scale["scale"], first["translation"]) == ([1, 8, 6], [0, 11.5, 9.5])


def test_labels_are_an_image_of_integers_with_a_name_and_a_colour_each(labels: Path) -> None:
    node = ome_zarr_node(labels)
    np.testing.assert_array_equal(np.asarray(node.data[0])[0], ARRAY.argmax(axis=0))
    assert {value: said["class"] for value, said in node.metadata["properties"].items()} == {
        0: "cat", 1: "dog", 2: "owl", 255: "no data",
    }  # fmt: skip
    assert node.metadata["color"][1] == [part / 255 for part in (*distinct(2)[1], 255)]
    assert node.metadata["color"][255] == [0, 0, 0, 0]


def test_a_cut_out_of_an_image_lies_where_it_was_cut(tmp_path: Path) -> None:
    """60 rows and 50 columns of cells from cell (24, 40) on: padding of minus 24 and 40 steps."""
    whole = place(300, 280)
    (height, width), edges = whole.scanned, (-24 * 4, -40 * 3)
    below, right = height - 96 - (59 * 4 + 12), width - 120 - (49 * 3 + 10)
    part = replace(whole, padding=(edges[0], -below, edges[1], -right))
    assert part.shape == (60, 50)
    stored(tmp_path / "a.zarr", ARRAY[:, 24:84, 40:90], placement=part, mpp=MPP)
    _, first = ome_zarr_node(tmp_path / "a.zarr").metadata["coordinateTransformations"][0]
    assert first["translation"] == [0, FIRST[0] + 24 * SCALE[0], FIRST[1] + 40 * SCALE[1]]


def test_scores_are_shown_from_their_least_to_their_greatest_and_probabilities_from_0_to_1(tmp_path: Path) -> None:
    few = ARRAY[:, :40, :50].copy()
    few[0, 0, 0], few[1] = np.inf, np.nan
    few[2] = 3
    stored(tmp_path / "a.zarr", few)
    windows = [channel["window"] for channel in attributes(tmp_path / "a.zarr")["omero"]["channels"]]
    finite = few[0][np.isfinite(few[0])]
    assert [(window["start"], window["end"]) for window in windows] == [(finite.min(), finite.max()), (0, 1), (3, 4)]
    kept = score_encoder(Encoding(dtype="uint8", activation="sigmoid"), classes=3)
    block = kept.encode(few).block
    fill_store(create_store(tmp_path / "b.zarr", replace(spec_of(block), **kept.fields)), block)
    seal(tmp_path / "b.zarr")
    window = attributes(tmp_path / "b.zarr")["omero"]["channels"][0]["window"]
    assert window == {"min": 0, "max": 254, "start": 0, "end": 254}


def test_classes_are_told_apart_by_their_colours() -> None:
    assert len(set(distinct(255))) == 255


def test_one_class_is_shown_at_first(scores: Path) -> None:
    assert [channel["active"] for channel in attributes(scores)["omero"]["channels"]] == [True, False, False]
