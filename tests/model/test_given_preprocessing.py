"""Preprocessing as callers and other libraries give it: what is read, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield.errors import CaptureError
from fullfield.model.given_preprocessing import from_timm, resolve
from fullfield.model.preprocessing import PRESETS, Preprocessing
from tests.model.networks import Small


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


def made(name: str, **attributes: Any) -> Any:
    """An object of a class of this name, as torchvision, timm, albumentations and transformers define it."""
    return type(name, (SimpleNamespace,), {})(**attributes)


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NORMALIZE = made("Normalize", mean=MEAN, std=STD, inplace=False)
TO_TENSOR, RESIZE, CROP = made("ToTensor"), made("Resize", size=256), made("CenterCrop", size=(224, 224))
FLIPPED = Preprocessing(scale=1 / 255, order="BGR", value_range=(0, 255))
CLIP = {"image_mean": MEAN, "image_std": STD, "rescale_factor": 1 / 255, "do_rescale": True, "do_normalize": True}


def convert_to_rgb(image: Any) -> Any:
    """As open_clip's."""
    return image


IMAGENET: dict[str, Any] = {
    "a preset": "imagenet",
    "a value": PRESETS["imagenet"],
    "its fields": PRESETS["imagenet"].to_dict(),
    "its fields from JSON": json.loads(PRESETS["imagenet"].to_json()),
    "mean and deviation": {"mean": MEAN, "std": STD},
    "a data configuration of timm": {
        "input_size": (3, 224, 224),
        "interpolation": "bicubic",
        "mean": tuple(MEAN),
        "std": tuple(STD),
        "crop_pct": 0.875,
        "crop_mode": "center",
    },
    "Normalize": NORMALIZE,
    "Normalize of tensors": made("Normalize", mean=torch.tensor(MEAN, dtype=torch.float64), std=np.array(STD)),
    "weights.transforms()": made("ImageClassification", crop_size=[224], resize_size=[256], mean=MEAN, std=STD),
    "Compose": made("Compose", transforms=[RESIZE, CROP, TO_TENSOR, NORMALIZE]),
    "Compose in Compose": made("Compose", transforms=[RESIZE, made("Compose", transforms=[TO_TENSOR, NORMALIZE])]),
    "Compose of version 2": made(
        "Compose", transforms=[made("ToImage"), RESIZE, made("ToDtype", dtype=torch.float32, scale=True), NORMALIZE]
    ),
    "Compose of timm": made("Compose", transforms=[RESIZE, made("MaybeToTensor"), NORMALIZE]),
    "Compose of open_clip": made("Compose", transforms=[RESIZE, CROP, convert_to_rgb, TO_TENSOR, NORMALIZE]),
    "Compose of albumentations": made(
        "Compose",
        transforms=[RESIZE, made("Normalize", mean=MEAN, std=STD, max_pixel_value=255.0), made("ToTensorV2")],
    ),
    "a list": [TO_TENSOR, NORMALIZE],
    "an image processor": made("CLIPImageProcessor", size={"shortest_edge": 224}, **CLIP),
    "a configuration of an image processor": CLIP,
    "a processor of images and text": made("CLIPProcessor", image_processor=made("CLIPImageProcessor", **CLIP)),
    "an image processor without its factor": made("ViTImageProcessor", image_mean=MEAN, image_std=STD),
}


@pytest.mark.parametrize("given", IMAGENET.values(), ids=IMAGENET)
def test_mean_and_deviation_are_read_where_they_are_stated(given: Any) -> None:
    found = resolve(given, channels=3, stated=PRESETS["caffe"])
    wanted = PRESETS["imagenet"]
    assert found.std == pytest.approx(wanted.std, rel=1e-15)
    assert found == wanted
    net = fullfield.load(Small(), window=9, preprocessing=given)
    assert net.preprocessing == wanted
    assert fullfield.load(net, preprocessing=given).preprocessing == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (TO_TENSOR, None),
        ([RESIZE, TO_TENSOR], PRESETS["unit"]),
        ([made("PILToTensor"), made("Normalize", mean=[127.5], std=[128])], PRESETS["mtcnn"]),
        ([made("PILToTensor"), made("ConvertImageDtype", dtype=torch.float32)], PRESETS["unit"]),
        (made("Processor", do_rescale=True, do_normalize=False, image_mean=MEAN, image_std=STD), PRESETS["unit"]),
        (made("Processor", do_rescale=True, do_normalize=False, do_flip_channel_order=True), FLIPPED),
        (made("Processor", rescale_factor=1 / 255, rescale_offset=True, do_rescale=True, do_normalize=False), "offset"),
        (made("Processor", do_rescale=False, image_mean=[127.5], image_std=[128.0]), PRESETS["mtcnn"]),
        ({"mean": 0.5, "std": 0.5, "order": "BGR"}, Preprocessing(1 / 255, (0.5,), (0.5,), "BGR", (0, 255))),
        ({"scale": 2}, Preprocessing(scale=2.0)),
    ],
)
def test_other_scales_and_orders_are_read(given: Any, wanted: Any) -> None:
    if wanted is None:
        with pytest.raises(CaptureError, match="ToTensor says neither mean nor deviation"):
            resolve(given, channels=3, stated=None)
        return
    if wanted == "offset":
        wanted = Preprocessing(1 / 255, (1.0,), (1.0,), "RGB", (0, 255))
    assert resolve(given, channels=3, stated=None) == wanted


