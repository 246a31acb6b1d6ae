"""Selects the layers that a classifier needs: its input, its score, and the layers between in the test phase."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fullfield.arguments import nearest
from fullfield.errors import CaptureError
from fullfield.importers.caffe.schema import Message, message
from fullfield.model.features import index_or_name

_DATA = frozenset({"Input", "Data", "ImageData", "WindowData", "MemoryData", "DummyData", "HDF5Data"})
_DROPPED = frozenset({
    "Accuracy", "ContrastiveLoss", "EuclideanLoss", "HDF5Output", "HingeLoss", "InfogainLoss",
    "MultinomialLogisticLoss", "Silence",
})  # fmt: skip
_LOSSES = {"SoftmaxWithLoss": "Softmax", "SigmoidCrossEntropyLoss": "Sigmoid"}
"""The activation inside each loss."""
_SAME_CLASSES = frozenset({"Dropout", "Flatten", "LogSoftmax", "Reshape", "Sigmoid", "Softmax", "Split"})
_TEST = 1


@dataclass(frozen=True)
class ScoringLayers:
    """The input layer, the layers between it and the score, and the score's name.

    ``shape`` is the input's ``(batch, channels, height, width)``; 0 where the file does not state it. ``inner`` is what
    the user called the score where it is the value of an inner layer, and no scores of classes.
    """

    source: Message
    image: str
    shape: tuple[int, int, int, int]
    layers: tuple[Message, ...]
    score: str
    inner: str | None = None


def select_layers(net: Message, path: Path, *, score: int | str | None, deployed: bool) -> ScoringLayers:
    """The part of the network that computes the score.

    Args:
        score: name of a value or layer, or index among the values that no layer reads; by default the only one of
            these, or the only softmax among them.
        deployed: whether to select layers by phase; in a ``.caffemodel`` that is already done.

    Raises:
        CaptureError: there is no input, or not exactly one score.
    """
    layers = [layer for layer in net.layer if not deployed or _in_test(layer)]
    sources = [layer for layer in layers if layer.type in _DATA]
    source = next((layer for layer in sources if layer.top), None)
    if source is None:
        raise incomplete(path, "has no input layer", deployed=deployed, fix='add one: layer { type: "Input" ... }')
    labels = {top for layer in sources for top in layer.top} - {source.top[0]}
    body = [_scoring(layer, labels) for layer in layers if layer.type not in _DATA | _DROPPED]
    chosen, inner = _score(body, score, path)
    needed = _leading_to(body, chosen)
    others = {name for layer in needed for name in layer.bottom} & (labels - {n for layer in needed for n in layer.top})
    if others:
        what = f"has more than one input: {source.top[0]}, {', '.join(sorted(others))}"
        fix = "cut the network to the part that scores an image"
        raise incomplete(path, what, deployed=deployed, fix=fix)
    return ScoringLayers(source, source.top[0], _input_shape(source), tuple(needed), chosen, inner)


def incomplete(path: Path, what: str, *, deployed: bool, fix: str) -> CaptureError:
    """The error for a file that does not say all that scoring an image needs.

    Args:
        deployed: whether it is a ``.prototxt``; a ``.caffemodel`` needs one beside it.
        fix: of a ``.prototxt``.
    """
    if not deployed:
        what = f"is a .caffemodel without its .prototxt, and {what}"
        fix = f'load the deploy .prototxt that belongs to it, with weights="{path.name}" (--weights)'
    return CaptureError(str(path), what, fix=fix)


def check_types(layers: tuple[Message, ...], known: frozenset[str], path: Path) -> None:
    """Refuses unknown layers and names all of them.

    Raises:
        CaptureError: there are such layers.
    """
    unknown = Counter(layer.type for layer in layers if layer.type not in known)
    if unknown:
        listed = ", ".join(f"{name or 'of no type'} ({count})" for name, count in sorted(unknown.items()))
        raise CaptureError(
            str(path), f"has layers that fullfield cannot read: {listed}", fix="build the network without them"
        )


def _in_test(layer: Message) -> bool:
    if layer.include:
        return any(_applies(rule) for rule in layer.include)
    return not any(_applies(rule) for rule in layer.exclude)


def _applies(rule: Message) -> bool:
    """Whether a rule holds at level 0 of the test phase without stages."""
    if rule.HasField("phase") and rule.phase != _TEST:
        return False
    if (rule.HasField("min_level") and rule.min_level > 0) or (rule.HasField("max_level") and rule.max_level < 0):
        return False
    return not rule.stage


def _scoring(layer: Message, labels: set[str]) -> Message:
    """The layer itself, or the activation inside a loss."""
    if layer.type not in _LOSSES:
        return layer
    made = message("LayerParameter")(name=layer.name, type=_LOSSES[layer.type])
    made.bottom.extend(name for name in layer.bottom[:1] if name not in labels)
    made.top.extend(layer.top[:1] or [layer.name])
    made.softmax_param.CopyFrom(layer.softmax_param)
    return made


def _score(layers: list[Message], score: int | str | None, path: Path) -> tuple[str, str | None]:
    """The name of the score, and what the user calls it where it is the value of an inner layer."""
    names = _unread(layers)
    if score is not None:
        score = index_or_name(score, lambda name: any(name in (layer.name, *layer.top) for layer in layers))
    if isinstance(score, str):
        value = _value(layers, score, path)
        return value, None if value in _class_scores(layers, names) else score
    if score is not None and -len(names) <= score < len(names):
        return names[score], None
    made = {top: layer.type for layer in layers for top in layer.top}
    normalised = [name for name in names if made[name] == "Softmax"]
    if score is None and len(names) > 1 and len(normalised) == 1:
        return normalised[0], None
    if len(names) != 1 or score is not None:
        what = f"has {len(names)} outputs: {', '.join(names[:8]) or 'none'}"
        raise CaptureError(str(path), what, fix="choose the one that holds the scores: score='prob', say")
    return names[0], None


def _unread(layers: list[Message]) -> list[str]:
    """The values that no later layer reads."""
    unread: dict[str, None] = {}
    for layer in layers:
        for bottom in layer.bottom:
            unread.pop(bottom, None)
        unread |= dict.fromkeys(layer.top)
    return list(unread)


def _value(layers: list[Message], name: str, path: Path) -> str:
    """The value of that name, or that the layer of that name makes first.

    Raises:
        CaptureError: there is none.
    """
    made = {top: None for layer in layers for top in layer.top}
    by_layer = {layer.name: layer.top[0] for layer in layers if layer.top}
    if name not in made and name not in by_layer:
        near = nearest(name, [*made, *by_layer]) or list(made)[-8:]
        raise CaptureError(str(path), f"has no value and no layer {name!r}", fix=f"name one of {', '.join(near)}")
    return name if name in made else str(by_layer[name])


def _class_scores(layers: list[Message], names: list[str]) -> set[str]:
    """The values that are scores of classes: those that no layer reads, and what these are softmax or sigmoid of."""
    found = set(names)
    for layer in reversed(layers):
        if layer.type in _SAME_CLASSES and not found.isdisjoint(layer.top):
            found.update(layer.bottom[:1])
    return found


def _leading_to(layers: list[Message], score: str) -> list[Message]:
    """The layers that the score depends on, in the file's order."""
    needed, found = {score}, []
    for layer in reversed(layers):
        if needed.intersection(layer.top):
            needed -= set(layer.top)
            needed |= set(layer.bottom)
            found.append(layer)
    return found[::-1]


def _input_shape(source: Message) -> tuple[int, int, int, int]:
    """Batch, channels, height and width of an input layer; 0 where it does not state them."""
    crop = source.transform_param.crop_size
    match source.type:
        case "Input":
            dims = list(source.input_param.shape[0].dim) if source.input_param.shape else []
        case "DummyData":
            p = source.dummy_data_param
            each = [list(p.num), list(p.channels), list(p.height), list(p.width)]
            dims = list(p.shape[0].dim) if p.shape else [values[0] for values in each if values]
        case "MemoryData":
            p = source.memory_data_param
            dims = [p.batch_size, p.channels, crop or p.height, crop or p.width]
        case "ImageData":
            p = source.image_data_param
            dims = [p.batch_size, 0, crop or p.new_height, crop or p.new_width]
        case _:
            dims = [source.data_param.batch_size, 0, crop, crop]
    if len(dims) != 4 or any(d < 0 for d in dims):
        return 0, 0, 0, 0
    return dims[0], dims[1], dims[2], dims[3]
