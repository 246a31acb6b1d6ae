"""Caffe files out: a network as it is, or after net surgery, fully convolutional."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no types
from torch import nn

from fullfield.capture.caffe.importer import Network
from fullfield.capture.caffe.pointwise import Scale
from fullfield.capture.caffe.schema import Message
from fullfield.capture.caffe.surgery import fully_convolutional, start
from fullfield.capture.caffe.weights import write_blob
from fullfield.errors import ImageError, UnsupportedError

LARGEST_BYTES = 2**31 - 1
"""The most that one protobuf file can hold."""


def save_caffe(
    network: Network, prototxt: str | Path, caffemodel: str | Path, *, surgery: bool = True, overwrite: bool = False
) -> tuple[Path, Path]:
    """Writes the network's definition and weights as Caffe's files, in today's syntax, both or neither.

    With ``surgery`` every ``InnerProduct`` becomes a ``Convolution`` named ``<name>-conv`` over all that it read, so
    that the network takes images of any size from the window up; its weights are only given another shape.

    Raises:
        ImageError: a file exists, or cannot be written.
        UnsupportedError: a layer reads the whole window in a way that no convolution has, or a file is too large.
    Source: the net surgery tutorial of BVLC Caffe; Long, Shelhamer & Darrell 2015, section 3.1.
    """
    places = [_place(Path(path), overwrite=overwrite) for path in (prototxt, caffemodel)]
    if places[0] == places[1]:
        raise ImageError(str(places[0]), "is named for both files", fix="give two names")
    net, modules = fully_convolutional(network) if surgery else _as_it_is(network)
    text = text_format.MessageToString(net).encode()
    for layer, name in zip(net.layer[1:], modules, strict=True):
        _add_blobs(layer, network.module.get_submodule(name))
    if net.ByteSize() > LARGEST_BYTES:
        what = f"has {net.ByteSize()} bytes of weights, more than one Caffe file holds"
        raise UnsupportedError(str(caffemodel), what, fix="write ONNX instead")
    _write(places, [text, net.SerializeToString()])
    return places[0], places[1]


def _as_it_is(network: Network) -> tuple[Message, list[str]]:
    """The layers that lead to the score, behind an ``Input`` layer of the window; their modules."""
    net = start(network)
    net.layer.extend(network.plan.layers)
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
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.PReLU, Scale)):
        found = [module.weight, getattr(module, "bias", None)]
        return [tensor for tensor in found if isinstance(tensor, torch.Tensor)]
    return []


def _place(path: Path, *, overwrite: bool) -> Path:
    if path.is_dir():
        raise ImageError(str(path), "is a directory", fix="name a file in it")
    if path.exists() and not overwrite:
        raise ImageError(str(path), "exists already", fix="pass overwrite=True or --overwrite, or another name")
    if not path.parent.is_dir():
        raise ImageError(str(path), f"has no directory {str(path.parent)!r} to lie in", fix="make the directory first")
    return path


def _write(places: list[Path], contents: list[bytes]) -> None:
    """Moves both files into place once both are whole, the definition last."""
    try:
        with tempfile.TemporaryDirectory(prefix=".fullfield-", dir=places[0].parent) as folder:
            written = []
            for position, content in enumerate(contents):
                near = Path(folder, str(position))
                near.write_bytes(content)
                written.append(near)
            if places[1].parent != places[0].parent:
                places[1].write_bytes(contents[1])
            else:
                written[1].replace(places[1])
            written[0].replace(places[0])
    except OSError as error:
        raise ImageError(
            str(places[0]), f"cannot be written ({error.strerror})", fix="check the directory and the space left"
        ) from error