def test_a_classifier_that_normalises_twice_is_read_as_its_processor_computes() -> None:
    config = {"do_rescale": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.5, 0.4, 0.2], "include_top": True}
    found = resolve(config, channels=3, stated=None)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3))
    normalised = (pixels / 255 - config["image_mean"]) / config["image_std"] / config["image_std"]  # type: ignore[operator]
    np.testing.assert_allclose((pixels * found.scale - found.mean) / found.std, normalised, rtol=1e-12)


def test_grey_networks_keep_their_order() -> None:
    given = [made("Grayscale", num_output_channels=1), TO_TENSOR, made("Normalize", mean=[0.5], std=[0.25])]
    assert resolve(given, channels=1, stated=None).order == "grey"
    assert resolve(made("Normalize", mean=[0.5], std=[0.25]), channels=4, stated=None).order == "any"


@pytest.mark.parametrize(("given", "channels"), [("unit", 1), ("unit-grey", 3), ("caffe", 1), ("symmetric", 4)])
def test_an_order_of_other_channels_is_refused_when_the_model_is_loaded(given: str, channels: int) -> None:
    with pytest.raises(CaptureError, match=rf"has \d.*, the network has {channels} input channels"):
        fullfield.load(Small(channels=channels), window=9, preprocessing=given)


REFUSED: dict[str, tuple[Any, str]] = {
    "a function": (lambda x: x / 255, "<lambda> says neither mean nor deviation"),
    "a function of torch": (torch.sigmoid, "sigmoid says neither mean nor deviation"),
    "a class": (type(NORMALIZE), "the transform Normalize is not understood"),
    "a number": (0.5, "float says neither mean nor deviation"),
    "a tensor": (torch.zeros(3), "Tensor says neither mean nor deviation"),
    "a network": (nn.Sequential(nn.Conv2d(3, 4, 3)), "the transform Conv2d is not understood"),
    "an empty dict": ({}, "a dict needs a scale, or mean and std"),
    "a dict without a deviation": ({"mean": MEAN}, "a dict needs a scale, or mean and std"),
    "a dict with another key": ({"mean": MEAN, "std": STD, "scle": 1}, "a dict with scle is not understood"),
    "a dict of no numbers": ({"mean": "a", "std": STD}, "mean 'a' is not"),
    "mean of another range": ({"mean": [104.0, 117, 123], "std": [1, 1, 1]}, "are not of pixels from 0 to 1"),
    "Normalize of another range": (made("Normalize", mean=[104.0], std=[1.0]), "are not of pixels from 0 to 1"),
    "a deviation of zero": (made("Normalize", mean=MEAN, std=[0.0]), "has a zero"),
    "other channels": (made("Normalize", mean=[0.5] * 4, std=[0.5] * 4), "mean has 4 values, the network has 3"),
    "an unknown transform": ([TO_TENSOR, NORMALIZE, made("ColorJitter", hue=0.5)], "the transform ColorJitter is not"),
    "two norms": ([TO_TENSOR, NORMALIZE, NORMALIZE], "the transform Normalize is not understood"),
    "no norm": ([RESIZE, CROP], "the transforms say neither mean nor deviation"),
    "a processor without numbers": (made("Processor", do_rescale=True), "says neither image_mean nor image_std"),
}


@pytest.mark.parametrize(("given", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_with_what_to_write(given: Any, text: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: fullfield.load(Small(), window=9, preprocessing=given),
        lambda: fullfield.load(Small(), window=9).with_preprocessing(given),
    ]
    for attempt in attempts:
        with pytest.raises(CaptureError, match=f"preprocessing: .*{text}") as caught:
            attempt()
        assert caught.value.fix


@pytest.mark.parametrize(
    "held",
    [
        {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "rescale_factor": 1 / 255},
        {"architecture": "x", "pretrained_cfg": {"input_size": [3, 8, 8], "mean": [0.5] * 3, "std": [0.25] * 3}},
        {"mean": 0.5, "std": 0.25},
        Preprocessing(1 / 255, (0.5,), (0.25,), "RGB", (0, 255)).to_dict(),
    ],
)
def test_a_json_file_gives_the_preprocessing_of_what_it_holds(held: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(held))
    found = resolve(str(tmp_path / "p.json"), channels=3, stated=None)
    assert (found.scale, set(found.mean), set(found.std), found.order) == (1 / 255, {0.5}, {0.25}, "RGB")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read as JSON"), ("[1]", "holds a list, no object"), ('{"size": 3}', "a dict with size is not")],
)
def test_a_json_file_of_something_else_is_one_clear_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(CaptureError, match=message):
        resolve(str(tmp_path / "p.json"), channels=3, stated=None)
    with pytest.raises(CaptureError, match="is no file of preprocessing"):
        resolve(str(tmp_path / "none.json"), channels=3, stated=None)


def test_what_a_model_states_for_other_bands_counts_only_where_all_bands_are_the_same() -> None:
    stated = from_timm({"mean": (0.5,) * 3, "std": (0.25,) * 3, "input_size": (3, 8, 8)})
    assert resolve(None, channels=6, stated=stated) == Preprocessing(1 / 255, (0.5,), (0.25,), "any", (0, 255))
    colours = from_timm({"mean": (0.5, 0.4, 0.3), "std": (0.25,) * 3, "input_size": (3, 8, 8)})
    assert not resolve(None, channels=6, stated=colours).known
    with pytest.raises(CaptureError, match="mean has 3 values, the network has 6"):
        resolve(colours, channels=6, stated=None)


def test_thirteen_bands_take_one_number_each() -> None:
    numbers = [round(0.01 * band, 2) for band in range(1, 14)]
    found = resolve({"mean": numbers, "std": numbers}, channels=13, stated=None)
    assert (found.mean, found.order) == (tuple(numbers), "any")
