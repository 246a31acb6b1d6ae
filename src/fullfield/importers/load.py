"""``load``: a file, a module or a model to a ``Model``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from fullfield.arguments import checks_keywords
from fullfield.errors import CaptureError
from fullfield.importers.checkpoints.names import parse_network_name
from fullfield.importers.class_names import read_class_names
from fullfield.importers.detect import detect
from fullfield.importers.foreign import USE_ONNX, recognised_pickle
from fullfield.model.given_preprocessing import PreprocessingLike
from fullfield.model.model import Model
from fullfield.model.resized import resized
from fullfield.model.standardised import standardised
from fullfield.model.torch_export import WindowSize, capture_module, parse_window
from fullfield.model.window_resize import Interpolation, parse_window_resize
from fullfield.model.window_standardise import Standardise, parse_standardise

if TYPE_CHECKING:
    from fullfield.importers.checkpoints.state_dict import StateDict
    from fullfield.importers.torch_files import ProgramFile

_LABELS = "labels.txt"  # next to a model's file, with one class name a line

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
    arch: str | None = None,
    trust: bool = False,
    name: str | None = None,
    resize: WindowSize | None = None,
    interpolation: Interpolation | None = None,
    antialias: bool | None = None,
    standardise: Standardise | None = None,
) -> Model:
    """The model in a file, or made of a module.

    A file is an ONNX, Caffe or Torch7 network, or weights whose network ``arch`` or a ``config.json`` in their folder
    names; with ``trust`` also a ``.pt2`` program, TorchScript or a pickled module. Its content decides, not its name. A
    module is exported at one window size, in evaluation mode, with a free batch size; it is not changed, training flags
    included, and the model shares its parameters. A ``Model`` is returned as it is, or with another preprocessing,
    other class names or another name.

    Args:
        source: path of a file, or of a folder of timm or of Hugging Face's transformers (``config.json`` and weights);
            a name such as ``timm:resnet18`` or ``torchvision:resnet18``, with ``weights``, or ``hf:owner/name`` for the
            Hugging Face Hub, whose library caches it; a module that maps ``(n, c, h, w)`` to ``(n,)``, ``(n, k)``,
            ``(n, k, 1, 1)`` or another shape with one vector a window, in tuples, dicts or records or not; or signals
            ``(n, c, t)``, ``(n, t, c)`` or ``(n, t)`` to that; or a ``Model``.
        window: height and width, px; by default those that the file, or timm's ``pretrained_cfg`` of a module, states.
            Of a module that takes signals one number, samples.
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
        weights: the ``.caffemodel`` of a ``.prototxt``; without it the weights are drawn by the file's fillers. Or the
            weights of a network by its name, or of a folder with several.
        arch: the network of a file of weights: ``timm:resnet18``, ``torchvision:resnet18``.
        trust: allow a file to run code, as ``.pt2`` files and pickles can.
        name: for reports; by default the file's, or the module's class name.
        resize: height and width, px, to which windows of ``window`` px are resized as part of the network; its own
            window.
        interpolation: how; ``"bilinear"`` by default. ``WindowResize`` says whose definition each is.
        antialias: whether ``"bilinear"`` and ``"bicubic"`` leave no pixel out where windows become smaller; by default
            they do.
        standardise: brings each window, after its resizing, to one scale by its own numbers, as part of the network:
            ``"window"`` less its mean over its deviation, ``"minmax"`` from 0 to 1; ``"channels"`` and
            ``"minmax-channels"`` each channel by itself.

    Raises:
        CaptureError: a file is missing, damaged, of a format that is not read, or needs ``trust``; a module cannot be
            exported; there is no such output or layer, or it gives no vector a window; or an option does not fit
            the source.
    """
    if not isinstance(source, (Model, nn.Module, str, os.PathLike)):
        raise CaptureError(
            "model", f"{type(source).__name__} is not a model", fix="give a Model, an nn.Module or the path of a file"
        )
    whole = parse_window_resize(window, resize, interpolation=interpolation, antialias=antialias)
    if whole is not None:
        window = whole.size
    scaled = parse_standardise(standardise)
    names = None if class_names is None else tuple(class_names)
    options = {
        "window": window,
        "channels": channels,
        "preprocessing": preprocessing,
        "class_names": names,
        "score": score,
        "name": name,
    }
    if isinstance(source, (str, os.PathLike)):
        file = None if weights is None else Path(weights)
        model = _load_file(os.fspath(source), weights=file, arch=arch, trust=trust, options=options)
    else:
        if weights is not None:
            raise _carries_weights(type(source).__name__)
        if arch is not None:
            raise _carries_network(type(source).__name__)
        model = _load_object(source, options)
    model = model if scaled is None else standardised(model, scaled)
    return model if whole is None else resized(model, whole)


def _load_object(source: Model | nn.Module, options: dict[str, Any]) -> Model:
    """The model of a module or of a model; ``options`` are those of ``capture_module``."""
    if isinstance(source, nn.Module):
        return capture_module(source, **options)
    _check_unchanged(source, options["window"], options["channels"], options["score"])
    return _changed(source, options["preprocessing"], options["class_names"], options["name"])


def _labelled(model: Model, folder: Path) -> Model:
    """The model with the class names in a file in its folder, where it has none; or saying that they do not fit."""
    if model.class_names is not None or model.features is not None:
        return model
    labels = folder / _LABELS
    if not labels.is_file():
        return model
    try:
        names = read_class_names(labels)
    except CaptureError:  # it may be a text of another kind
        return model
    if len(names) == model.classes:
        return replace(model, class_names=names)
    unfit = f"{_LABELS} next to it has {len(names)} names for {model.classes} scores, and is not used"
    return replace(model, about=(*model.about, ("class names", unfit)))


def _load_file(source: str, *, weights: Path | None, arch: str | None, trust: bool, options: dict[str, Any]) -> Model:
    """The model of a path or a name; ``options`` are those of ``capture_module``."""
    network = parse_network_name(source)
    if network is not None:
        if arch is not None:
            raise CaptureError(
                source, "is an architecture itself", fix="leave out arch=; it goes with a file of weights"
            )
        from fullfield.importers.checkpoints.load import load_named

        model = load_named(network, weights=weights, **options)
        return model if weights is None else _labelled(model, weights.parent)
    path = Path(source)
    kind, what, fix = detect(path)
    if kind in ("other", "foreign"):
        raise CaptureError(source, what, fix=fix)
    if weights is not None and kind not in ("caffe", "folder"):
        raise _carries_weights(source)
    state = _state_dict(path, kind) if kind in ("pickle", "safetensors") else None
    if arch is not None and state is None and kind != "pickle":
        raise _carries_network(source)
    if state is not None:
        model = _load_state(state, arch, options)
    elif kind == "folder":
        from fullfield.importers.checkpoints.load import load_folder

        return _labelled(load_folder(path, weights=weights, **options), path)
    elif kind in ("program", "pickle", "script"):
        model = _load_trusted(path, kind, what, arch=arch, trust=trust, options=options)
    else:
        model = _load_format(path, kind, weights=weights, options=options)
    return _labelled(model, path.parent)


def _load_format(path: Path, kind: str, *, weights: Path | None, options: dict[str, Any]) -> Model:
    """The model of a file whose format states the input's channels."""
    given = dict(options)
    if given.pop("channels") is not None:
        raise CaptureError(str(path), "states its channels itself", fix="leave out channels=; it goes with a module")
    if kind == "caffe":
        from fullfield.importers.caffe.importer import load_caffe

        return load_caffe(path, weights=weights, **given)
    return _reader(kind)(path, **given)


