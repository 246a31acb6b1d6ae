"""The record Where: checked when it is made, with a short repr and plain JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fullfield
from fullfield.errors import FullfieldError, GeometryError
from fullfield.image.raster import ArrayRaster, ImageMetadata
from fullfield.mask.background import Foreground
from fullfield.mask.where import Where

FOREGROUND = Foreground(np.eye(4, dtype=np.bool_), np.zeros((4, 4, 3), np.uint8), (40, 40), "bright")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"region": "0:10;0:10"}, "region: '0:10;0:10' is not a region"),
        ({"region": (0, 10, 0)}, "region: (0, 10, 0) is not a region"),
        ({"region": ((0, 10), (-1, 5))}, "region: ((0, 10), (-1, 5)) is not a region"),
        ({"region": (slice(0, 10, 2), slice(0, 5))}, "is not a region"),
        ({"region": "5:5,:"}, "region: y 5:5 is empty"),
        ({"region": (0, 10, 7, 3)}, "region: x 7:3 is empty"),
        ({"region": (None, 0, 0, 3)}, "region: y 0:0 is empty"),
        ({"coordinates": "degrees"}, "coordinates: 'degrees' is not known"),
        ({"min_coverage": 1.5}, "min_coverage: 1.5 is not from 0 to 1"),
        ({"min_coverage": True}, "min_coverage: True is not from 0 to 1"),
        ({"edge": "wrap"}, "edge: 'wrap' is not known"),
    ],
    ids=str,
)
def test_errors_that_need_no_image_are_raised_at_once(given: dict[str, object], text: str) -> None:
    with pytest.raises(GeometryError) as error:
        Where(**given)  # type: ignore[arg-type]
    assert text in str(error.value)


@pytest.mark.parametrize("region", ["0:10,5:", (0, 10, 5, None), ((0, 10), (5, None)), (slice(0, 10), slice(5, None))])
def test_a_region_is_taken_in_every_form(region: object) -> None:
    where = Where(region=region)  # type: ignore[arg-type]
    assert where.region is region
    assert json.loads(json.dumps(where.to_json()))["region"] in ("0:10,5:", [0, 10, 5, None], [[0, 10], [5, None]])


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (Where(), "Where()"),
        (Where(region="0:10,0:10", min_coverage=0), "Where(region='0:10,0:10')"),
        (Where(mask=Path("a.png"), edge="reflect"), "Where(mask='a.png', edge='reflect')"),
        (Where(mask=np.ones((30, 20))), "Where(mask=<ndarray (30, 20)>)"),
        (Where(mask=ArrayRaster(np.ones((3, 2, 1)), "a.tif")), "Where(mask=<a.tif>)"),
        (Where(mask=object(), coordinates="map"), "Where(mask=<object>, coordinates='map')"),
        (Where(skip_background=True, min_coverage=0.5), "Where(skip_background=True, min_coverage=0.5)"),
        (Where(skip_background=FOREGROUND), "Where(skip_background=<foreground, 25.0% of the image>)"),
    ],
    ids=str,
)
def test_only_what_was_given_is_shown(where: Where, text: str) -> None:
    assert repr(where) == text


def test_the_facts_have_the_names_that_journals_have() -> None:
    assert Where().to_json() == {
        "region": None,
        "mask": None,
        "coordinates": "auto",
        "skip_background": False,
        "min_coverage": 0.0,
    }


def test_the_facts_differ_when_the_mask_does(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    array = np.ones((4, 4), np.bool_)
    raster = ArrayRaster(array[:, :, None], "a", ImageMetadata({"size": 5}, (4, 4)))
    masks = [None, tmp_path / "a", str(tmp_path / "b"), array, ~array, raster]
    facts = [json.dumps(Where(mask=mask).to_json()) for mask in masks]
    assert len(set(facts)) == len(masks)
    assert Where(mask=raster).to_json()["mask"] == {"size": 5}


def test_the_facts_differ_when_the_foreground_does() -> None:
    other = Foreground(~FOREGROUND.inside, FOREGROUND.thumbnail, FOREGROUND.size, FOREGROUND.background)
    ways: list[bool | Foreground] = [False, True, FOREGROUND, other]
    assert len({json.dumps(Where(skip_background=way).to_json()) for way in ways}) == 4


def test_an_unknown_field_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(FullfieldError, match=r"Where: has no argument 'masks'\n  fix: did you mean mask\?"):
        Where(masks="a.png")  # type: ignore[call-arg]


def test_the_record_is_public() -> None:
    assert fullfield.Where is Where
