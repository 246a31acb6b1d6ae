"""Net surgery: rewrites the layers of a Caffe network so that it takes images of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fullfield.errors import UnsupportedError
from fullfield.importers.caffe.importer import CaffeNetwork
from fullfield.importers.caffe.schema import Message, message

_CELLWISE = frozenset({
    "AbsVal", "BNLL", "Clip", "Dropout", "ELU", "Eltwise", "Exp", "Log", "Power", "ReLU", "Sigmoid", "Split", "Swish",
    "TanH", "Threshold",
})  # fmt: skip
"""Layers with the same result on a flattened map as on the map."""
_SLIDING = frozenset({"Convolution", "Deconvolution", "Pooling", "LRN", "Crop"})
_PER_CHANNEL = {
    "BatchNorm": "", "PReLU": "", "Concat": "concat_param", "Slice": "slice_param", "Softmax": "softmax_param",
    "Scale": "scale_param", "Bias": "bias_param",
}  # fmt: skip
"""Layers that can slide if they work along the channels, axis 1."""


@dataclass
class _Values:
    """The new names of values, and the shapes ``(c, y, x)`` of maps that the file has flattened."""

    names: dict[str, str]
    flat: dict[str, tuple[int, ...]] = field(default_factory=dict)
    aliases: set[str] = field(default_factory=set)


def fully_convolutional(network: CaffeNetwork) -> tuple[Message, list[str]]:
    """The definition with convolutions for fully connected layers, without blobs; and the modules of its layers.

    A global pool becomes a pool as large as the window's map, of stride 1; flattening layers are removed.
    On one window the result equals the network's; on a larger image, layers that pad see neighbouring pixels.

    Raises:
        UnsupportedError: other layers that read the whole window; all of them are named.
    """
    net = start(network)
    values = _Values({network.selection.image: network.selection.image})
    refused, modules = [], []
    for layer, (attribute, _, _) in zip(network.selection.layers, network.module.steps, strict=True):
        before = len(net.layer)
        reason = _rewrite(net, layer, network.input_shapes[attribute], values)
        modules += [attribute] * (len(net.layer) - before)
        if reason is not None:
            refused.append(f"{layer.name} ({layer.type}) {reason}")
            values.names |= dict.fromkeys(layer.top, "")
    if refused:
        what = "cannot be made fully convolutional: " + "; ".join(refused)
        raise UnsupportedError(network.definition.name or "network", what, fix="scan it in exact mode instead")
    return net, modules


def start(network: CaffeNetwork) -> Message:
    """A network that consists of an ``Input`` layer for one window."""
    net = message("NetParameter")(name=network.definition.name)
    source = net.layer.add(name=network.selection.image, type="Input", top=[network.selection.image])
    source.input_param.shape.add(dim=[1, *network.shape])
    return net


def _rewrite(net: Message, layer: Message, input_shape: tuple[int, ...], values: _Values) -> str | None:
    """Adds the rewritten layer, or returns the reason why it cannot be rewritten."""
    volume = values.flat.get(layer.bottom[0], input_shape)
    if layer.type == "InnerProduct":
        return _connected(net, layer, volume, values)
    if layer.type in ("Flatten", "Reshape"):
        return _flattened(layer, input_shape, volume, values)
    wide = math.prod(volume[1:]) > 1 and layer.bottom[0] in values.flat
    if layer.type in _PER_CHANNEL:
        parameters = _PER_CHANNEL[layer.type]
        p = getattr(layer, parameters) if parameters else None
        if p is not None and (p.axis != 1 or getattr(p, "num_axes", 1) != 1):
            return "works along another axis than the channels"
        if wide:
            return "works along the values of a flattened map"
    elif layer.type not in _CELLWISE and (layer.type not in _SLIDING or wide):
        return "reads the whole window"
    new = _copied(net, layer, values)
    if layer.type == "Pooling" and layer.pooling_param.global_pooling:
        _windowed(new, volume)
    for top in layer.top:
        if layer.bottom[0] in values.flat:
            values.flat[top] = volume
    return None


def _copied(net: Message, layer: Message, values: _Values) -> Message:
    """Adds a copy of the layer with the new names of values."""
    new = net.layer.add()
    new.CopyFrom(layer)
    new.ClearField("blobs")
    new.bottom[:] = [values.names[bottom] for bottom in layer.bottom]
    for position, top in enumerate(layer.top):
        in_place = top in layer.bottom and top not in values.aliases
        new.top[position] = values.names[top] if in_place else top
        values.names[top] = new.top[position]
        values.aliases.discard(top)
        if layer.bottom[0] not in values.flat:
            values.flat.pop(top, None)
    return new


def _connected(net: Message, layer: Message, volume: tuple[int, ...], values: _Values) -> str | None:
    """``InnerProduct`` as ``Convolution`` with a kernel of the map's size."""
    p = layer.inner_product_param
    height, width = (volume[1], volume[2]) if len(volume) == 3 else (1, 1)
    new = net.layer.add(name=f"{layer.name}-conv", type="Convolution", bottom=[values.names[layer.bottom[0]]])
    new.param.extend(layer.param)
    made = new.convolution_param
    made.num_output, made.bias_term = p.num_output, p.bias_term
    if height == width:
        made.kernel_size.append(height)
    else:
        made.kernel_h, made.kernel_w = height, width
    for name in ("weight_filler", "bias_filler"):
        if p.HasField(name):
            getattr(made, name).CopyFrom(getattr(p, name))
    top = layer.top[0]
    new.top.append(f"{top}-conv")
    values.names[top] = f"{top}-conv"
    values.flat[top] = (p.num_output, 1, 1)
    values.aliases.discard(top)
    return None


def _flattened(layer: Message, input_shape: tuple[int, ...], volume: tuple[int, ...], values: _Values) -> str | None:
    """Removes a layer that flattens a map; its value is now the map."""
    if layer.type == "Flatten":
        p = layer.flatten_param
        whole = p.axis in (1, -len(input_shape)) and p.end_axis in (-1, len(input_shape))
    else:
        q = layer.reshape_param
        sizes = list(q.shape.dim)
        last = sizes[1:] if q.axis == 0 else sizes if q.axis == 1 else []
        whole = q.num_axes == -1 and len(last) == 1
    if not whole:
        return "reshapes the map, but not into a vector"
    top = layer.top[0]
    values.names[top] = values.names[layer.bottom[0]]
    values.flat[top] = volume
    values.aliases.add(top)
    return None


def _windowed(new: Message, volume: tuple[int, ...]) -> None:
    """Turns a global pool into one over the window's map."""
    p = new.pooling_param
    p.ClearField("global_pooling")
    height, width = volume[1], volume[2]
    if height == width:
        p.kernel_size = height
    else:
        p.kernel_h, p.kernel_w = height, width
    p.stride = 1
