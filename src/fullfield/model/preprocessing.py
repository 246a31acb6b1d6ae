"""``Preprocessing``: how pixel values become network input. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from fullfield.arguments import checks_fields
from fullfield.errors import CaptureError

ChannelOrder = Literal["RGB", "BGR", "grey", "any"]

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
        if self.order not in ("RGB", "BGR", "grey", "any"):
            raise CaptureError("preprocessing", f"order {self.order!r} is not known", fix="use RGB, BGR, grey or any")
        if any(s == 0 for s in self.std):
            raise CaptureError("preprocessing", f"std {self.std} has a zero", fix="give positive deviations")

    def to_dict(self) -> dict[str, Any]:
        """What is done to the pixels, as JSON-able values."""
        return {name: value for name, value in asdict(self).items() if name != "known"}

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
            span = fields["value_range"]
            return cls(
                scale=float(fields["scale"]),
                mean=tuple(map(float, fields["mean"])),
                std=tuple(map(float, fields["std"])),
                order=fields["order"],
                value_range=None if span is None else (float(span[0]), float(span[1])),
            )
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise CaptureError(
                "preprocessing metadata",
                f"cannot be read ({type(error).__name__}: {error})",
                fix="pass preprocessing= or --preprocessing",
            ) from error


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


def resolve(choice: str | Preprocessing | None, *, channels: int, stated: Preprocessing | None) -> Preprocessing:
    """The preprocessing to use: the caller's, by name or value, else the model's, else ``none``, as not known.

    Raises:
        CaptureError: an unknown name, or means and deviations for another number of channels.
    """
    if isinstance(choice, str):
        choice = preset(choice)
    value = choice or stated or replace(PRESETS["none"], known=False)
    for name, numbers in (("mean", value.mean), ("std", value.std)):
        if len(numbers) not in (1, channels):
            raise CaptureError(
                "preprocessing",
                f"{name} has {len(numbers)} values, the network has {channels} input channels",
                fix="give one value, or one for each channel",
            )
    return value


def from_timm(cfg: Mapping[str, Any]) -> Preprocessing | None:
    """The preprocessing of a timm ``pretrained_cfg``; ``None`` if it has none."""
    if "mean" not in cfg or "std" not in cfg:
        return None
    channels = (cfg.get("input_size") or (3,))[0]
    return Preprocessing(
        scale=1 / 255,
        mean=tuple(map(float, cfg["mean"])),
        std=tuple(map(float, cfg["std"])),
        order="RGB" if channels == 3 else "grey" if channels == 1 else "any",
        value_range=(0, 255),
    )
