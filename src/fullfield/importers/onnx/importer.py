"""Loads an ONNX file as a ``Model``: maps its nodes one after the other to a new graph."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import onnx
import torch

from fullfield.errors import CaptureError, first_line
from fullfield.importers.limits import LayerRefused, broken
from fullfield.importers.onnx import (
    activations,
    arithmetic,
    constants,
    layout,
    linear,
    norms,
    pooling,
    quantised,
    reductions,
    resizing,
    selection,
    slicing,
    windowed,
)
from fullfield.importers.onnx.allowance import Allowance
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.interface import ImageInput, find_input
from fullfield.importers.onnx.layer_names import layer_path
from fullfield.importers.onnx.metadata import Metadata, metadata
from fullfield.importers.onnx.reader import CAP_BYTES, ReadModel, full_name, opset, read_model
from fullfield.importers.onnx.registry import REGISTRY, OnnxCall
from fullfield.importers.onnx.tensors import to_torch
from fullfield.importers.onnx.values import BATCHES, Known, OnnxValue, Traced
from fullfield.model.batch_independence import check_batch_independence
from fullfield.model.features import parse_score, vector_rule
from fullfield.model.given_preprocessing import PreprocessingLike, resolve
from fullfield.model.model import Model
from fullfield.model.torch_export import WindowSize, checked_model, parse_window

aten = torch.ops.aten

FAMILIES = (
    activations,
    arithmetic,
    constants,
    layout,
    linear,
    norms,
    pooling,
    quantised,
    reductions,
    resizing,
    selection,
    slicing,
    windowed,
)
"""The modules whose import fills the registry."""


def load_onnx(
    path: Path,
    *,
    window: WindowSize | None = None,
    preprocessing: PreprocessingLike | None = None,
    class_names: tuple[str, ...] | list[str] | None = None,
    score: int | str | None = None,
    name: str | None = None,
    cap_bytes: int = CAP_BYTES,
) -> Model:
    """The model in an ONNX file; a fixed batch size is made free.

    Args:
        window: height and width, px; by default that of fullfield's metadata or of the file's input.
        score: index or name of an output, or the name of any value, node or layer.
        cap_bytes: the most bytes of the file, and of all its weights together.

    Raises:
        CaptureError: the file is damaged, too large, has unknown operators, or does not score windows.
    """
    read = read_model(path, parse_score(score), cap_bytes=cap_bytes)
    model = read.proto
    stated = metadata(model, path)
    entry = find_input(model.graph, path)
    size = parse_window(window if window is not None else _own_window(stated, entry, path))
    importer = _GraphImport(read, path, entry, size)
    graph = importer.run()
    features = importer.features or stated.features
    names = None if importer.features else stated.names_of(importer.classes, read.chosen.labels)
    return checked_model(
        graph,
        window=size,
        channels=entry.channels,
        preprocessing=resolve(
            preprocessing, channels=entry.channels, stated=stated.preprocessing or entry.preprocessing
        ),
        class_names=names if class_names is None else tuple(class_names),
        name=name or (stated.name or path.stem) + (" (quantised, read as floats)" if read.quantised else ""),
        features=features,
        check=partial(_check_independence, path) if importer.builder.freed else check_batch_independence,
    )


def _own_window(stated: Metadata, entry: ImageInput, path: Path) -> tuple[int, int]:
    if stated.window is not None and (stated.is_own or None in (entry.height, entry.width)):
        return stated.window
    if entry.height is None or entry.width is None:
        raise CaptureError(str(path), "does not state its window: its size is free", fix="pass window=224, say")
    return entry.height, entry.width


class _GraphImport:
    """Maps the nodes in order, with a table from names to values."""

    def __init__(self, read: ReadModel, path: Path, entry: ImageInput, window: tuple[int, int]) -> None:
        model = read.proto
        self.path, self.model, self.opset, self.chosen = path, model, opset(model), read.chosen
        self.choice, self.window, self.features, self.classes = read.choice, window, "", 0
        batch = entry.batch or 1
        shape = (entry.channels, *window)
        self.allowance = Allowance(read.file_bytes)
        try:
            self.allowance.check(shape, entry.dtype)
        except LayerRefused as refusal:
            raise broken(path, f"its input {entry.name!r} {refusal}") from refusal
        self.builder = AtenBuilder(
            shape, entry.dtype, batch=batch, frozen=entry.batch is not None, allowance=self.allowance
        )
        self.initialisers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.values: dict[str, OnnxValue] = {entry.name: self._input(entry)}
        self.readers = Counter(name for node in model.graph.node for name in node.input if name)
        self.readers.update(o.name for o in model.graph.output)
        self.left = Counter(self.readers)

    def run(self) -> torch.fx.GraphModule:
        """The new graph, up to the output."""
        for node in self.model.graph.node:
            self._map(node)
        b, output = self.builder, self.chosen.name
        score = self._lookup(output, "the output")
        if not isinstance(score, Traced):
            raise broken(self.path, f"output {output!r} does not depend on the input")
        b.path = "output"
        scores = self._flat(score)
        self.classes = scores.shapes[0][-1] if scores.shapes[0] else 0
        b.graph.output(scores.node).meta = {"path": "output"}
        b.graph.eliminate_dead_code()
        b.graph.lint()
        return torch.fx.GraphModule(b.root, b.graph, "Network")

    def _input(self, entry: ImageInput) -> OnnxValue:
        """The input in the file's order of axes: transposed for a file that takes ``(n, h, w, c)``."""
        if not entry.channels_last:
            return self.builder.input
        self.builder.path = entry.name
        return self.builder.call(aten.permute.default, self.builder.input, [0, 2, 3, 1])

    def _map(self, node: onnx.NodeProto) -> None:
        self.builder.path = layer_path(node)
        inputs = tuple(self._lookup(name, self.builder.path) if name else None for name in node.input)
        try:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            outputs = len([name for name in node.output if name and self.readers[name]])
            readers = tuple(self.readers[name] for name in node.input)
            named = len(node.output) if node.op_type == "Split" else outputs
            call = OnnxCall(node.op_type, inputs, attributes, named, self.opset, readers)
            result = REGISTRY[full_name(node)](self.builder, call)
            results = dict(zip(node.output, result if isinstance(result, tuple) else (result,), strict=False))
            self._hold(node, results)
        except Exception as error:  # torch raises many types for a damaged file
            raise CaptureError(
                f"{self.path}: {self.builder.path} ({node.op_type})",
                first_line(error),
                fix="check the window; else export the network again, or in another opset",
            ) from error

    def _hold(self, node: onnx.NodeProto, results: dict[str, OnnxValue]) -> None:
        """Keeps results as long as a later node reads them, and counts the bytes that all these take."""
        self.values.update(results)
        self.allowance.hold(sum(map(_window_bytes, results.values())))
        self.left.subtract(name for name in node.input if name)
        for name in {*node.input, *results}:
            if self.left[name] <= 0 and name in self.values:
                self.allowance.hold(-_window_bytes(self.values.pop(name)))

    def _lookup(self, name: str, reader: str) -> OnnxValue:
        if name not in self.values:
            if name not in self.initialisers:
                raise broken(self.path, f"{reader} reads {name!r}, which no node computes")
            try:
                tensor = to_torch(self.initialisers[name], folder=self.path.parent)
            except LayerRefused as refusal:
                raise broken(self.path, f"tensor {name!r}: {refusal}") from refusal
            self.values[name] = Known.constant(tensor, name)
        return self.values[name]

    def _flat(self, score: Traced) -> Traced:
        """Scores ``(n,)`` and ``(n, k, 1, 1)``, in any order of axes, as ``(n, k)``; chosen maps and tokens pooled."""
        (low, high), layer = score.shapes, self.chosen.layer
        if not low or low[1:] != high[1:] or low[0] == high[0]:
            return score
        if not self.choice.is_given and sum(size != 1 for size in low[1:]) > 1:
            return score
        where = str(self.path) if layer is None else f"{self.path}: {layer}"
        rule = vector_rule(low[1:], self.choice.pooling, self.window, where)
        if layer is not None or rule.text:
            self.features = ", ".join(filter(None, (layer or f"output {self.chosen.name}", rule.text)))
        value: OnnxValue = score
        for target, arguments in rule.calls:
            value = self.builder.call(target, value, *arguments)
        assert isinstance(value, Traced)
        return value


