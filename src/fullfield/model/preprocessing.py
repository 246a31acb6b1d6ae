"""``Preprocessing``: how pixel values become network input. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from fullfield.arguments import checks_fields
from fullfield.errors import CaptureError

ChannelOrder = Literal["RGB", "BGR", "grey", "any"]
ORDER_CHANNELS: Mapping[str, int] = {"RGB": 3, "BGR": 3, "grey": 1}
"""Channels of each order but ``any``."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@checks_fields
@dataclass(frozen=True)
class Preprocessing:
    """Network input from a pixel value: ``(value * scale - mean) / std``, channel by channel.

    Args:
        scale: factor on pixel values.
        mean: subtracted after scaling; one number for all channels or one for each.
        std: divisor after the mean; one number for all channels or one for each.
        order: channel order of the network's input; ``any`` keeps the image's order.
        value_range: least and greatest pixel value in training, before ``scale``. Integer images of another depth are
            converted to it (a 16-bit image to 0..255, say); ``None`` keeps pixel values.
        known: whether the model or the caller states it; else pixels are fed as they are, and every summary warns.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: ChannelOrder = "any"
    value_range: tuple[float, float] | None = None
    known: bool = field(default=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _numbers("scale", self.scale, count=1)[0])
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if self.value_range is not None:
            object.__setattr__(self, "value_range", _numbers("value_range", self.value_range, count=2))
        if self.order not in ("RGB", "BGR", "grey", "any"):
            raise CaptureError("preprocessing", f"order {self.order!r} is not known", fix="use RGB, BGR, grey or any")
        if any(s == 0 for s in self.std):
            raise CaptureError("preprocessing", f"std {self.std} has a zero", fix="give positive deviations")

    def to_dict(self) -> dict[str, Any]:
        """What is done to the pixels, as JSON-able values."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "known"}

    def to_json(self) -> str:
        """One line of JSON, for the metadata of model files."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The preprocessing from the text of ``to_json``.

        Raises:
            CaptureError: the text cannot be read.
        """
        try:
            fields = json.loads(text)
            return cls(*(fields[name] for name in ("scale", "mean", "std", "order", "value_range")))
        except CaptureError as error:
            raise _unreadable(error.what) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}") from error


def _unreadable(why: str) -> CaptureError:
    fix = "pass preprocessing= or --preprocessing"
    return CaptureError("preprocessing metadata", f"cannot be read ({why})", fix=fix)


def _numbers(name: str, value: Any, *, count: int | None = None) -> tuple[float, ...]:
    """One number or several, as a tuple.

    Raises:
        CaptureError: they are no finite numbers, or not so many.
    """
    listed = value.tolist() if hasattr(value, "tolist") else value  # of tensors and arrays
    try:
        found = tuple(float(number) for number in (listed if isinstance(listed, Iterable) else (listed,)))
    except (TypeError, ValueError):
        found = ()
    if not found or not all(map(math.isfinite, found)) or len(found) != (count or len(found)):
        wanted = {1: "one number", 2: "two numbers"}.get(count or 0, "one number, or one for each channel")
        raise CaptureError("preprocessing", f"{name} {value!r:.60} is not {wanted}", fix=f"give {wanted}")
    return found


PRESETS: Mapping[str, Preprocessing] = {
    "none": Preprocessing(),
    "unit": Preprocessing(scale=1 / 255, order="RGB", value_range=(0, 255)),
    "unit-grey": Preprocessing(scale=1 / 255, order="grey", value_range=(0, 255)),
    "symmetric": Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.5,), order="RGB", value_range=(0, 255)),
    "imagenet": Preprocessing(scale=1 / 255, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, order="RGB", value_range=(0, 255)),
    "caffe": Preprocessing(mean=(104.0, 117.0, 123.0), order="BGR", value_range=(0, 255)),
    "mtcnn": Preprocessing(mean=(127.5,), std=(128.0,), order="RGB", value_range=(0, 255)),
}


def preset(name: str) -> Preprocessing:
    """The preprocessing of a name.

    Raises:
        CaptureError: an unknown name.
    """
    if name not in PRESETS:
        raise CaptureError("preprocessing", f"{name!r} is not a preset", fix=f"use one of {', '.join(PRESETS)}")
    return PRESETS[name]
