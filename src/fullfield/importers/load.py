"""``load``: a file, a module or a model to a ``Model``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import nn

from fullfield.arguments import checks_keywords
from fullfield.errors import CaptureError
from fullfield.importers.class_names import read_class_names
from fullfield.importers.detect import USE_ONNX, detect
from fullfield.model.given_preprocessing import PreprocessingLike
from fullfield.model.model import Model
from fullfield.model.torch_export import WindowSize, capture_module, parse_window

LABELS = "labels.txt"
"""A file next to a model's with one class name a line."""

ModelLike = Model | nn.Module | str | os.PathLike[str]
"""What every verb takes for a model: what ``load`` takes as its source."""


@checks_keywords
def load(
    source: ModelLike,
    *,
    window: WindowSize | None = None,
    channels: int | None = None,
    preprocessing: PreprocessingLike | None = None,
    class_names: Sequence[str] | None = None,
    score: int | str | None = None,
    weights: str | os.PathLike[str] | None = None,
    trust: bool = False,
    name: str | None = None,
) -> Model:
    """The model in a file, or made of a module.

    A file is an ONNX, Caffe or Torch7 network; with ``trust`` also a ``.pt2`` program or a pickled module. Its content
    decides, not its name. A module is exported at one window size, in evaluation mode, with a free batch size; it
    is not changed, training flags included, and the model shares its parameters. A ``Model`` is returned as it is,
    or with another preprocessing, other class names or another name.

    Args:
        source: path of a file; a module that maps ``(n, c, h, w)`` to ``(n,)``, ``(n, k)``, ``(n, k, 1, 1)`` or
            another shape with one vector a window, in tuples, dicts or records or not; or a ``Model``.
        window: height and width, px; by default those that the file, or timm's ``pretrained_cfg`` of a module, states.
        channels: input channels of a module; by default those of its first convolution, or of timm's
            ``pretrained_cfg`` where the network rearranges its pixels before that.
        preprocessing: a preset's name or a value; also a dict, torchvision's ``Normalize`` or ``weights.transforms()``,
            or an image processor of Hugging Face. By default that of fullfield's metadata in the file or of timm's
            ``pretrained_cfg``, else ``none``.
        class_names: one name a score; by default those in the file, or in ``labels.txt`` next to it where these are as
            many as the scores.
        score: index or name of the output that holds the scores, where the network has several; names of nested
            outputs are joined by dots. Or the name of a layer, as ``inspect`` prints it, for the features of each
            window: ``"layer4"`` is the mean of its map, or of its tokens, over the window, ``"layer4:map"`` all its
            numbers, ``"blocks.11:first"`` the first token; a vector is taken as it is.
        weights: the ``.caffemodel`` of a ``.prototxt``; without it the weights are drawn by the file's fillers.
        trust: allow a file to run code, as ``.pt2`` files and pickles can.
        name: for reports; by default the file's, or the module's class name.

    Raises:
        CaptureError: a file is missing, damaged, of a format that is not read, or needs ``trust``; a module cannot be
            exported; there is no such output or layer, or it gives no vector a window; or an option does not fit
            the source.
    """
    if not isinstance(source, (Model, nn.Module, str, os.PathLike)):
        raise CaptureError(
            "model", f"{type(source).__name__} is not a model", fix="give a Model, an nn.Module or the path of a file"
        )
    names = None if class_names is None else tuple(class_names)
    if isinstance(source, (str, os.PathLike)):
        model = _load_file(
            Path(source),
            window=window,
            channels=channels,
            preprocessing=preprocessing,
            class_names=names,
            score=score,
            weights=None if weights is None else Path(weights),
            trust=trust,
            name=name,
        )
        return _labelled(model, Path(source).parent / LABELS)
    if weights is not None:
        raise _carries_weights(type(source).__name__)
    if isinstance(source, nn.Module):
        return capture_module(
            source,
            window=window,
            channels=channels,
            preprocessing=preprocessing,
            class_names=names,
            score=score,
            name=name,
        )
    _check_unchanged(source, window, channels, score)
    return _changed(source, preprocessing, names, name)