def _window_bytes(value: OnnxValue) -> int:
    """Bytes of a value that depends on the pixels, for one window."""
    low, high = (tensor.numel() * tensor.dtype.itemsize for tensor in value.tensors)
    return (high - low) // (BATCHES[1] - BATCHES[0]) if isinstance(value, Traced) else 0


def _check_independence(path: Path, graph: torch.fx.GraphModule, probe: torch.Tensor, _: str) -> None:
    """Refuses a graph with a freed batch in which the windows of a batch affect one another.

    Raises:
        CaptureError: the scores of three windows together differ from those of each alone.
    """
    noise = torch.Generator().manual_seed(0)
    windows = torch.rand(3, *probe.shape[1:], generator=noise, dtype=torch.float64).to(probe)
    with torch.no_grad():
        try:
            together = graph(windows).double()
            alone = torch.stack([graph(w[None])[0] for w in windows]).double()
        except Exception as error:  # any failure means that the batch is not free
            raise _frozen(path, first_line(error)) from error
    slack = 64 * torch.finfo(probe.dtype).eps ** 0.75 * max(1.0, float(alone.abs().nan_to_num(0, 0, 0).max()))
    if together.shape != alone.shape:
        raise _frozen(path, f"three windows give {tuple(together.shape)} scores, each alone {tuple(alone.shape[1:])}")
    if not torch.allclose(together, alone, rtol=0, atol=slack, equal_nan=True):
        difference = float((together - alone).abs().max())
        raise _frozen(path, f"scores of windows together and alone differ by {difference:.3g}")


def _frozen(path: Path, why: str) -> CaptureError:
    return CaptureError(
        str(path), f"has a fixed batch size, which cannot be made free: {why}", fix="export it with a free batch"
    )
