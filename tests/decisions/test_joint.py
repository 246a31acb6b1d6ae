"""Decisions of several maps of one image, against brute force: weights pixel by pixel of the image itself."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fullfield.decisions.decide import decide_map
from fullfield.decisions.joint import JointValues, decide_maps, decide_maps_regions
from fullfield.decisions.rule import DecisionRule
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.store.array_map import ArrayMap
from fullfield.store.encoding import activated
from fullfield.store.maps import MapSpec
from fullfield.store.shards import default_shard
from tests.decisions.brute_force import top_mean, weighted_mean, weighted_quantile
from tests.decisions.brute_force import weights as brute_weights

IMAGE = 120, 90
PLACES = {
    scale: Placement((3, 5), (16, 16), IMAGE, (round(IMAGE[0] * scale), round(IMAGE[1] * scale)))
    for scale in (0.5, 1.0, 1.5)
}


def map_of(array: np.ndarray, placement: Placement) -> ArrayMap:
    shard = default_shard(len(array), str(array.dtype))
    return ArrayMap(array, MapSpec(array.shape, str(array.dtype), shard, placement, classes=(0, 1, 2)))


def arrays(count: int = 2, *, masked: bool = True) -> list[list[np.ndarray]]:
    """Scores of each size and view; some windows have none, and one class has NaN in one view alone."""
    rng = np.random.default_rng(0)
    found = [
        [rng.standard_normal((3, *place.shape)).astype(np.float32) for _ in range(count)] for place in PLACES.values()
    ]
    if masked:
        for views, place in zip(found, PLACES.values(), strict=True):
            y, x = np.indices(place.shape)
            for array in views:
                array[:, y * place.shape[1] + x * place.shape[0] < place.shape[0] * place.shape[1] // 2] = np.nan
            views[-1][1, -1, -1] = np.nan
    return found


def maps_of(found: list[list[np.ndarray]]) -> list[list[ArrayMap]]:
    return [[map_of(array, place) for array in views] for views, place in zip(found, PLACES.values(), strict=True)]


def brute(found: list[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Values ``(classes, n)`` and weights ``(n,)`` in px of the image of the windows of all sizes."""
    values, weights = [], []
    for views, place in zip(found, PLACES.values(), strict=True):
        mean = np.mean([array.astype(np.float64) for array in views], axis=0)
        weight, _ = brute_weights(place, ~np.isnan(views[0]).all(axis=0))
        values.append(mean.reshape(3, -1))
        weights.append(weight.ravel() / math.prod(place.scale))
    return np.concatenate(values, axis=1), np.concatenate(weights)


@pytest.mark.parametrize("masked", [False, True])
def test_maps_are_decided_as_by_brute_force(masked: bool) -> None:
    found = arrays(masked=masked)
    values, weight = brute(found)
    maps = maps_of(found)
    mean = decide_maps(maps, DecisionRule("mean"))
    np.testing.assert_allclose(mean.scores, [weighted_mean(band, weight) for band in values], rtol=1e-11, atol=1e-12)
    assert mean.windows == int((weight > 0).sum())
    there = [band[(weight > 0) & ~np.isnan(band)] for band in values]
    assert decide_maps(maps, DecisionRule("max")).scores.tolist() == [band.max() for band in there]
    np.testing.assert_allclose(
        decide_maps(maps, DecisionRule("top-k:7")).scores, [top_mean(band, 7) for band in there], rtol=1e-14, atol=0
    )
    for part in (0.0, 0.31, 0.77, 1.0):
        wanted = [weighted_quantile(band, weight, part) for band in values]
        assert decide_maps(maps, DecisionRule(f"quantile:{part}")).scores.tolist() == wanted
    for beta in (1.0, 4.0):
        wanted = [math.log(weighted_mean(np.exp(beta * band), weight)) / beta for band in values]
        np.testing.assert_allclose(decide_maps(maps, DecisionRule(f"log-sum-exp:{beta}")).scores, wanted, rtol=1e-11)


def test_probabilities_are_averaged_after_softmax() -> None:
    found = arrays()
    probabilities = [[activated(array.astype(np.float64) / 2, "softmax") for array in views] for views in found]
    values, weight = brute(probabilities)  # type: ignore[arg-type]
    decision = decide_maps(maps_of(found), DecisionRule("mean", on="softmax", temperature=2.0))
    expected = [weighted_mean(band, weight) for band in values]
    np.testing.assert_allclose(decision.scores, expected, rtol=1e-11, atol=0)
    assert abs(decision.scores.sum() - 1) < 1e-12


