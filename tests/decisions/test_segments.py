import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fullfield import BudgetError, FullfieldError, Georeference, Placement, Scores, Segmentation
from fullfield.decisions import label_pixels
from fullfield.decisions.segment import segment
from fullfield.exporters import Options, export
from fullfield.image.raster import ArrayRaster, ImageMetadata
from fullfield.store.array_map import ArrayMap
from tests.decisions import mosaic
from tests.exporters.maps import placed, score_map

rasterio = pytest.importorskip("rasterio")


def smooth(placement: Placement, classes: int = 3, seed: int = 0, **more: Any) -> Scores:
    """Logits that change slowly from cell to cell."""
    rng = np.random.default_rng(seed)
    array = ndimage.gaussian_filter(rng.normal(size=(classes, *placement.shape)), (0, 2, 2))
    return Scores.from_array((4 * array / array.std()).astype(np.float32), placement, **more)


def place(side: int = 200, step: int = 8, window: int = 24) -> Placement:
    return Placement((step, step), (window, window), (side, side), (side, side))


def photo(side: int = 200, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    smoothed = ndimage.gaussian_filter(rng.normal(size=(side, side, 3)), (4, 4, 0))
    return (128 + 300 * smoothed).clip(0, 255).astype(np.uint8)


# -- Labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_labels_without_options_are_those_of_an_export_at_the_resolution_of_the_image(
    tmp_path: Path, dtype: str
) -> None:
    scores = score_map(4, dtype=dtype, placement=placed(padding=(-7, 0, -2, -5)))
    found, _ = segment(ArrayMap(scores.array, scores.spec), Segmentation())
    export(scores, tmp_path / "a.npy", options=Options(labels=True, resolution="image", resample="bilinear"))
    wanted = np.load(tmp_path / "a.npy")[0]
    ours = found.read(0, 300, 0, 400)[0]
    assert ours.dtype == wanted.dtype == np.uint8
    assert np.count_nonzero(ours != wanted) <= 2  # scores that are equal up to rounding
    assert np.count_nonzero(wanted != 255) > 40_000


def test_scores_are_interpolated_to_the_centre_of_each_pixel_by_hand() -> None:
    place = Placement((4, 4), (8, 8), (16, 16), (16, 16))
    array = np.random.default_rng(0).normal(size=(2, *place.shape))
    found = np.asarray(Scores.from_array(array, place).segments())
    for y, x in np.ndindex(16, 16):
        i, j = (y + 0.5 - 4) / 4, (x + 0.5 - 4) / 4  # in cells, from the first centre
        if not (-0.5 <= i < 2.5 and -0.5 <= j < 2.5):
            assert found[y, x] == -1
            continue
        i, j = min(max(i, 0), 2), min(max(j, 0), 2)
        a, b = min(int(i), 1), min(int(j), 1)
        u, v = i - a, j - b
        values = (
            array[:, a, b] * (1 - u) * (1 - v)
            + array[:, a, b + 1] * (1 - u) * v
            + array[:, a + 1, b] * u * (1 - v)
            + array[:, a + 1, b + 1] * u * v
        )
        assert found[y, x] == values.argmax()


