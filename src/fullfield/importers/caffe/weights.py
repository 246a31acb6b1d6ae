"""Parameters of layers: from the blobs of a file, by the layer's name, or from fillers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fullfield.importers.caffe.schema import Message, message
from fullfield.importers.limits import FILE_BYTES, LayerRefused, check_elements
from fullfield.text import size_text

DRAWN_BYTES = 640 * 2**20
"""The most bytes of weights that fillers draw; VGG-19, the largest network that Caffe's authors list, has 575 MB."""
StoredShape = tuple[tuple[int, ...], bool]
"""A blob's shape, and whether the parameter is its transpose."""
Factors = tuple[float, float]
"""Factors of learning rate and weight decay."""


class CaffeWeights:
    """The source of the parameters of a network's layers.

    Args:
        net: has the blobs; ``None`` if fillers draw the parameters.
    """

    def __init__(self, net: Message | None) -> None:
        self._blobs = None if net is None else {layer.name: layer.blobs for layer in net.layer if layer.blobs}
        self._left = FILE_BYTES
        self.missing: list[str] = []
        self.specs: dict[nn.Parameter, Message] = {}
        self._named: dict[str, tuple[nn.Parameter, StoredShape]] = {}
        self._undrawn: list[tuple[nn.Parameter, StoredShape, Message | None]] = []

    def parameter(
        self, layer: Message, index: int, shape: Sequence[int], filler: Message | None, *, transposed: bool = False
    ) -> nn.Parameter:
        """The layer's parameter of that index; layers that name the same one share it, with the last blob as its data.

        What fillers draw has no values before ``draw``, so that a network that is refused takes no memory.

        Args:
            shape: in the file.
            transposed: whether the parameter is the blob's transpose.

        Raises:
            LayerRefused: the file's blob has another shape, all parameters together are too large, or layers that share
                a parameter need different shapes or factors.
        """
        tensor = self.tensor(layer, index, shape)
        spec = layer.param[index] if index < len(layer.param) else message("ParamSpec")()
        layout = (tuple(shape), transposed)
        if spec.name in self._named:
            return self._shared(spec, layout, tensor)
        if tensor is None:
            check_filler(shape, filler)
            parameter = nn.Parameter(torch.empty(*(shape[::-1] if transposed else shape)))
            self._undrawn.append((parameter, layout, filler))
        else:
            parameter = nn.Parameter(tensor.T.contiguous() if transposed else tensor)
        self.specs[parameter] = message("ParamSpec").FromString(spec.SerializeToString())
        if spec.name:
            self._named[spec.name] = parameter, layout
        return parameter

    def draw(self) -> None:
        """Draws the parameters that no file has, by their fillers, in the order of the layers.

        Raises:
            LayerRefused: they would take more memory than fillers may.
        """
        drawn = sum(4 * parameter.numel() for parameter, _, _ in self._undrawn)
        if drawn > DRAWN_BYTES:
            raise LayerRefused(f"its fillers would draw {drawn} bytes of weights, more than {DRAWN_BYTES}")
        for parameter, (shape, transposed), filler in self._undrawn:
            tensor = torch.empty(shape) if transposed else parameter.data
            fill(tensor, filler)
            if transposed:
                parameter.data.copy_(tensor.T)
        self._undrawn.clear()

    def _shared(self, spec: Message, layout: StoredShape, tensor: torch.Tensor | None) -> nn.Parameter:
        """The parameter of that name, which an earlier layer created."""
        parameter, known = self._named[spec.name]
        if known != layout:
            raise LayerRefused(
                f"shares the parameter {spec.name!r} of {_times(known[0])}, but needs {_times(layout[0])}"
            )
        if tensor is not None:
            parameter.data.copy_(tensor.T if layout[1] else tensor)
        owner = self.specs[parameter]
        for name in ("lr_mult", "decay_mult"):
            if owner.HasField(name) and spec.HasField(name) and getattr(owner, name) != getattr(spec, name):
                what = f"{name} {getattr(spec, name)} and {getattr(owner, name)}"
                raise LayerRefused(f"shares the parameter {spec.name!r} with another {name}: {what}")
            if spec.HasField(name):
                setattr(owner, name, getattr(spec, name))
        return parameter

    def factors(self, module: nn.Module) -> dict[str, Factors]:
        """``lr_mult`` and ``decay_mult`` of a module's parameters, by their names."""
        specs = {name: self.specs.get(parameter) for name, parameter in module.named_parameters()}
        return {name: (spec.lr_mult, spec.decay_mult) for name, spec in specs.items() if spec is not None}

    def tensor(self, layer: Message, index: int, shape: Sequence[int]) -> torch.Tensor | None:
        """The layer's blob of that index; ``None`` if there is no file of weights, or none of this layer in it."""
        self._left -= 4 * check_elements(shape)
        if self._left < 0:
            raise LayerRefused(f"the parameters together are more than the {FILE_BYTES} bytes allowed")
        if self._blobs is None:
            return None
        blobs = self._blobs.get(layer.name, ())
        if index >= len(blobs):
            if layer.name not in self.missing:
                self.missing.append(layer.name)
            return None
        return read_blob(blobs[index], shape)

    def shape(self, layer: Message, index: int = 0) -> tuple[int, ...] | None:
        """The shape of a layer's blob in the file."""
        blobs = (self._blobs or {}).get(layer.name, ())
        return blob_shape(blobs[index]) if index < len(blobs) else None


