"""Loads Caffe files as a ``Model``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fullfield.errors import CaptureError
from fullfield.importers.caffe.network import CaffeModule, build
from fullfield.importers.caffe.reader import kind, read
from fullfield.importers.caffe.schema import Message
from fullfield.importers.caffe.selection import ScoringLayers, incomplete, select_layers
from fullfield.importers.caffe.weights import FACTORS, CaffeWeights, blob_shape
from fullfield.model.features import ScoreChoice, parse_score
from fullfield.model.given_preprocessing import PreprocessingLike
from fullfield.model.model import Model
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.torch_export import WindowSize, capture_module, parse_window


@dataclass(frozen=True)
class CaffeNetwork:
    """A Caffe network: its module, the window's ``(c, y, x)`` and the preprocessing of its data layer.

    ``definition`` is the file in today's syntax, without blobs. ``input_shapes`` has each layer's for one window,
    by the module's names. ``mean_file`` is the name of a file with the mean, which is not read.
    """

    module: CaffeModule
    shape: tuple[int, int, int]
    preprocessing: Preprocessing | None
    definition: Message
    selection: ScoringLayers
    input_shapes: dict[str, tuple[int, ...]]
    mean_file: str = ""


def load_caffe(
    path: Path,
    *,
    weights: Path | None = None,
    window: WindowSize | None = None,
    preprocessing: PreprocessingLike | None = None,
    class_names: tuple[str, ...] | list[str] | None = None,
    score: int | str | None = None,
    name: str | None = None,
) -> Model:
    """The model in a ``.prototxt``, with its weights in a ``.caffemodel``; or all in a ``.caffemodel``.

    Without weights, the file's fillers draw them. A file for training is read in its test phase, with the softmax or
    sigmoid of its loss.

    Args:
        window: height and width, px; by default the input layer's, or the crop's of a data layer.
        preprocessing: by default that of ``transform_param``, in the order BGR.
        score: name of a value or layer (``"fc7"``, say), or index among the values that no layer reads.

    Raises:
        CaptureError: a file is damaged or too large, or has unknown layers or weights of other shapes.
    """
    choice = parse_score(score)
    net = read_network(path, weights=weights, window=window, score=choice.name)
    if net.mean_file and preprocessing is None:
        what = f"takes its mean from another file, {net.mean_file!r}, which is not read"
        raise CaptureError(str(path), what, fix='pass preprocessing="caffe" (ImageNet\'s mean), or another')
    model = capture_module(
        net.module,
        window=net.shape[1:],
        channels=net.shape[0],
        preprocessing=preprocessing if preprocessing is not None else net.preprocessing,
        class_names=class_names,
        score=ScoreChoice(0 if choice.is_given else None, choice.pooling, net.selection.inner),
        name=name or net.definition.name or path.stem,
    )
    factors = {id(p): net.module.caffe_factors[n] for n, p in net.module.named_parameters()}
    named = model.graph.named_parameters()
    model.graph.meta[FACTORS] = {name: factors[id(p)] for name, p in named if id(p) in factors}
    return model


def read_network(
    path: Path, *, weights: Path | None = None, window: WindowSize | None = None, score: int | str | None = None
) -> CaffeNetwork:
    """The network as a trainable module with the ``lr_mult`` and ``decay_mult`` of its parameters.

    Raises:
        CaptureError: as ``load_caffe``.
    """
    deployed = kind(path) == "text"
    definition = read(path)
    if weights is not None and kind(weights) == "text" and not any(layer.blobs for layer in read(weights).layer):
        raise CaptureError(str(weights), "is a .prototxt, which has no weights", fix="give the .prototxt first")
    blobs = definition if weights is None else read(weights)
    if weights is None and not any(layer.blobs for layer in definition.layer):
        blobs = None
    chosen = select_layers(definition, path, score=score, deployed=deployed)
    if window is not None:
        size = parse_window(window)
    elif chosen.shape[2] and chosen.shape[3]:
        size = chosen.shape[2], chosen.shape[3]
    else:
        raise incomplete(path, "does not state its window", deployed=deployed, fix="pass window=227, say")
    shape = (_channels(chosen, blobs), *size)
    module, input_shapes = build(chosen, CaffeWeights(blobs), shape, path)
    for layer in definition.layer:
        layer.ClearField("blobs")
    transform = chosen.source.transform_param
    preprocessing = _preprocessing(chosen.source, shape[0])
    return CaffeNetwork(module.train(), shape, preprocessing, definition, chosen, input_shapes, transform.mean_file)


def _channels(chosen: ScoringLayers, blobs: Message | None) -> int:
    """Input channels: as declared, else those of the first convolution's weights, else those of the mean."""
    if chosen.shape[1]:
        return chosen.shape[1]
    found = {layer.name: layer.blobs for layer in blobs.layer if layer.blobs} if blobs is not None else {}
    for layer in chosen.layers:
        if layer.type == "Convolution" and chosen.image in layer.bottom and layer.name in found:
            shape = blob_shape(found[layer.name][0])
            if len(shape) == 4 and shape[1] > 0:
                return int(shape[1] * max(1, layer.convolution_param.group))
    transform = chosen.source.transform_param
    if len(transform.mean_value) > 1:
        return len(transform.mean_value)
    return 1 if transform.force_gray else 3


def _preprocessing(source: Message, channels: int) -> Preprocessing | None:
    """``(pixel - mean) * scale`` of ``transform_param``; ``None`` where it has neither."""
    p = source.transform_param
    if not (p.HasField("scale") or p.mean_value or p.mean_file):
        return None
    mean = tuple(float(value) * p.scale for value in p.mean_value) or (0.0,)
    order = {1: "grey", 3: "BGR"}.get(channels, "any")
    return Preprocessing(scale=p.scale, mean=mean, order=order, value_range=(0.0, 255.0))  # type: ignore[arg-type]