def _load_trusted(path: Path, kind: str, what: str, *, arch: str | None, trust: bool, options: dict[str, Any]) -> Model:
    """The model of a file that can run code."""
    foreign = recognised_pickle(path) if kind == "pickle" else None
    if foreign is not None and not foreign.holds_module:
        raise CaptureError(str(path), foreign.what, fix=foreign.fix)
    if not trust:
        what, fix = (what, USE_ONNX) if foreign is None else (foreign.what, foreign.fix)
        raise CaptureError(
            str(path),
            f"{what}: opening it can run code that its author put there",
            fix=f"pass trust=True or --trust if you know where it is from; else {fix}",
        )
    if kind == "script":
        return _load_script(path, options)
    from fullfield.importers.torch_files import read_pickle, read_program

    given = {**options, "name": options["name"] or path.stem}
    if kind == "program":
        return _capture_program(read_program(path), given)
    found = read_pickle(path)
    if not isinstance(found, nn.Module):
        return _load_state(found, arch, options)
    if arch is not None:
        raise _carries_network(str(path))
    return capture_module(found, **given)


def _capture_program(program: ProgramFile, given: dict[str, Any]) -> Model:
    """The model of a ``.pt2`` file; one with a fixed batch that cannot be made free runs once for each window."""
    if program.shape is not None:
        channels, *window = program.shape
        given = {**given, "window": given["window"] or tuple(window), "channels": given["channels"] or channels}
    if program.batch is not None and program.has_states:
        return capture_module(program.for_each_window(given["name"]), **given)
    try:
        return capture_module(program.module, **given)
    except CaptureError as error:
        try:
            return capture_module(program.for_each_window(given["name"]), **given)
        except CaptureError:
            raise error from None


