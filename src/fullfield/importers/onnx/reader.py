"""Parses an ONNX file, checks its limits, drops nodes that are not needed, and inlines its functions.

The mappings support every opset: ``onnx.version_converter`` needs fixed sizes, and gets the axis wrong along which
operators before opset 7 broadcast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types

from fullfield.errors import CaptureError
from fullfield.importers.limits import LayerRefused, broken, read_bytes
from fullfield.importers.onnx.functions import drop_dead_nodes, inline
from fullfield.importers.onnx.kept_real import keep_real
from fullfield.importers.onnx.outputs import ChosenValue, choose_value
from fullfield.importers.onnx.registry import REGISTRY
from fullfield.importers.onnx.subgraphs import all_graphs, inner_graphs, read_names
from fullfield.importers.onnx.tensors import declared_bytes
from fullfield.model.features import ScoreChoice

CAP_BYTES = 4 * 2**30
"""The default limit for the bytes of a file, and of all its weights together."""

_FOR_ONE_PROCESSOR = "com.microsoft.nchwc."
_WITHOUT = "export the network without them"
_UNOPTIMISED = (
    "load the file that ONNX Runtime optimised, or write it again with "
    "graph_optimization_level = ORT_ENABLE_EXTENDED: these operators are for one kind of processor"
)


@dataclass(frozen=True)
class ReadModel:
    """A model in a file, without functions and without nodes that its scores do not depend on.

    Args:
        chosen: the value that holds the scores.
        choice: what the user chose.
        file_bytes: of the file and of the weights that lie in others.
        quantised: whether it computes with integers, which are read as the real numbers that they mean.
    """

    proto: onnx.ModelProto
    chosen: ChosenValue
    choice: ScoreChoice
    file_bytes: int
    quantised: bool = False


def read_model(path: Path, score: ScoreChoice, *, cap_bytes: int = CAP_BYTES) -> ReadModel:
    """The model in the file. No memory is allocated for weights or nodes beyond what the file's bytes allow.

    Args:
        score: the value that holds the scores.

    Raises:
        CaptureError: the file is too large, damaged, not ONNX, has unknown operators, or is in an opset that cannot be
            read.
    """
    model = parse(path, cap_bytes=cap_bytes)
    _check_opset(model, path)
    chosen = choose_value(model.graph, score, path)
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=chosen.name))
    drop_dead_nodes(model.graph, chosen.name)
    external = _check_weights(model, path, cap_bytes)
    file_bytes = path.stat().st_size + external
    model = inline(model, path, cap_bytes=cap_bytes)
    quantised = keep_real(model.graph, path)
    drop_dead_nodes(model.graph, chosen.name)
    check_operators(model.graph.node, path)
    return ReadModel(model, chosen, score, file_bytes, quantised)


def parse(path: Path, *, cap_bytes: int = CAP_BYTES) -> onnx.ModelProto:
    """The file as a protobuf message that has a graph.

    Raises:
        CaptureError: the file is too large, cannot be opened, or is damaged.
    """
    data = read_bytes(path, cap_bytes=cap_bytes)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise broken(path, "is not an ONNX model, or is damaged or cut short") from error
    if not model.graph.node or not model.graph.output:
        raise broken(path, "is not an ONNX model, or is damaged or cut short: it has no graph")
    if not all(isinstance(text, str) for text in _texts(model)):
        raise broken(path, "is damaged: a name in it is not UTF-8 text")
    return model


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Every name that is used; protobuf returns bytes where one is not UTF-8."""
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for graph in all_graphs(model.graph):
        yield from _texts_of(graph)


def _texts_of(graph: onnx.GraphProto) -> Iterator[object]:
    for named in (*graph.initializer, *graph.input, *graph.output):
        yield named.name
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
        for entry in node.metadata_props:
            yield from (entry.key, entry.value)


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the model uses."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return max(versions, default=1)


def check_operators(nodes: Iterable[onnx.NodeProto], path: Path) -> None:
    """Refuses unknown operators and names all of them.

    Raises:
        CaptureError: there are such operators.
    """
    unknown = Counter(full_name(node) for node in nodes if full_name(node) not in REGISTRY)
    if unknown:
        bound = any(name.startswith(_FOR_ONE_PROCESSOR) for name in unknown)
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items()))
        what = f"uses operators that fullfield cannot read: {listed}"
        raise CaptureError(str(path), what, fix=_UNOPTIMISED if bound else _WITHOUT)


def full_name(node: onnx.NodeProto) -> str:
    """The operator's name, with its domain if that is not the standard one."""
    return str(node.op_type) if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _check_weights(model: onnx.ModelProto, path: Path, cap_bytes: int) -> int:
    """The bytes of weights in other files; refuses weights that together declare more than ``cap_bytes``."""
    used = {name for node in model.graph.node for name in read_names(node)}
    inner = (graph for node in model.graph.node for body in inner_graphs(node) for graph in all_graphs(body))
    total = external = 0
    for tensor in (
        *(each for each in model.graph.initializer if each.name in used),
        *(each for graph in inner for each in graph.initializer),
    ):
        try:
            size = declared_bytes(tensor)
            total += size
            external += size if tensor.data_location == onnx.TensorProto.EXTERNAL else 0
        except LayerRefused as refusal:
            raise broken(path, f"tensor {tensor.name!r}: {refusal}") from refusal
    if total > cap_bytes:
        what = f"declares {total} bytes of weights, more than the {cap_bytes} allowed"
        raise CaptureError(str(path), what, fix="raise the cap if you trust it")
    return external


def _check_opset(model: onnx.ModelProto, path: Path) -> None:
    version, newest = opset(model), onnx.defs.onnx_opset_version()
    if version > newest:
        raise CaptureError(
            str(path), f"uses opset {version}, newer than {newest}, the newest known", fix="upgrade the package onnx"
        )