def blob_shape(blob: Message) -> tuple[int, ...]:
    """A blob's shape; in old files ``(num, channels, height, width)``."""
    if blob.HasField("shape"):
        return tuple(int(size) for size in blob.shape.dim)
    return blob.num, blob.channels, blob.height, blob.width


def read_blob(blob: Message, shape: Sequence[int]) -> torch.Tensor:
    """A blob as a tensor of ``shape``; the number of leading axes of size 1 may differ.

    Raises:
        LayerRefused: the blob has another shape, or another number of values.
    """
    found = blob_shape(blob)
    if _core(found) != _core(shape):
        raise LayerRefused(f"a blob of {_times(found)} where the layer needs {_times(shape)}")
    if not blob.data and not blob.double_data:
        blob = _unpacked(blob)
    kind, chunks = ("<f8", blob.double_data) if blob.double_data else ("<f4", blob.data)
    raw = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    wanted = math.prod(shape)
    if len(raw) != wanted * int(kind[-1]):
        raise LayerRefused(f"a blob of {_times(found)} with {len(raw) // int(kind[-1])} numbers, not {wanted}")
    return torch.from_numpy(np.frombuffer(raw, dtype=kind).astype(np.float32).reshape(tuple(shape)))


def write_blob(blob: Message, tensor: torch.Tensor) -> None:
    """Writes a tensor to an empty blob."""
    blob.shape.dim.extend(tensor.shape)
    blob.data.append(tensor.detach().cpu().contiguous().numpy().astype("<f4").tobytes())


def _unpacked(blob: Message) -> Message:
    """The blob of a file that writes every number with its own tag, packed."""
    numbers = message("BlobProto", raw=False)()
    numbers.ParseFromString(blob.SerializeToString())
    return message("BlobProto").FromString(numbers.SerializeToString())


def _core(shape: Sequence[int]) -> tuple[int, ...]:
    ones = next((i for i, size in enumerate(shape) if size != 1), len(shape))
    return tuple(shape[ones:])


def _times(shape: Sequence[int]) -> str:
    return size_text(shape) or "one number"


def check_filler(shape: Sequence[int], filler: Message | None) -> None:
    """Refuses a filler before anything is drawn.

    Raises:
        LayerRefused: it is unknown, or cannot fill a tensor of this shape.
    """
    kind = "constant" if filler is None else filler.type
    if kind not in _FILLERS:
        raise LayerRefused(f"an unknown filler {kind!r}")
    if kind == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
        raise LayerRefused("a bilinear filler for a kernel that is not square")