def _load_script(path: Path, options: dict[str, Any]) -> Model:
    """The model of a TorchScript file, with what the JSON next to it says."""
    from fullfield.importers.torchscript import read_script, read_script_facts

    facts = read_script_facts(path)
    given = {**options, "name": options["name"] or path.stem}
    window = options["window"] or facts.window
    if window is None:
        raise CaptureError("window", f"is not given, and {path} does not state it", fix="pass window=224, --window 224")
    module, given["window"], given["channels"] = read_script(
        path, window=window, channels=options["channels"] or facts.channels
    )
    given["preprocessing"] = options["preprocessing"] or facts.preprocessing
    given["class_names"] = options["class_names"] or (facts.class_names if options["score"] is None else None)
    return replace(capture_module(module, **given), about=(("architecture", "TorchScript"), *facts.about))


def _state_dict(path: Path, kind: str) -> StateDict | None:
    """The weights in a file of weights alone, read without running code; ``None`` in any other."""
    from fullfield.importers.checkpoints.state_dict import read_safetensors, read_torch

    return read_safetensors(path) if kind == "safetensors" else read_torch(path)


def _load_state(state: StateDict, arch: str | None, options: dict[str, Any]) -> Model:
    """The model of weights alone."""
    from fullfield.importers.checkpoints.load import load_state

    return load_state(state, arch=arch, **options)


def _reader(kind: str) -> Callable[..., Model]:
    """What reads a file of a kind; a format is imported when the first file of it is read."""
    if kind == "onnx":
        from fullfield.importers.onnx import load_onnx

        return load_onnx
    from fullfield.importers.torch7.importer import load_torch7

    return load_torch7


def _carries_weights(where: str) -> CaptureError:
    return CaptureError(
        where, "carries its weights itself", fix="leave out weights=; they go with a .prototxt or a name"
    )


def _carries_network(where: str) -> CaptureError:
    return CaptureError(where, "carries its network itself", fix="leave out arch=; it goes with a file of weights")


def _check_unchanged(model: Model, window: WindowSize | None, channels: int | None, score: int | str | None) -> None:
    """Raises where an option asks for what a finished model cannot change."""
    fix = "load its file or module again with the other"
    given = (1, window) if model.of_signals and isinstance(window, int) else window
    if given is not None and parse_window(given) != model.window:
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
