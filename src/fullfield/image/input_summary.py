"""Says in one line how pixels become network input: range, order, mean, deviation, and what nothing declares."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fullfield.image.pixels import pixel_range
from fullfield.image.ranges import Range, found_range
from fullfield.image.sources import ImageSource
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.window_resize import WindowResize
from fullfield.model.window_standardise import STANDARDISED, Standardise
from fullfield.text import numbers_text

_SUSPECT = 4  # a range whose top is so many times above the greatest pixel found is probably not the camera's


@dataclass(frozen=True)
class InputSummary:
    """How the pixels of an image become network input.

    Args:
        preprocessing: of the network.
        dtype: of the image's pixels; empty where there is no image.
        used: pixel values that become the ends of the preprocessing's range; ``None`` where pixels stay as they are.
        declared: whether the file, its pixel type or the user declares ``used``.
        found: least and greatest pixel value of a thumbnail, or of all pixels; not of pixels of 8 bits.
        nodata: value of the image's invalid pixels.
        from_file: whether the image is a file, whose range ``value_range`` can declare.
        alpha: whether the image has opacity, by which windows that are fully transparent hold nothing.
        resize: how windows are resized; ``None`` where they are not.
        profile: from which the colours were converted to sRGB.
        standardise: how windows are brought to one scale; ``None`` where they are not.
        audio: whether these are samples of an audio file, which networks mostly take as they are read: from -1 to 1.
    """

    preprocessing: Preprocessing
    dtype: str = ""
    used: Range | None = None
    declared: bool = True
    found: Range | None = None
    nodata: float | None = None
    from_file: bool = True
    alpha: bool = False
    resize: WindowResize | None = None
    profile: str | None = None
    audio: bool = False
    standardise: Standardise | None = None

    @property
    def suspect(self) -> bool:
        """Whether the pixels found leave the range used, or fill less than a fourth of one that nothing declares."""
        if self.found is None or self.used is None:
            return False
        (low, high), (least, most) = self.found, self.used
        narrow = high - least <= (most - least) / _SUSPECT
        return low < least or high > most or (narrow and not self.declared)

    @property
    def warns(self) -> bool:
        """Whether the network may be fed what it was not trained on."""
        return (not self.preprocessing.known and not self.audio) or self.suspect

    def __str__(self) -> str:
        parts = [self._values(), *self._numbers()]
        if self.profile is not None:
            parts.append(f"colours converted from {self.profile} to sRGB")
        if self.nodata is not None:
            parts.append(f"nodata {self.nodata:g} replaced")
        if self.alpha:
            parts.append("transparent pixels replaced")
        if self.resize is not None:
            parts.append(f"windows resized from {self.resize}")
        if self.standardise is not None:
            parts.append(f"windows standardised, {STANDARDISED[self.standardise]}")
        text = ", ".join(parts)
        if not self.preprocessing.known:
            text += ": the model says nothing; "
            text += "full scale is -1..1" if self.audio else "pass preprocessing= or --preprocessing"
        if self.found is not None and self.used is not None and (self.suspect or not self.declared):
            text += f"; the thumbnail holds {_span(self.found)}: {self._remedy()} if that is the whole range"
        return f"WARNING: {text}" if self.warns else text

    def _remedy(self) -> str:
        """How to declare another range."""
        floats = f"give floats of {_span(self.preprocessing.value_range)}"
        return "pass value_range= or --value-range" if self.from_file else floats

    def _values(self) -> str:
        """The order of the channels, the range of the pixels, and the one that it is brought to."""
        pre = self.preprocessing
        order = "" if pre.order == "any" else f"{pre.order}, "
        if pre.value_range is None:
            span = self.found or _whole_range(self.dtype)
            return f"{order}as they are" + ("" if span is None else f", {_span(span)}")
        given = "" if self.used in (None, pre.value_range) else f"{_span(self.used)} as "
        return f"{order}{given}{_span(pre.value_range)}"

    def _numbers(self) -> list[str]:
        """Scale, mean and deviation; none of them where nothing is known."""
        pre = self.preprocessing
        if not pre.known and pre == Preprocessing():
            return []
        scale = "" if pre.scale == 1 else f"divided by {1 / pre.scale:g}" if pre.scale < 1 else f"times {pre.scale:g}"
        return [*filter(None, [scale]), f"mean {numbers_text(pre.mean)}", f"deviation {numbers_text(pre.std)}"]

    def to_dict(self) -> dict[str, Any]:
        """The line, and what it says, as JSON-able values."""
        return {
            "text": str(self),
            "warning": self.warns,
            "known": self.preprocessing.known,
            **self.preprocessing.to_dict(),
            "dtype": self.dtype,
            "used": self.used,
            "declared": self.declared,
            "found": self.found,
            "nodata": self.nodata,
            **({"alpha": True} if self.alpha else {}),
            **({"resize": asdict(self.resize)} if self.resize is not None else {}),
            **({} if self.standardise is None else {"standardise": self.standardise}),
            **({} if self.profile is None else {"profile": self.profile}),
        }


def input_summary(
    source: ImageSource, resize: WindowResize | None = None, standardise: Standardise | None = None
) -> InputSummary:
    """How an image becomes network input; of more than 8 bits, a thumbnail is read to find a range that is not known.

    Args:
        source: the image.
        resize: how the network resizes windows first.
        standardise: how it brings each to one scale.
    """
    raster, pre = source.original, source.preprocessing
    declared = raster.metadata.value_range
    used = None if pre.value_range is None else pixel_range(raster.dtype, declared)
    few = raster.dtype in (np.uint8, np.bool_)
    found = None if few else source.extremes or found_range(raster)
    metadata = raster.metadata
    return InputSummary(
        pre,
        str(raster.dtype),
        used,
        few or declared is not None,
        found,
        metadata.nodata,
        metadata.reader != "array",
        metadata.alpha and metadata.masked,
        resize,
        metadata.converted_from,
        metadata.sample_rate is not None,
        standardise,
    )


def _whole_range(dtype: str) -> Range | None:
    """The range of a type of 8 or 16 bits."""
    return pixel_range(np.dtype(dtype), None) if dtype else None


def _span(span: Range | None) -> str:
    return "" if span is None else f"{span[0]:g}..{span[1]:g}"
