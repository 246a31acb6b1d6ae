"""What users call a network -> a ``Model``; sizes in bytes as people write them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from torch import nn

from fullfield.errors import CaptureError
from fullfield.importers.load import load
from fullfield.model.model import Model
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.torch_export import capture, parse_window

ModelLike = Model | nn.Module | str | os.PathLike[str]


def as_model(
    net: ModelLike,
    *,
    window: int | tuple[int, int] | None = None,
    preprocessing: str | Preprocessing | None = None,
    class_names: tuple[str, ...] | None = None,
    trust: bool = False,
) -> Model:
    """The classifier that ``net`` is, captures or names.

    Args:
        net: a classifier, a module to capture, or the path of a model file.
        window: height and width, px; for a module or a file that does not say.
        preprocessing: a preset's name or a value, instead of the network's own.
        class_names: one name a score, instead of the network's own.
        trust: read files that can run code.

    Raises:
        CaptureError: it cannot be read or exported, or is no network, or a classifier has another window.
    """
    if isinstance(net, Model):
        if window is not None and parse_window(window) != net.window:
            raise CaptureError(
                "window",
                f"{window} is not the {net.window[0]}x{net.window[1]} px that {net.name} was captured for",
                fix="capture or load it again with the other window",
            )
        if class_names is not None:
            net = _named(net, class_names)
        return net if preprocessing is None else net.with_preprocessing(preprocessing)
    if isinstance(net, nn.Module):
        return capture(net, window=window, preprocessing=preprocessing, class_names=class_names)
    if isinstance(net, (str, os.PathLike)):
        return load(Path(net), window=window, preprocessing=preprocessing, class_names=class_names, trust=trust)
    raise CaptureError(
        "network", f"{type(net).__name__} is no network", fix="give a Model, an nn.Module or the path of a model"
    )


def _named(net: Model, names: tuple[str, ...]) -> Model:
    if len(names) != net.classes:
        raise CaptureError("class names", f"{len(names)} names for {net.classes} scores", fix="give one name a score")
    return replace(net, class_names=names)
