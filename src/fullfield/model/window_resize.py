"""``WindowResize``: how a window's pixels are resized to the size that the network takes. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from fullfield.arguments import check_choice, parse_pair
from fullfield.errors import CaptureError

Interpolation = Literal["bilinear", "bicubic", "area", "lanczos", "nearest"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)
_EITHER = ("bilinear", "bicubic")  # antialiased or not
_ALWAYS = ("area", "lanczos")  # read all px that a result covers


@dataclass(frozen=True)
class WindowResize:
    """Windows of one size, resized to another as part of the network.

    Pixels are resized as floats: nothing is rounded to integers and nothing is clamped, as torchvision resizes float
    tensors. PIL and OpenCV round 8-bit pixels after each pass.

    Args:
        window: height and width before, px of the image.
        size: height and width after, which the network takes.
        interpolation: ``bilinear`` and ``bicubic`` as torchvision, and without antialiasing also OpenCV, have them;
            antialiased as PIL has them. ``lanczos`` as PIL, ``area`` as OpenCV, ``nearest`` as it and torch.
        antialias: whether the kernel is widened where windows become smaller, so that no pixel is left out.
    """

    window: tuple[int, int]
    size: tuple[int, int]
    interpolation: Interpolation = "bilinear"
    antialias: bool = True

    def __str__(self) -> str:
        (h, w), (y, x) = self.window, self.size
        kernel = f"{self.interpolation}, {'' if self.antialias else 'not '}antialiased"
        return f"{h}x{w} px to {y}x{x} px ({kernel if self.interpolation in _EITHER else self.interpolation})"

    def to_json(self) -> str:
        """One line of JSON, for the metadata of model files."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> WindowResize:
        """The resizing from the text of ``to_json``.

        Raises:
            ValueError, KeyError, TypeError: the text is none.
        """
        fields = json.loads(text)
        (h, w), (y, x) = fields["window"], fields["size"]
        return cls((int(h), int(w)), (int(y), int(x)), str(fields["interpolation"]), bool(fields["antialias"]))  # type: ignore[arg-type]


def parse_window_resize(
    window: Any, resize: Any, *, interpolation: str | None = None, antialias: bool | None = None
) -> WindowResize | None:
    """How windows are resized; ``None`` where they are not.

    Args:
        window: one number or two, px of the image.
        resize: the same, px that the network takes.
        interpolation: ``bilinear`` if ``None``.
        antialias: by default whether the interpolation can be antialiased.

    Raises:
        CaptureError: options that do not go together, or values that are not known.
    """
    if resize is None:
        given = {"interpolation": interpolation, "antialias": antialias}
        for name, value in given.items():
            if value is not None:
                what = f"{value!r} is given, and no size to which windows are resized"
                raise CaptureError(name, what, fix="add resize=224 (--resize 224), or leave it out")
        return None
    if window is None:
        what = f"is not given, and windows are resized to {resize}"
        raise CaptureError("window", what, fix="give their px on the image: window=512 (--window 512), say")
    before = parse_pair("window", window, fix="pass 512 or (512, 512)", error=CaptureError)
    after = parse_pair("resize", resize, fix="pass 224 or (224, 224)", error=CaptureError)
    name = _parse_interpolation("bilinear" if interpolation is None else interpolation)
    found = WindowResize(before, after, name, _parse_antialias(name, antialias))
    if name == "area" and any(m > n for n, m in zip(before, after, strict=True)):
        raise CaptureError("interpolation", f"area enlarges no windows ({found})", fix="use bilinear or bicubic")
    return found


def _parse_interpolation(name: str) -> Interpolation:
    check_choice("interpolation", name, INTERPOLATIONS, CaptureError)
    return name  # type: ignore[return-value]


def _parse_antialias(interpolation: str, antialias: bool | None) -> bool:
    """Whether the kernel is antialiased.

    Raises:
        CaptureError: the interpolation always is, or never.
    """
    if interpolation in _EITHER:
        return antialias is None or bool(antialias)
    always = interpolation in _ALWAYS
    if antialias is not None and bool(antialias) != always:
        what = f"{interpolation} is {'always' if always else 'never'} antialiased"
        raise CaptureError("antialias", what, fix="leave it out, or use bilinear or bicubic")
    return always
