"""Reads the preprocessing that a caller or a model gives: by name, as a value, or as other libraries have it.

Imports no torch: the objects of torchvision, timm, albumentations and Hugging Face are known by their attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fullfield.errors import CaptureError
from fullfield.model.json_file import read_json
from fullfield.model.preprocessing import ORDER_CHANNELS, PRESETS, ChannelOrder, Preprocessing, preset

PreprocessingLike = object
"""A preset's name; a ``Preprocessing`` or a dict of its fields; timm's configuration; torchvision's ``Normalize``, a
sequence of transforms with one, or ``weights.transforms()``; a Hugging Face image processor or its configuration; or
the path of a ``.json`` file with one of these dicts."""

_SCALE_TO_UNIT = ("ToTensor", "MaybeToTensor", "ConvertImageDtype", "ToDtype")  # of integers
_LEAVE_NUMBERS = ("ToImage", "PILToTensor", "MaybePILToTensor", "ToPILImage", "ToPureTensor", "ToNumpy", "ToTensorV2")
_SIZES = ("Resize", "CenterCrop", "ResizeKeepRatio", "CenterCropOrPad", "LongestMaxSize", "SmallestMaxSize", "Pad")
_OWN = {field.name for field in fields(Preprocessing)} - {"known"}


def resolve(choice: PreprocessingLike | None, *, channels: int, stated: Preprocessing | None) -> Preprocessing:
    """The preprocessing to use: the caller's, else the model's, else ``none``, as not known.

    Raises:
        CaptureError: mean and deviation cannot be read from the caller's, or it is for another number of channels.
    """
    if choice is not None:
        value = _read(choice, channels)
    else:
        value = _fitting(stated, channels) or replace(PRESETS["none"], known=False)
    for name, numbers in (("mean", value.mean), ("std", value.std)):
        if len(numbers) not in (1, channels):
            raise CaptureError(
                "preprocessing",
                f"{name} has {len(numbers)} values, the network has {channels} input channels",
                fix="give one value, or one for each channel",
            )
    wanted = ORDER_CHANNELS.get(value.order, channels)
    if wanted != channels:
        what = f"order {value.order!r} has {wanted} channels, the network has {channels} input channels"
        raise CaptureError("preprocessing", what, fix="use a preprocessing of order 'any', or with that many channels")
    return value


def read_preprocessing_file(path: str) -> dict[str, Any]:
    """The dict in a JSON file: of ``Preprocessing``'s fields, timm's ``config.json`` or a ``preprocessor_config.json``.

    Raises:
        CaptureError: the file cannot be read, is too large, or holds no object of JSON.
    """
    file = Path(path)
    fix = "give a preset's name, or a JSON file such as preprocessor_config.json"
    if not file.is_file():
        raise CaptureError(path, "is no file of preprocessing", fix=fix)
    found = read_json(file, fix=fix)
    inner = next(
        (found[key] for key in ("pretrained_cfg", "image_processor") if isinstance(found.get(key), dict)), found
    )
    return dict(inner)


def is_preprocessing_file(choice: str) -> bool:
    """Whether a text names a file, and no preset."""
    return choice.lower().endswith(".json")


def _fitting(stated: Preprocessing | None, channels: int) -> Preprocessing | None:
    """What a model states, for its number of channels; ``None`` where it is of another number.

    A network of timm that was made for other bands still states the mean and deviation of three.
    """
    if stated is None:
        return None
    if {len(stated.mean), len(stated.std)} <= {1, channels} and ORDER_CHANNELS.get(stated.order, channels) == channels:
        return stated
    if len(set(stated.mean)) > 1 or len(set(stated.std)) > 1:
        return None
    return replace(stated, mean=stated.mean[:1], std=stated.std[:1], order=_order(channels))


def from_timm(cfg: Mapping[str, Any]) -> Preprocessing | None:
    """The preprocessing of a timm ``pretrained_cfg``; ``None`` if it has none."""
    if "mean" not in cfg or "std" not in cfg:
        return None
    return _of_units(cfg["mean"], cfg["std"], (cfg.get("input_size") or (3,))[0])


def _read(choice: object, channels: int) -> Preprocessing:
    if isinstance(choice, str):
        return (
            _from_mapping(read_preprocessing_file(choice), channels)
            if is_preprocessing_file(choice)
            else preset(choice)
        )
    if isinstance(choice, Preprocessing):
        return choice
    if isinstance(choice, Mapping):
        return _from_mapping(choice, channels)
    for part in ("image_processor", "feature_extractor"):  # of a processor of images and text
        choice = getattr(choice, part, None) or choice
    if hasattr(choice, "image_mean") or hasattr(choice, "do_rescale"):
        return _from_hugging_face(lambda name, default: getattr(choice, name, default), channels)
    if _steps(choice):
        return _from_transforms(choice, channels)
    if _has_numbers(choice):  # torchvision's weights.transforms()
        return _of_units(choice.mean, choice.std, channels)  # type: ignore[attr-defined]
    raise _unreadable(f"{_name(choice)} says neither mean nor deviation")


def _from_mapping(given: Mapping[Any, Any], channels: int) -> Preprocessing:
    """From a dict of ``Preprocessing``'s fields, of timm, or of a Hugging Face ``preprocessor_config.json``."""
    if "image_mean" in given or "do_rescale" in given:
        return _from_hugging_face(given.get, channels)
    if "input_size" in given and from_timm(given) is not None:
        return _of_units(given["mean"], given["std"], channels)
    unknown = sorted(str(key) for key in given if key not in _OWN)
    if unknown:
        raise _unreadable(f"a dict with {', '.join(unknown)} is not understood")
    if "scale" not in given:
        if not given.keys() >= {"mean", "std"}:
            raise _unreadable("a dict needs a scale, or mean and std")
        value = _of_units(given["mean"], given["std"], channels)
        return replace(value, **{str(key): item for key, item in given.items() if key not in ("mean", "std")})
    return Preprocessing(**given)


