"""Writes Caffe files: a network as it is, or fully convolutional after net surgery."""

from __future__ import annotations

from pathlib import Path

import torch
from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no types
from torch import nn

from fullfield.errors import ImageError, UnsupportedError
from fullfield.files import check_writable, replacing_all
from fullfield.importers.caffe.importer import CaffeNetwork
from fullfield.importers.caffe.pointwise import CaffeScale
from fullfield.importers.caffe.schema import Message
from fullfield.importers.caffe.surgery import fully_convolutional, start
from fullfield.importers.caffe.weights import write_blob

LARGEST_BYTES = 2**31 - 1
"""The most bytes of one protobuf file."""


def save_caffe(
    network: CaffeNetwork,
    prototxt: str | Path,
    caffemodel: str | Path,
    *,
    surgery: bool = True,
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Writes the network's definition and weights as Caffe's files, in today's syntax, both or neither.

    With ``surgery`` every ``InnerProduct`` becomes a ``Convolution`` named ``<name>-conv`` over its whole input, so
    that the network takes images of the window's size and larger; the weights are only reshaped.

    Raises:
        ImageError: a file exists, or cannot be written.
        UnsupportedError: a layer reads the whole window and is not a convolution of it, or a file is too large.
    Source: the net surgery tutorial of BVLC Caffe; Long, Shelhamer & Darrell 2015, section 3.1.
    """
    targets = [check_writable(path, overwrite, suffixes=None) for path in (prototxt, caffemodel)]
    if targets[0] == targets[1]:
        raise ImageError(str(targets[0]), "is given for both files", fix="give two names")
    net, modules = fully_convolutional(network) if surgery else _as_it_is(network)
    text = text_format.MessageToString(net).encode()
    for layer, name in zip(net.layer[1:], modules, strict=True):
        _add_blobs(layer, network.module.get_submodule(name))
    if net.ByteSize() > LARGEST_BYTES:
        what = f"has {net.ByteSize()} bytes of weights, more than one Caffe file holds"
        raise UnsupportedError(str(caffemodel), what, fix="write ONNX instead")
    with replacing_all(targets, overwrite=overwrite, needed_bytes=net.ByteSize() + len(text)) as temporaries:
        for path, content in zip(temporaries, (text, net.SerializeToString()), strict=True):
            path.write_bytes(content)
    return targets[0], targets[1]


def _as_it_is(network: CaffeNetwork) -> tuple[Message, list[str]]:
    """An ``Input`` layer of the window and the selected layers; and the modules of these."""
    net = start(network)
    net.layer.extend(network.selection.layers)
    for layer in net.layer:
        layer.ClearField("blobs")
    return net, [name for name, _, _ in network.module.steps]


def _add_blobs(layer: Message, module: nn.Module) -> None:
    for tensor in _blobs(module):
        kernel = layer.convolution_param
        if layer.type == "Convolution" and tensor.dim() == 2:
            height = kernel.kernel_h or kernel.kernel_size[0]
            width = kernel.kernel_w or kernel.kernel_size[-1]
            tensor = tensor.reshape(tensor.shape[0], -1, height, width)
        write_blob(layer.blobs.add(), tensor)


def _blobs(module: nn.Module) -> list[torch.Tensor]:
    """A module's parameters in Caffe's order."""
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        assert module.running_mean is not None
        assert module.running_var is not None
        return [module.running_mean, module.running_var, torch.ones(1)]
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.PReLU, CaffeScale)):
        found = [module.weight, getattr(module, "bias", None)]
        return [tensor for tensor in found if isinstance(tensor, torch.Tensor)]
    return []
