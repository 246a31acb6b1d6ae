"""The verb ``inspect``."""

from __future__ import annotations

from fullfield.arguments import checks_keywords
from fullfield.errors import GeometryError
from fullfield.importers.load import ModelLike, load
from fullfield.model.given_preprocessing import PreprocessingLike
from fullfield.report.measure import measure
from fullfield.report.report import Report as Report


@checks_keywords
def inspect(
    model: ModelLike,
    *,
    window: int | tuple[int, int] | None = None,
    at: int | tuple[int, int] | None = None,
    preprocessing: PreprocessingLike | None = None,
) -> Report:
    """One row a layer: geometry, parameters, work, receptive field, borders; totals; what it means for scanning.

    Args:
        model: a ``Model``, an ``nn.Module`` or the path of a model file.
        window: height and width of the window, px; by default what the network says.
        at: size of a larger image, px: every row then also has its output on it, made fully convolutional.
        preprocessing: a preset's name or a value, instead of the network's own.

    Raises:
        CaptureError: the network cannot be read.
        GeometryError: ``at`` is no size, or smaller than the window.
    """
    size = (at, at) if isinstance(at, int) else at
    if size is not None and (len(size) != 2 or any(not isinstance(n, int) for n in size)):
        raise GeometryError("at", f"{at!r} is not one or two integers", fix="pass 384 or (384, 512)")
    return measure(load(model, window=window, preprocessing=preprocessing), at=size)