def test_each_size_counts_every_pixel_it_covers_once() -> None:
    """However many windows it has: sizes that cover the whole image weigh alike."""
    places = [Placement((4, 4), (16, 16), (64, 64), (64 * k, 64 * k)) for k in (1, 2, 3)]
    arrays = [
        np.full((3, *place.shape), value, np.float64) for place, value in zip(places, (0.0, 1.0, 5.0), strict=True)
    ]
    maps = [[map_of(array, place)] for array, place in zip(arrays, places, strict=True)]
    np.testing.assert_allclose(decide_maps(maps, DecisionRule("mean")).scores, 2.0, rtol=1e-12)
    rule = DecisionRule("quantile:0.67")
    assert decide_maps(maps, rule).scores.tolist() == [5.0, 5.0, 5.0]
    assert decide_maps(maps, DecisionRule("quantile:0.66")).scores.tolist() == [1.0, 1.0, 1.0]
    assert decide_maps(maps, rule).effective == decide_map(maps[2][0], rule).effective == 144


def test_a_single_map_is_decided_as_alone() -> None:
    alone = map_of(arrays()[1][0], PLACES[1.0])
    for how in ("mean", "max", "quantile:0.4", "top-k:5", "log-sum-exp"):
        expected, found = decide_map(alone, DecisionRule(how)), decide_maps([[alone]], DecisionRule(how))
        assert found.to_dict() == expected.to_dict()


def test_the_bits_do_not_depend_on_chunks() -> None:
    """Maps of another type have other chunks."""
    found = arrays()
    wide = [[array.astype(np.float64) for array in views] for views in found]
    for how in ("mean", "quantile:0.4", "log-sum-exp"):
        one, other = (decide_maps(maps_of(each), DecisionRule(how)).scores for each in (found, wide))
        assert one.tolist() == other.tolist()


def test_noisy_or_of_several_sizes_says_what_it_supposes() -> None:
    places = [Placement((16, 16), (16, 16), (64, 64), (64 * k, 64 * k)) for k in (1, 2)]
    maps = [[map_of(np.full((3, *place.shape), 0.1), place)] for place in places]
    decision = decide_maps(maps, DecisionRule("noisy-or"))
    np.testing.assert_allclose(decision.scores, 1 - 0.9 ** (16 + 64), rtol=1e-12)
    assert decision.remark == "noisy-or takes windows as independent, and 2 sizes show the same pixels"


def test_regions_take_their_windows_of_every_size(tmp_path: Path) -> None:
    def square(y: int, x: int, side: int, name: str) -> dict[str, object]:
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        return {"type": "Feature", "properties": {"name": name}, "geometry": {"type": "Polygon", "coordinates": [ring]}}

    features = [square(5, 5, 30, "a"), square(70, 40, 20, "b")]
    path = tmp_path / "r.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = arrays(masked=False)
    decisions = decide_maps_regions(maps_of(found), DecisionRule("max", regions=path))
    alone = [decide_maps_regions([maps], DecisionRule("max", regions=path)) for maps in maps_of(found)]
    for number, decision in enumerate(decisions):
        assert decision.region is not None
        assert decision.region.name == "ab"[number]
        each = [parts[number] for parts in alone]
        assert decision.windows == sum(part.windows for part in each)
        np.testing.assert_array_equal(decision.scores, np.max([part.scores for part in each], axis=0))
    for views in found:
        for array in views:
            array[:] = np.nan
    with pytest.raises(ImageError, match="no window with a score touches region 0, 'a'"):
        decide_maps_regions(maps_of(found), DecisionRule("max", regions=path))
    with pytest.raises(ImageError, match="none of the windows of any size has a score"):
        decide_maps(maps_of(found), DecisionRule("max"))


def test_a_size_without_scores_is_left_out() -> None:
    found = arrays(masked=False)
    for array in found[0]:
        array[:] = np.nan
    rest = maps_of(found)[1:]
    one, other = decide_maps(maps_of(found), DecisionRule("mean")), decide_maps(rest, DecisionRule("mean"))
    assert (one.scores.tolist(), one.windows) == (other.scores.tolist(), other.windows)


def test_values_of_all_sizes_are_streamed_in_chunks() -> None:
    maps = maps_of(arrays())
    from fullfield.decisions.selected import select
    from fullfield.decisions.values import values_of

    sizes = tuple(tuple(values_of(each, (0, 2), select(views[0]), "scores") for each in views) for views in maps)
    parts = list(JointValues(sizes).parts())
    assert {part.series for part in parts} == {0, 1}
    assert sum(len(part.values) for part in parts if part.series == 0) == sum(select(views[0]).count for views in maps)