def _from_hugging_face(get: Any, channels: int) -> Preprocessing:
    """From the attributes of an image processor: ``((pixel * factor - offset) - mean) / std``."""
    scale = (get("rescale_factor", None) or 1 / 255) if get("do_rescale", True) else 1.0
    mean, std = get("image_mean", None), get("image_std", None)
    normalises = get("do_normalize", True)
    if (normalises or get("include_top", False)) and (mean is None or std is None):
        raise _unreadable("an image processor that normalises says neither image_mean nor image_std")
    value = Preprocessing(
        scale, mean if normalises else (0.0,), std if normalises else (1.0,), _order(channels), (0, 255)
    )
    if get("rescale_offset", False) or get("offset", False):
        value = replace(value, mean=tuple(m + 1 for m in value.mean))
    if get("include_top", False):  # EfficientNet's divides by the deviation once more
        value = replace(value, std=tuple(s**2 for s in value.std) if normalises else std)
    return replace(value, order="BGR") if get("do_flip_channel_order", False) else value


def _from_transforms(choice: object, channels: int) -> Preprocessing:
    """From transforms in a row: a change to 0..1, a ``Normalize``, and others that leave the numbers as they are."""
    scale: float | None = None
    value: Preprocessing | None = None
    order: ChannelOrder = _order(channels)
    for step in _steps(choice):
        name = _name(step)
        if _has_numbers(step) and value is None:
            greatest = getattr(step, "max_pixel_value", None)
            scale = 1 / float(greatest) if greatest else scale
            if scale is None:
                value = _of_units(step.mean, step.std, channels)
            else:
                value = Preprocessing(scale, step.mean, step.std, order, (0, 255))
        elif name in _SCALE_TO_UNIT:
            scale = 1 / 255 if getattr(step, "scale", True) else 1.0
        elif name in _LEAVE_NUMBERS:
            scale = 1.0 if scale is None and name == "PILToTensor" else scale
        elif name == "Grayscale" and getattr(step, "num_output_channels", 1) == channels == 1:
            order = "grey"
        elif name not in _SIZES and not name.endswith("to_rgb"):
            raise _unreadable(f"the transform {name} is not understood")
    if value is None and scale is None:
        raise _unreadable("the transforms say neither mean nor deviation")
    return value or Preprocessing(scale or 1.0, order=order, value_range=(0, 255))


def _steps(choice: object) -> list[Any]:
    """The transforms of a sequence of them, or a ``Normalize`` alone; empty for other objects."""

    def walk(part: object) -> Iterator[object]:
        inner = getattr(part, "transforms", part)
        if type(part).__name__ == "Sequential":
            inner = list(part)  # type: ignore[call-overload]
        if not isinstance(inner, (list, tuple)):
            yield part
        else:
            for item in inner:
                yield from walk(item)

    found = list(walk(choice))
    alone = found == [choice] and not _name(choice).endswith("Normalize")
    return [] if alone else found


def _has_numbers(step: object) -> bool:
    """Whether an object has mean and deviation as numbers; tensors have both as methods."""
    return all(hasattr(step, name) and not callable(getattr(step, name)) for name in ("mean", "std"))


def _of_units(mean: Any, std: Any, channels: int) -> Preprocessing:
    """Mean and deviation of pixels scaled to 0..1.

    Raises:
        CaptureError: they are larger, and so of other pixels.
    """
    value = Preprocessing(1 / 255, mean, std, _order(channels), (0, 255))
    if max(map(abs, value.mean + value.std)) > 1:
        raise _unreadable(f"mean {value.mean} and deviation {value.std} are not of pixels from 0 to 1")
    return value


def _order(channels: int) -> ChannelOrder:
    return "RGB" if channels == 3 else "grey" if channels == 1 else "any"


def _name(value: object) -> str:
    """The name of a function, or of an object's class."""
    return str(getattr(value, "__name__", type(value).__name__))


def _unreadable(what: str) -> CaptureError:
    fix = "write preprocessing=Preprocessing(scale=1/255, mean=…, std=…, order='RGB'), on the command line "
    fix += f"--pixel-scale, --mean, --std and --order; or one of {', '.join(PRESETS)}"
    return CaptureError("preprocessing", what, fix=fix)