def _labelled(model: Model, labels: Path) -> Model:
    """The model with the class names in a file next to its own, where it has none and they are one a score."""
    if model.class_names is not None or model.features is not None or not labels.is_file():
        return model
    with contextlib.suppress(CaptureError):  # it may be a text of another kind
        names = read_class_names(labels)
        return replace(model, class_names=names) if len(names) == model.classes else model
    return model


def _load_file(
    path: Path,
    *,
    window: WindowSize | None,
    channels: int | None,
    preprocessing: PreprocessingLike | None,
    class_names: tuple[str, ...] | None,
    score: int | str | None,
    weights: Path | None,
    trust: bool,
    name: str | None,
) -> Model:
    kind, what, fix = detect(path)
    if weights is not None and kind != "caffe":
        raise _carries_weights(str(path))
    if channels is not None and kind in ("onnx", "caffe", "torch7"):
        raise CaptureError(str(path), "states its channels itself", fix="leave out channels=; it goes with a module")
    if kind == "caffe":
        from fullfield.importers.caffe.importer import load_caffe

        return load_caffe(
            path,
            weights=weights,
            window=window,
            preprocessing=preprocessing,
            class_names=class_names,
            score=score,
            name=name,
        )
    if kind in ("onnx", "torch7"):
        reader = _reader(kind)
        return reader(path, window=window, preprocessing=preprocessing, class_names=class_names, score=score, name=name)
    if kind == "other":
        raise CaptureError(str(path), what, fix=fix)
    if not trust:
        raise CaptureError(
            str(path),
            f"{what}: opening it can run code that its author put there",
            fix=f"pass trust=True or --trust if you know where it is from; else {USE_ONNX}",
        )
    from fullfield.importers.torch_files import read_pickle, read_program

    module, shape = read_program(path) if kind == "program" else (read_pickle(path), None)
    if shape is not None:
        window, channels = window or shape[1:], channels or shape[0]
    return capture_module(
        module,
        window=window,
        channels=channels,
        preprocessing=preprocessing,
        class_names=class_names,
        score=score,
        name=name or path.stem,
    )


def _reader(kind: Literal["onnx", "torch7"]) -> Callable[..., Model]:
    """What reads a file of a kind; a format is imported when the first file of it is read."""
    if kind == "onnx":
        from fullfield.importers.onnx import load_onnx

        return load_onnx
    from fullfield.importers.torch7.importer import load_torch7

    return load_torch7


def _carries_weights(where: str) -> CaptureError:
    return CaptureError(where, "carries its weights itself", fix="leave out weights=; they go with a .prototxt")


def _check_unchanged(model: Model, window: WindowSize | None, channels: int | None, score: int | str | None) -> None:
    """Raises where an option asks for what a finished model cannot change."""
    fix = "load its file or module again with the other"
    if window is not None and parse_window(window) != model.window:
        own = f"{model.window[0]}x{model.window[1]} px"
        raise CaptureError("window", f"{window} is not the {own} of {model.name}", fix=f"{fix} window")
    if channels is not None and channels != model.channels:
        raise CaptureError("channels", f"{channels} are not the {model.channels} of {model.name}", fix=f"{fix} number")
    if score is not None:
        raise CaptureError("score", f"{score!r}: {model.name} has one output, its scores", fix=f"{fix} score=")


def _changed(
    model: Model, preprocessing: PreprocessingLike | None, class_names: tuple[str, ...] | None, name: str | None
) -> Model:
    """The model with the given changes; the same object if there are none."""
    if class_names is not None:
        if len(class_names) != model.classes:
            what = f"{len(class_names)} names for {model.classes} scores"
            raise CaptureError("class names", what, fix="give one name a score")
        model = replace(model, class_names=class_names)
    if preprocessing is not None:
        model = model.with_preprocessing(preprocessing)
    return model if name is None else replace(model, name=name)