@pytest.mark.parametrize(("side", "step", "window"), [(84, 8, 24), (101, 7, 15), (64, 32, 24)])
def test_scans_beyond_the_edge_give_a_class_to_every_pixel(side: int, step: int, window: int) -> None:
    rows = -(-side // step)  # centred on the first pixel and every step on
    low = window // 2
    high = max(0, (rows - 1) * step + window - low - side)
    place = Placement((step, step), (window, window), (side, side), (side, side), (low, high, low, high))
    assert place.shape == (rows, rows)
    assert (np.asarray(smooth(place).segments()) >= 0).all()


def test_a_coarser_resolution_gives_the_labels_of_an_export_at_that_size(tmp_path: Path) -> None:
    scores = smooth(place(step=2))
    export(scores.map, tmp_path / "a.npy", options=Options(labels=True, resolution=(60, 45), resample="bilinear"))
    found = scores.segments(Segmentation(resolution=(60, 45)))
    assert np.count_nonzero(found.labels.map.read(0, 60, 0, 45) != np.load(tmp_path / "a.npy")) <= 2
    assert found.labels.placement.centre(0, 0) == pytest.approx((200 / 120, 200 / 90))


OPTIONS = [
    Segmentation(),
    Segmentation(activation="softmax", threshold=(0.5, 0.8), min_area=60, fill_holes=200),
    Segmentation(activation="softmax", guided=5, min_area=30),
    Segmentation(guided=9, threshold={1: 0.5, 2: (0.0, 2.0)}, fill_holes=1e9, resolution=(150, 90)),
]


@pytest.mark.parametrize("how", OPTIONS, ids=str)
def test_the_segments_are_the_same_bits_whatever_the_budget_and_the_blocks(
    how: Segmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = smooth(place(), seed=3).array.copy()
    array[:, 5:9, 11:14] = math.nan
    scores, image = Scores.from_array(array, place()), photo()
    wanted = scores.segments(how, image=image)
    for side, budget in ((17, "100MB"), (64, "40MB"), (150, "15MB" if how.guided is None else "300MB")):
        monkeypatch.setattr(label_pixels, "_SIDE", side)
        found = scores.segments(how, image=image, budget=budget)
        assert found.counts == wanted.counts
        assert np.array_equal(found, wanted)
    assert wanted.count > 1


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_interpolated_and_filtered_scores_are_the_same_bits_in_blocks_of_any_size(activation: Any) -> None:
    from fullfield.decisions.guide import open_guide
    from fullfield.decisions.pixel_scores import PixelScores

    scores, guide = smooth(place(), classes=12), open_guide(photo(), (200, 200), (200, 200))
    pixels = PixelScores(scores.map, tuple(range(12)), activation, (200, 200))
    span = label_pixels._range(pixels)
    whole_valid, planes = label_pixels._filtered(pixels, 6, 1e-3, guide, span, (0, 200, 0, 200))
    whole = np.array(list(planes))
    for region in ((0, 1, 0, 1), (3, 20, 100, 101), (150, 200, 37, 180), (12, 13, 0, 200)):
        valid, planes = label_pixels._filtered(pixels, 6, 1e-3, guide, span, region)
        at = slice(region[0], region[1]), slice(region[2], region[3])
        assert np.array_equal(valid, whole_valid[at])
        assert np.array_equal(np.array(list(planes)), whole[(slice(None), *at)])


@pytest.mark.parametrize("classes", [2, 9, 300])
def test_probabilities_are_the_same_bits_in_a_map_of_any_shape(classes: int) -> None:
    from fullfield.decisions.pixel_scores import wide_activated

    scores = np.random.default_rng(0).normal(0, 9, (classes, 9, 11)).astype(np.float32)
    for given in (scores, np.asfortranarray(scores), scores.transpose(0, 2, 1)):
        whole = wide_activated(given, "softmax")
        for y, y_end, x, x_end in ((0, 1, 0, 1), (3, 4, 0, 9), (2, 9, 5, 6), (0, 9, 0, 9), (4, 6, 7, 9)):
            part = wide_activated(given[:, y:y_end, x:x_end], "softmax")
            assert np.array_equal(part, whole[:, y:y_end, x:x_end])


# -- Cleaning ----------------------------------------------------------------------------------------------------------


def steps(labels: NDArray[Any]) -> Scores:
    """A map whose cells are pixels: class 0 or 1 by its score, NaN for none."""
    planes = np.array([np.where(labels == k, 1.0, 0.0) for k in range(int(np.nanmax(labels)) + 1)])
    planes[:, np.isnan(labels)] = math.nan
    shape = labels.shape
    return Scores.from_array(planes, Placement((1, 1), (1, 1), shape, shape))


def drawn(*rows: str) -> NDArray[Any]:
    """Labels from letters; a space is a pixel without a score."""
    return np.array([[math.nan if letter == " " else ord(letter) - ord("a") for letter in row] for row in rows])


def shown(segments: Any) -> list[str]:
    return ["".join("." if label < 0 else chr(ord("a") + label) for label in row) for row in np.asarray(segments)]


def test_a_small_segment_joins_the_neighbour_with_the_longest_border() -> None:
    labels = drawn("aaaabbbb", "aaaccbbb", "aaaaccbb", "aaaabbbb")
    found = steps(labels).segments(Segmentation(min_area=5))
    assert shown(found) == ["aaaabbbb", "aaabbbbb", "aaaabbbb", "aaaabbbb"]  # 4 sides with a, 6 with b
    assert [each.segments for each in found.counts] == [1, 1, 0]
    assert [each.area for each in found.counts] == [15, 17, 0]


def test_small_segments_that_touch_only_small_ones_wait_for_these() -> None:
    labels = drawn("ab ", "bcb", " ba", "aaa", "aaa")  # c touches only b
    found = steps(labels).segments(Segmentation(min_area=3))
    assert shown(found) == ["aa.", "aaa", ".aa", "aaa", "aaa"]


def test_small_segments_among_pixels_without_a_score_have_no_class() -> None:
    labels = drawn("aa  ", "a   ", "   b", " bbb")
    found = steps(labels).segments(Segmentation(min_area=4))
    assert shown(found) == ["....", "....", "...b", ".bbb"]


def test_segments_of_the_least_area_stay() -> None:
    labels = drawn("aaaa", "abba", "aaaa")
    assert shown(steps(labels).segments(Segmentation(min_area=2)))[1] == "abba"
    assert shown(steps(labels).segments(Segmentation(min_area=3)))[1] == "aaaa"


def test_holes_inside_one_class_are_filled_up_to_an_area() -> None:
    labels = drawn("aaaaaaabb", "a aa  abb", "aaaa  ab ", "aaaaaaabb", "aaa bbbbb")
    found = steps(labels).segments(Segmentation(fill_holes=3))
    assert shown(found) == ["aaaaaaabb", "aaaa..abb", "aaaa..ab.", "aaaaaaabb", "aaa.bbbbb"]
    assert shown(steps(labels).segments(Segmentation(fill_holes=4)))[1] == "aaaaaaabb"


def test_hysteresis_keeps_weak_pixels_that_are_connected_to_strong_ones() -> None:
    row = np.array([[[0.9, 0.5, 0.5, 0.1, 0.5, 0.5, 0.1, 0.4, 0.8, 0.3]]])
    scores = Scores.from_array(row, Placement((1, 1), (1, 1), (1, 10), (1, 10)), class_names=("crack",))
    assert shown(scores.segments(Segmentation(threshold=(0.4, 0.8)))) == ["aaa....aa."]
    assert shown(scores.segments(Segmentation(threshold=0.5))) == ["aaa.aa..a."]
    assert shown(scores.segments(Segmentation(threshold={"crack": (0.1, 0.95)}))) == [".........."]


def test_hysteresis_keeps_the_weak_regions_of_scipy_that_hold_a_strong_pixel() -> None:
    scores = smooth(place(step=2), classes=1)
    weak, strong = (np.asarray(scores.segments(Segmentation(threshold=least))) == 0 for least in (1, 5))
    labels, count = ndimage.label(weak)
    kept = np.isin(labels, np.unique(labels[strong]))
    found = scores.segments(Segmentation(threshold=(1, 5)))
    assert np.array_equal(np.asarray(found) == 0, kept)
    assert 0 < found.count < count


def test_small_segments_below_the_threshold_of_others_vanish_into_what_surrounds_them() -> None:
    rng = np.random.default_rng(0)
    array = ndimage.gaussian_filter(rng.normal(size=(1, 80, 80)), (0, 2, 2))
    scores = Scores.from_array(array, Placement((1, 1), (1, 1), (80, 80), (80, 80)))
    inside = array[0] >= 0.05
    labels, count = ndimage.label(inside)
    areas = np.bincount(labels.ravel())
    kept = inside & (areas[labels] >= 40)
    found = scores.segments(Segmentation(threshold=0.05, min_area=40))
    assert np.array_equal(np.asarray(found) == 0, kept)
    assert 0 < found.count < count
    assert found.count == ndimage.label(kept)[1]


def test_areas_count_pixels_of_the_image_at_any_resolution() -> None:
    scores = smooth(place(step=4), seed=1)
    found = scores.segments(Segmentation(resolution=(100, 100), min_area=400, activation="softmax"))
    for k, each in enumerate(found.counts):
        mask = np.asarray(found) == k
        labels, count = ndimage.label(mask)
        assert (each.segments, each.area) == (count, mask.sum())
        assert np.bincount(labels.ravel(), minlength=2)[1:].min(initial=100) >= 100  # 400 px of the image


# -- Files -------------------------------------------------------------------------------------------------------------


def test_a_geotiff_has_the_labels_of_each_pixel_where_the_image_has_the_pixel(tmp_path: Path) -> None:
    reference = Georeference("EPSG:32633", (0.5, 0.0, 400000.0, 0.0, -0.5, 5400000.0))
    scores = smooth(place(), georeference=reference, class_names=("a", "b", "c"))
    found = scores.segments(Segmentation(activation="softmax", threshold=0.5))
    found.save(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.transform[:6] == reference.transform
        assert file.crs.to_epsg() == 32633
        labels = file.read(1)
        assert np.array_equal(file.read_masks(1) > 0, np.asarray(found) >= 0)
        assert file.tags(1)["CLASS_2"] == "c"
        assert json.loads(file.tags()["FULLFIELD"])["provenance"]["segmentation"]["threshold"] == 0.5
    assert np.array_equal(labels.astype(int), np.where(np.asarray(found) < 0, 255, np.asarray(found)))


def test_a_geojson_has_a_polygon_of_the_same_area_for_each_segment(tmp_path: Path) -> None:
    from shapely.geometry import shape

    found = smooth(place(), class_names=("a", "b", "c")).segments(Segmentation(min_area=100))
    written = found.save(tmp_path / "a.geojson")
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert written.detections == len(features) == found.count
    for each in found.counts:
        polygons = [shape(f["geometry"]) for f in features if f["properties"]["classification"]["name"] == each.name]
        assert len(polygons) == each.segments
        assert sum(polygon.area for polygon in polygons) == each.area


def test_vector_files_and_tables_have_the_segments_in_the_coordinates_of_the_map(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    import pandas

    reference = Georeference("EPSG:32633", (0.5, 0.0, 400000.0, 0.0, -0.5, 5400000.0))
    found = smooth(place(), class_names=("a", "b", "c"), georeference=reference).segments(Segmentation(min_area=100))
    for suffix in (".gpkg", ".csv"):
        assert found.save(tmp_path / f"a{suffix}").detections == found.count
    shapes = geopandas.read_file(tmp_path / "a.gpkg")
    assert shapes.crs.to_epsg() == 32633
    assert shapes.area.sum() * 4 == pytest.approx(sum(each.area for each in found.counts))
    rows = pandas.read_csv(tmp_path / "a.csv")
    assert rows["class"].value_counts().to_dict() == {each.name: each.segments for each in found.counts}


@pytest.mark.parametrize("suffix", [".ome.tif", ".npy", ".png", ".zarr"])
def test_other_formats_hold_the_labels(tmp_path: Path, suffix: str) -> None:
    found = smooth(place(), class_names=("a", "b", "c")).segments()
    target = tmp_path / f"a{suffix}"
    found.save(target)
    if suffix == ".zarr":
        from fullfield import open_scores

        stored = open_scores(target)
        assert stored.kind == "labels"
        assert stored.placement == found.labels.placement
        assert np.array_equal(stored.top(), found)
        return
    if suffix == ".npy":
        labels = np.load(target)[0]
    elif suffix == ".png":
        from PIL import Image

        labels = np.asarray(Image.open(target))
    else:
        import tifffile

        labels = tifffile.imread(target)
    assert np.array_equal(np.where(labels == 255, -1, labels.astype(int)), found)


def test_segments_can_be_drawn_and_described() -> None:
    found = smooth(place(), class_names=("a", "b", "c")).segments(Segmentation(min_area=100))
    text = ", ".join(f"{each.name} {each.segments}" for each in found.counts)
    assert repr(found) == f"Segments({found.count} of 3 classes ({text}), 200x200 px)"
    assert found.labels.overlay(photo()).size[0] >= 200
    assert "<table" in found._repr_html_()


def test_segments_go_to_xarray_and_dask() -> None:
    pytest.importorskip("xarray")
    found = smooth(place(), class_names=("a", "b", "c")).segments()
    array = found.labels.to_xarray()
    assert array.dims == ("y", "x")
    assert (float(array.y[0]), float(array.x[199])) == (0.5, 199.5)
    assert np.array_equal(array.astype(int).where(array != 255, -1), found)


def test_a_full_disk_is_one_error_that_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import tempfile

    class Full:
        def __init__(self, **settings: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(FullfieldError, match=r"(?s)needs up to 80000 bytes.*another folder in TMPDIR"):
        smooth(place()).segments()


# -- Accuracy ----------------------------------------------------------------------------------------------------------


def test_the_guided_filter_brings_borders_of_textures_closer_to_the_truth() -> None:
    image, truth = mosaic.mosaic()
    scores = mosaic.scanned(image)
    plain, filtered, cleaned = (
        mosaic.agreement(np.asarray(scores.segments(how, image=image)), truth)
        for how in (
            Segmentation(),
            Segmentation(activation="softmax", guided=16),
            Segmentation(activation="softmax", guided=16, min_area=100),
        )
    )
    assert filtered[1] > plain[1] + 0.04  # of the pixels near borders
    assert filtered[2] > plain[2] + 0.03  # intersection over union
    assert cleaned[1] > filtered[1]
    assert cleaned[2] > filtered[2]


# -- Bad input ---------------------------------------------------------------------------------------------------------


def named() -> Scores:
    return smooth(place(), class_names=("a", "b", "c"))


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"threshold": (0.7, 0.3)}, "threshold: low 0.7 is above high 0.3"),
        ({"threshold": "much"}, "threshold: 'much' is not one or two numbers"),
        ({"threshold": (0.1, 0.2, 0.3)}, "is not one or two numbers"),
        ({"threshold": math.nan}, "is not one or two numbers"),
        ({"threshold": {"d": 0.5}}, "'d' is not one of the 3 classes"),
        ({"threshold": {"a": 0.5}, "classes": ["b", "c"]}, "'a' is none of the classes that are compared"),
        ({"classes": "b"}, "of a single class every pixel would be part of it"),
        ({"classes": ["b", "q"]}, "'q' is not one of the 3 classes"),
        ({"classes": []}, "none is chosen"),
        ({"activation": "relu"}, "activation: 'relu' is not known"),
        ({"guided": 0}, "guided: 0 is no radius"),
        ({"guided": 2.5}, "guided: 2.5 is no radius"),
        ({"guided": 8}, "guided: needs the image that was scanned"),
        ({"guided": 8, "epsilon": 0}, "epsilon: 0 is not 1e-06 or more"),
        ({"min_area": -1}, "min_area: -1 is no area"),
        ({"fill_holes": math.nan}, "fill_holes: nan is no area"),
        ({"resolution": "cells"}, "resolution: 'cells' is not known"),
        ({"resolution": (0, 5)}, "resolution: (0, 5) is not one or two positive integers"),
        ({"resolution": (400, 400)}, "400x400 px are more than the image's 200x200"),
    ],
)
def test_options_that_make_no_sense_are_refused(how: dict[str, Any], text: str) -> None:
    with pytest.raises(FullfieldError) as caught:
        named().segments(Segmentation(**how))
    assert text in str(caught.value)
    assert "fix:" in str(caught.value)


def test_unknown_options_name_the_ones_that_were_meant() -> None:
    with pytest.raises(FullfieldError, match="did you mean min_area"):
        Segmentation(minarea=3)  # type: ignore[call-arg]
    with pytest.raises(FullfieldError, match=r"write how=Segmentation\(\.\.\.\)"):
        named().segments({"guided": 3})  # type: ignore[arg-type]


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(FullfieldError, match="the image has 100x100 px, the scores are of an image of 200x200 px"):
        named().segments(Segmentation(guided=4), image=photo(100))


def test_maps_of_labels_and_maps_without_a_score_are_refused(tmp_path: Path) -> None:
    labels = named().segments().labels
    with pytest.raises(FullfieldError, match="a map of labels has no scores"):
        labels.segments()
    empty = Scores.from_array(np.full((2, *place().shape), math.nan), place())
    with pytest.raises(FullfieldError, match="no cell has a score"):
        empty.segments()
    probabilities = Scores.from_array(np.ones((2, *place().shape)), place(), activation="softmax")
    with pytest.raises(FullfieldError, match="went through softmax already"):
        probabilities.segments(Segmentation(activation="sigmoid"))


def test_softmax_of_some_of_the_classes_is_refused() -> None:
    some = smooth(place(), provenance={"settings": {"encoding": {"classes": [0, 1, 2]}}})
    with pytest.raises(FullfieldError, match="softmax needs the scores of all classes"):
        some.segments(Segmentation(activation="softmax"))


def test_a_budget_that_is_too_small_is_refused() -> None:
    with pytest.raises(BudgetError, match="are allowed"):
        named().segments(Segmentation(guided=60), image=photo(), budget="5MB")
    rng = np.random.default_rng(0)
    noise = Scores.from_array(rng.normal(size=(3, 700, 700)), Placement((1, 1), (1, 1), (700, 700), (700, 700)))
    with pytest.raises(BudgetError, match="segments so far need"):
        noise.segments(Segmentation(min_area=9), budget="12MB")
    assert noise.segments(Segmentation(min_area=9)).count < 700 * 700 / 9


def test_images_of_other_types_and_with_invalid_pixels_are_followed() -> None:
    scores, image = named(), photo()
    how = Segmentation(activation="softmax", guided=6)
    wanted = np.asarray(scores.segments(how, image=image))
    sixteen = np.asarray(scores.segments(how, image=ArrayRaster(
        image.astype(np.uint16) * 16, "a", ImageMetadata({}, (64, 64), value_range=(0, 255 * 16))
    )))  # fmt: skip
    assert np.mean(sixteen != wanted) < 0.001
    alpha = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    assert np.array_equal(scores.segments(how, image=alpha), wanted)
    nodata = image.copy()
    nodata[50:90, 60:120] = 0
    raster = ArrayRaster(nodata, "a", ImageMetadata({}, (64, 64), nodata=0))
    found = np.asarray(scores.segments(how, image=raster))
    assert (
        found[50:90, 60:120] == np.asarray(scores.segments(Segmentation(activation="softmax")))[50:90, 60:120]
    ).all()
    assert np.array_equal(found[:30], wanted[:30])
