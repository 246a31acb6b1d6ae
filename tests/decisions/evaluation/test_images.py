"""Labels of whole images: one decision a map against a table; and cells of several maps together."""

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

import fullfield
from fullfield import DecisionRule, Labels
from fullfield.errors import ArgumentError, ImageError
from tests.decisions.evaluation.maps import geojson, point, probabilities, scores_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine maps of three classes, one without any score, and a table of their images' classes."""
    rng = np.random.default_rng(0)
    lines = ["image;class"]
    (tmp_path / "maps").mkdir()
    for k in range(9):
        array = probabilities(rng, 3, 6, 8)
        array[k % 3] *= 1.2
        if k == 8:
            array[:] = np.nan
        provenance = {"ends_in": "softmax", "image": f"/data/slides/slide {k}.svs"}
        scores_of(array, provenance=provenance).save(tmp_path / "maps" / f"map{k}.zarr")
        lines.append(f"slide {k}.tif;kind {(k + k // 6) % 3}" if k % 2 else f"map{k};kind {k % 3}")
    (tmp_path / "maps" / "notes.txt").write_text("no map")
    (tmp_path / "labels.csv").write_text("\n".join([*lines, "slide 99;kind 1", ""]))
    return tmp_path


@pytest.mark.parametrize("how", ["mean", "max", "top-k:5"])
def test_figures_of_decisions_are_scikit_learns(how: str, folder: Path) -> None:
    found = fullfield.evaluate(folder / "maps", folder / "labels.csv", decide=how)
    truth = [(k + k // 6) % 3 if k % 2 else k % 3 for k in range(8)]
    maps = [fullfield.open_scores(folder / "maps" / f"map{k}.zarr") for k in range(8)]
    decided = np.stack([each.decide(how).scores for each in maps])
    assert (found.unit, found.samples, found.without_score) == ("images", 8, 1)
    assert found.accuracy == metrics.accuracy_score(truth, decided.argmax(axis=1))
    hot = np.eye(3)[truth]
    assert found.auc == pytest.approx(metrics.roc_auc_score(hot, decided, average="macro"), abs=1e-12)
    assert found.ap == pytest.approx(metrics.average_precision_score(hot, decided, average="macro"), abs=1e-12)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(truth, decided.argmax(axis=1)))
    assert found.reliability is not None
    assert found.remarks[0] == f"One decision an image: {how} of scores."
    assert "Labels without an image, left out: 1." in found.remarks
    assert "Labelled images without a score, left out: 1." in found.remarks
    assert found.froc == ()


def test_maps_are_given_as_a_list_in_memory_or_on_disk_too(folder: Path) -> None:
    paths = [folder / "maps" / f"map{k}.zarr" for k in range(4)]
    mixed = [fullfield.open_scores(paths[0]).to_memory(), *paths[1:]]
    table = folder / "labels.csv"
    table.write_text("image,class\nslide 0.svs,kind 0\nslide 1,kind 1\nslide 2,kind 2\n")
    found = fullfield.evaluate(mixed, table, decide=DecisionRule("mean"))
    assert found.samples == 3
    assert "Images without a label, left out: 1." in found.remarks


def test_what_is_decided_on_says_whether_it_is_a_probability(folder: Path) -> None:
    maps, table = folder / "maps", folder / "labels.csv"
    assert fullfield.evaluate(maps, table, decide="log-sum-exp:5").reliability is None
    assert fullfield.evaluate(maps, table, decide="quantile:0.5").reliability is not None
    with pytest.raises(ArgumentError, match=r"activation: is for labels of cells\n  fix: write decide=DecisionRule"):
        fullfield.evaluate(maps, table, activation="softmax")


def test_maps_of_labels_are_decided_by_their_shares(folder: Path) -> None:
    (folder / "top").mkdir()
    for k in range(8):
        path = folder / "maps" / f"map{k}.zarr"
        fullfield.open_scores(path).save(folder / "top" / path.name, labels=True)
    found = fullfield.evaluate(folder / "top", folder / "labels.csv")
    assert found.samples == 8
    assert found.auc > 0.5


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("image,class\nother,kind 1\n", r"names none of the 9 images, such as slide 0; it has other"),
        ("image,class\nslide 1,kind 1\nslide 1.tif,kind 2\n", "gives slide 1.tif two classes"),
        ("image,class\nslide 1,knd 1\n", "label 'knd 1' is no class"),
        ("image,kind\nslide 1,kind 1\n", "has no column class; its columns are 'image', 'kind'"),
        ("image,class\nslide 8,kind 1\n", "none of the 1 labelled images has a score"),
    ],
)
def test_a_faulty_table_is_one_error(table: str, text: str, folder: Path) -> None:
    (folder / "labels.csv").write_text(table)
    with pytest.raises(ImageError, match=text):
        fullfield.evaluate(folder / "maps", folder / "labels.csv")


def test_a_decision_of_some_classes_or_for_labels_of_cells_is_refused(folder: Path) -> None:
    with pytest.raises(ArgumentError, match="classes and regions are not for labels of images"):
        fullfield.evaluate(folder / "maps", folder / "labels.csv", decide=DecisionRule("mean", classes=(0,)))
    with pytest.raises(ArgumentError, match="decide: is for labels of whole images"):
        fullfield.evaluate(folder / "maps" / "map0.zarr", np.ones((32, 40), np.uint8), decide="mean")


def test_cells_of_several_maps_are_counted_together(folder: Path) -> None:
    labels = folder / "annotations"
    labels.mkdir()
    maps = [folder / "maps" / f"map{k}.zarr" for k in range(3)]
    for k in range(3):
        geojson(labels / f"slide {k}.geojson", *((point(9 + 4 * n, 9), {"class": f"kind {n}"}) for n in range(k + 1)))
    found = fullfield.evaluate(maps, labels)
    each = [fullfield.evaluate(one, labels / f"slide {k}.geojson") for k, one in enumerate(maps)]
    assert found.samples == 6 == sum(one.samples for one in each)
    assert found.accuracy == pytest.approx(sum(one.accuracy * one.samples for one in each) / 6)
    assert [(one.name, one.targets, one.images) for one in found.froc] == [
        ("kind 0", 3, 3), ("kind 1", 2, 3), ("kind 2", 1, 3),
    ]  # fmt: skip
    listed = [Labels(labels / f"slide {k}.geojson") for k in range(3)]
    assert fullfield.evaluate(maps, listed).to_dict() == found.to_dict()


def test_maps_and_labels_that_do_not_go_together_are_refused(folder: Path) -> None:
    maps = [folder / "maps" / f"map{k}.zarr" for k in range(2)]
    with pytest.raises(ArgumentError, match="labels: 1 labels for 2 maps"):
        fullfield.evaluate(maps, [folder / "labels.csv"])
    with pytest.raises(ArgumentError, match="labels: are one for 2 maps"):
        fullfield.evaluate(maps, np.ones((32, 40), np.uint8))
    (folder / "empty").mkdir()
    with pytest.raises(ImageError, match=r"holds no labels of .*\n  fix: name a file slide 0.geojson"):
        fullfield.evaluate(maps, folder / "empty")
    with pytest.raises(ImageError, match="is a folder without results of scans"):
        fullfield.evaluate(folder / "empty", folder / "labels.csv")
    with pytest.raises(ImageError, match="scores: there are none"):
        fullfield.evaluate([], folder / "labels.csv")
    other = scores_of(probabilities(np.random.default_rng(0), 2, 6, 8))
    with pytest.raises(ImageError, match="has other classes than"):
        fullfield.evaluate([maps[0], other], folder / "labels.csv")
