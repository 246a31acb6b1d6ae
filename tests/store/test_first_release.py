"""Results of 0.1.0, which have no checksums, are read; the same map is written as the same bytes, with checksums."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from fullfield.api.scores import Scores, open_scores
from fullfield.geometry.placement import Placement
from fullfield.image.raster import Georeference
from fullfield.store.maps import MapSpec
from fullfield.store.ome_zarr import create_store, read_record
from fullfield.store.pyramid import seal
from fullfield.verification.certificate import Certificate
from tests.store.maps import contents

DATA = Path(__file__).parent / "data"
PLACE = Placement((4, 4), (12, 12), (2416, 80), (1208, 40))
SHORT = Placement((4, 4), (12, 12), (336, 80), (168, 40))
Y, X = np.mgrid[:300, :8]
VALID = (Y + X) % 7 != 0
SCORES = np.where(VALID, np.stack([(Y + 2 * X) / 8, (Y * X) % 5]), np.nan).astype(np.float16)
LABELS = np.where(VALID, (Y + X) % 3, 255)[None, :40].astype(np.uint8)
FOUND = Certificate("exact", 9, 2400, 2.5e-7, 1e-8, 12.5, 1.0, (3, 4), (0.25, 0.25), "float32", 1e-4, 0)
OF_SCORES = MapSpec(
    SCORES.shape, "float16", (256, 256), PLACE,
    classes=(5, 2), class_names=("cat", "dog"), activation="sigmoid", mpp=(0.5, 0.25), provenance={"model": "m"},
    georeference=Georeference(None, (2.0, 0.0, 100.0, 0.0, -2.0, 500.0)),
)  # fmt: skip
OF_LABELS = MapSpec(LABELS.shape, "uint8", (256, 256), SHORT, kind="labels", classes=(0, 1, 2), fill=255.0)


@pytest.mark.parametrize("name", ["scores-0.1.0.zarr", "scores-checksums.zarr"])
def test_scores_are_read(name: str) -> None:
    scores = open_scores(DATA / name)
    np.testing.assert_array_equal(scores.array, SCORES)
    np.testing.assert_array_equal(scores.valid(), VALID)
    assert scores.certificate == FOUND
    assert (scores.placement, scores.georeference, scores.mpp) == (PLACE, OF_SCORES.georeference, (0.5, 0.25))
    assert (scores.classes, scores.class_names, scores.activation) == ((5, 2), ("cat", "dog"), "sigmoid")
    assert (scores.levels, scores.provenance, scores.mode) == (2, {"model": "m"}, "exact")


@pytest.mark.parametrize("name", ["labels-0.1.0.zarr", "labels-checksums.zarr"])
def test_labels_are_read(name: str) -> None:
    labels = open_scores(DATA / name)
    np.testing.assert_array_equal(labels.top(), np.where(VALID[:40], LABELS[0].astype(int), -1))
    assert (labels.kind, labels.classes) == ("labels", (0, 1, 2))


def test_archives_are_read() -> None:
    scores = open_scores(DATA / "scores-0.1.0.npz")
    np.testing.assert_array_equal(scores.array, SCORES[:, :40].astype(np.float32))
    assert (scores.certificate, scores.class_names, scores.classes) == (FOUND, ("cat", "dog"), (0, 1))


@pytest.mark.parametrize(
    ("name", "array", "spec"),
    [("scores-checksums.zarr", SCORES, OF_SCORES), ("labels-checksums.zarr", LABELS, OF_LABELS)],
)
def test_the_same_map_is_written_as_the_same_bytes(tmp_path: Path, name: str, array: np.ndarray, spec: MapSpec) -> None:
    writer = create_store(tmp_path / name, spec, certificate=read_record(DATA / name)["certificate"])
    for top in range(0, array.shape[1], 256):
        rows = slice(top, min(top + 256, array.shape[1]))
        writer.write(top, 0, array[:, rows], VALID[rows])
    seal(tmp_path / name)
    assert contents(tmp_path / name) == contents(DATA / name)


def test_the_same_archive_is_written_as_the_same_arrays(tmp_path: Path) -> None:
    array = SCORES[:, :40].astype(np.float32)
    scores = Scores.from_array(array, SHORT, class_names=("cat", "dog"), certificate=FOUND)
    scores.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as ours, np.load(DATA / "scores-0.1.0.npz") as first:
        assert list(ours) == list(first)
        np.testing.assert_array_equal(ours["scores"], first["scores"])
        record = json.loads(str(ours["fullfield"]))
        assert record.pop("checksum")
        assert Certificate.from_dict(record.pop("certificate")) == FOUND
        assert record == {k: v for k, v in json.loads(str(first["fullfield"])).items() if k != "certificate"}
    with zipfile.ZipFile(tmp_path / "a.npz") as parts:
        assert {part.date_time for part in parts.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_other_programs_read_chunks_with_checksums() -> None:
    for name in ("scores", "labels"):
        first, now = (zarr.open_group(DATA / f"{name}-{form}.zarr", mode="r") for form in ("0.1.0", "checksums"))
        for array in ("0", "valid"):
            np.testing.assert_array_equal(now[array][:], first[array][:])
