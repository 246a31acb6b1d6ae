"""Preprocessing as a value: its sources, its text form, its errors."""

import json

import pytest

from fullfield.errors import CaptureError
from fullfield.model.preprocessing import PRESETS, Preprocessing, from_timm, resolve


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
        json.dumps(GOOD | {"mean": 0.5}),
        json.dumps(GOOD | {"scale": None}),
        json.dumps(GOOD | {"std": ["wide"]}),
        json.dumps(GOOD | {"value_range": [0]}),
    ],
)
def test_metadata_of_another_shape_is_one_clear_error(text: str) -> None:
    with pytest.raises(CaptureError, match=r"(?s)^preprocessing metadata: cannot be read .*fix: pass preprocessing="):
        Preprocessing.from_json(text)


def test_the_callers_choice_goes_before_the_models_own() -> None:
    own = PRESETS["caffe"]
    assert resolve("unit", channels=3, stated=own) == PRESETS["unit"]
    assert resolve(PRESETS["symmetric"], channels=3, stated=own) == PRESETS["symmetric"]
    assert resolve(None, channels=3, stated=own) == own
    assert resolve(None, channels=3, stated=None) == PRESETS["none"]


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CaptureError, match=r"(?s)'imagnet' is not a preset.*imagenet"):
        resolve("imagnet", channels=3, stated=None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Preprocessing(mean=(1.0, 2.0)), "mean has 2 values, the network has 3"),
        (Preprocessing(std=(1.0, 2.0, 3.0, 4.0)), "std has 4 values, the network has 3"),
    ],
)
def test_values_for_another_number_of_channels_are_refused(value: Preprocessing, text: str) -> None:
    with pytest.raises(CaptureError, match=text):
        resolve(value, channels=3, stated=None)


@pytest.mark.parametrize(("channels", "order"), [(1, "grey"), (3, "RGB"), (4, "any")])
def test_timms_configuration_gives_mean_deviation_and_order(channels: int, order: str) -> None:
    cfg = {"mean": (0.5,) * channels, "std": [0.25] * channels, "input_size": (channels, 32, 32)}
    wanted = Preprocessing(1 / 255, (0.5,) * channels, (0.25,) * channels, order, (0, 255))  # type: ignore[arg-type]
    assert from_timm(cfg) == wanted


@pytest.mark.parametrize("cfg", [{}, {"mean": (0.5,)}, {"std": (0.5,)}])
def test_a_configuration_without_mean_or_deviation_says_nothing(cfg: dict[str, object]) -> None:
    assert from_timm(cfg) is None


def test_a_configuration_without_a_size_means_colour() -> None:
    found = from_timm({"mean": (0.5,), "std": (0.5,)})
    assert found is not None
    assert found.order == "RGB"
