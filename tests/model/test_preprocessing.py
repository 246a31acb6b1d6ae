"""Preprocessing as a value: its sources, its text form, its errors."""

import json
from typing import Any

import numpy as np
import pytest

from fullfield.errors import CaptureError
from fullfield.model.preprocessing import PRESETS, Preprocessing, preset


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_being_written(name: str) -> None:
    assert Preprocessing.from_json(PRESETS[name].to_json()) == PRESETS[name]


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(CaptureError, match="order 'RBG' is not known"):
        Preprocessing(order="RBG")  # type: ignore[arg-type]


def test_a_deviation_of_zero_is_refused() -> None:
    with pytest.raises(CaptureError, match="has a zero"):
        Preprocessing(std=(1.0, 0.0, 1.0))


GOOD = json.loads(PRESETS["imagenet"].to_json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "null",
        "{}",
        json.dumps(GOOD | {"mean": None}),
        json.dumps(GOOD | {"scale": None}),
        json.dumps(GOOD | {"std": ["wide"]}),
        json.dumps(GOOD | {"value_range": [0]}),
    ],
)
def test_metadata_of_another_shape_is_one_clear_error(text: str) -> None:
    with pytest.raises(CaptureError, match=r"(?s)^preprocessing metadata: cannot be read .*fix: pass preprocessing="):
        Preprocessing.from_json(text)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"mean": "half"}, "mean 'half' is not one number, or one for each channel"),
        ({"mean": ()}, "mean"),
        ({"std": (1.0, None)}, "std"),
        ({"std": float("nan")}, "std nan"),
        ({"scale": None}, "scale None is not one number"),
        ({"scale": (1.0, 2.0)}, "scale"),
        ({"value_range": (0,)}, "value_range .* is not two numbers"),
        ({"value_range": 255}, "value_range 255"),
    ],
)
def test_values_that_are_no_numbers_are_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(CaptureError, match=f"preprocessing: {text}"):
        Preprocessing(**values)


def test_one_number_lists_and_arrays_are_tuples() -> None:
    value = Preprocessing(scale=1, mean=0.5, std=np.float32([1, 2, 4]), value_range=[0, 1])  # type: ignore[arg-type]
    assert (value.scale, value.mean, value.std, value.value_range) == (1.0, (0.5,), (1.0, 2.0, 4.0), (0.0, 1.0))


def test_a_preset_is_found_by_its_name_and_another_name_refused() -> None:
    assert preset("unit") is PRESETS["unit"]
    with pytest.raises(CaptureError, match=r"preprocessing: 'nonsense' is not a preset\n  fix: use one of .*unit"):
        preset("nonsense")