def fill(tensor: torch.Tensor, filler: Message | None) -> None:
    """Initialises a parameter by its filler; with zeros if it has none, as Caffe does.

    Raises:
        LayerRefused: as ``check_filler``.
    Source: Caffe ``filler.hpp``; Glorot & Bengio 2010 (xavier); He et al. 2015 (msra).
    """
    check_filler(tensor.shape, filler)
    kind = "constant" if filler is None else filler.type
    with torch.no_grad():
        _FILLERS[kind](tensor, filler if filler is not None else message("FillerParameter")())


def _gaussian(tensor: torch.Tensor, filler: Message) -> None:
    tensor.normal_(filler.mean, abs(filler.std))
    if filler.sparse >= 0:
        tensor.mul_(torch.bernoulli(torch.full_like(tensor, min(1.0, filler.sparse / max(1, tensor.shape[0])))))


def _unit_ball(tensor: torch.Tensor, filler: Message) -> None:
    tensor.uniform_(0, 1)
    rows = tensor.view(tensor.shape[0], -1)
    rows.div_(rows.sum(1, keepdim=True))


def _fan(tensor: torch.Tensor, filler: Message) -> float:
    count = tensor.numel()
    inputs, outputs = count / max(1, tensor.shape[0]), count / max(1, tensor.shape[1] if tensor.dim() > 1 else 1)
    return max(1.0, (inputs, outputs, (inputs + outputs) / 2)[filler.variance_norm])


def _xavier(tensor: torch.Tensor, filler: Message) -> None:
    bound = math.sqrt(3 / _fan(tensor, filler))
    tensor.uniform_(-bound, bound)


def _msra(tensor: torch.Tensor, filler: Message) -> None:
    tensor.normal_(0, math.sqrt(2 / _fan(tensor, filler)))


def _bilinear(tensor: torch.Tensor, filler: Message) -> None:
    size = tensor.shape[3]
    half = math.ceil(size / 2)
    centre = (2 * half - 1 - half % 2) / (2.0 * half)
    ramp = 1 - (torch.arange(size) / half - centre).abs()
    tensor.copy_((ramp[:, None] * ramp[None, :]).expand_as(tensor))


FACTORS = "caffe_factors"
"""Attribute of a module, or key of a graph's ``meta``, with the factors; copies of parameters would lose theirs."""
_FILLERS: dict[str, Any] = {
    "constant": lambda tensor, filler: tensor.fill_(filler.value),
    "uniform": lambda tensor, filler: tensor.uniform_(min(filler.min, filler.max), max(filler.min, filler.max)),
    "gaussian": _gaussian,
    "positive_unitball": _unit_ball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}


def parameter_groups(module: nn.Module, *, lr: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """Groups for any ``torch.optim`` optimiser with the rates given by ``lr_mult`` and ``decay_mult``.

    Parameters without factors have 1 and 1; those that Caffe does not train (``lr_mult: 0``) are left out. Factors
    belong to the parameters' names: copies and modules moved to another type or device have them too.

    Args:
        module: a Caffe network, the graph of a model that ``load`` made of one, or a module that contains either.
        lr: the solver's ``base_lr``.
        weight_decay: the solver's ``weight_decay``.

    Examples:
        >>> [group["lr"] for group in parameter_groups(nn.Linear(2, 2), lr=0.01)]
        [0.01]
    """
    known: dict[str, Factors] = {}
    for path, part in module.named_modules():
        own = part.meta.get(FACTORS) if isinstance(part, torch.fx.GraphModule) else getattr(part, FACTORS, None)
        known |= {f"{path}.{name}" if path else name: factors for name, factors in (own or {}).items()}
    groups: dict[Factors, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        groups.setdefault(known.get(name, (1.0, 1.0)), []).append(parameter)
    return [
        {"params": parameters, "lr": lr * rate, "weight_decay": weight_decay * decay}
        for (rate, decay), parameters in sorted(groups.items())
        if rate != 0
    ]
