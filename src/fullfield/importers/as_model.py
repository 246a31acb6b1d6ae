"""What users call a network -> a ``Model``; sizes in bytes as people write them."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import overload

from torch import nn

from fullfield.errors import BudgetError, CaptureError
from fullfield.importers.load import load
from fullfield.model.model import Model
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.torch_export import capture, parse_window

ModelLike = Model | nn.Module | str | os.PathLike[str]

_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


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


@overload
def parse_bytes(size: str | int) -> int: ...
@overload
def parse_bytes(size: None) -> None: ...
@overload
def parse_bytes(size: str | int | None) -> int | None: ...
def parse_bytes(size: str | int | None) -> int | None:
    """Bytes from a size as people write it: ``"2GB"`` (decimal), ``"512MiB"`` (binary), ``"1.5 G"``, ``4096``.

    ``None``, no size, stays ``None``.

    Raises:
        BudgetError: it is no size, or not positive.

    Examples:
        >>> parse_bytes("2GB"), parse_bytes("512MiB"), parse_bytes(4096)
        (2000000000, 536870912, 4096)
    """
    if size is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt]?)(i?)b?)\s*", str(size), re.IGNORECASE)
    letter, binary = (found[2].upper(), bool(found[3])) if found else ("", False)
    number = int(float(found[1]) * (_BINARY if binary else _BYTES)[letter]) if found and (letter or not binary) else 0
    if number < 1:
        raise BudgetError("budget", f"{size!r} is no size in bytes", fix="write 2GB, 512MiB or a number of bytes")
    return number
