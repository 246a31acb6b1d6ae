"""Saves models as ONNX files, with window, preprocessing and names in the metadata."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fullfield._version import __version__
from fullfield.arguments import checks_keywords
from fullfield.errors import UnsupportedError, first_line
from fullfield.files import check_writable, replacing_all
from fullfield.layers.export import translations
from fullfield.model.model import Model
from fullfield.model.onnx_scopes import SCOPES, innermost_scope
from fullfield.model.quiet import quiet
from fullfield.model.torch_export import capture_module
from fullfield.packages import check_installed

INSIDE_BYTES = 2**31 - 2**24
"""The most bytes of weights in one protobuf file, besides its graph; larger networks get a second file."""


@checks_keywords
def save(model: Model | nn.Module, path: str | Path, *, overwrite: bool = False) -> Path:
    """Saves the network as one ONNX file, which ``load`` turns back into an equal model.

    The file has window, preprocessing, class names and layer names. It appears at ``path`` complete or not at all.

    Args:
        model: a model, or a module that states its window as timm's do.
        overwrite: whether to replace an existing file.

    Raises:
        ImageError: the file exists, or cannot be written.
        UnsupportedError: the extra ``fullfield[export]`` is not installed, or the network cannot be written as ONNX.
    """
    net = model if isinstance(model, Model) else capture_module(model)
    target = check_writable(path, overwrite, suffixes=None)
    _require_exporter()
    program = _program(net.graph, (net.channels, *net.window), (0,), net)
    return _write(program, target, describe(net), overwrite)


def export_onnx(
    module: nn.Module,
    example_shape: tuple[int, int, int],
    path: str | Path,
    *,
    free_size: bool = True,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a module that takes ``(n, c, y, x)`` as one ONNX file with a free batch size and optionally a free size.

    Args:
        example_shape: channels, height and width of the input; the smallest ones if the size is free.
        free_size: whether height and width are free, as fully convolutional modules allow.
        metadata: further entries of the file.

    Raises:
        ImageError: the file exists, or cannot be written.
        UnsupportedError: the extra is not installed, or the module needs a fixed size or cannot be written as ONNX.
    """
    target = check_writable(path, overwrite, suffixes=None)
    _require_exporter()
    channels, height, width = example_shape
    # Twice the smallest size: the exporter would treat a map of one cell as one that always has one cell.
    shape = (channels, 2 * height + 1, 2 * width + 3) if free_size else example_shape
    flags = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in flags:
            part.training = False
        program = _program(module, shape, (0, 2, 3) if free_size else (0,), None)
    finally:
        for part, flag in flags:
            part.training = flag
    return _write(program, target, {"fullfield.version": __version__, **(metadata or {})}, overwrite)


def describe(model: Model) -> dict[str, str]:
    """The metadata that ``load`` reads back."""
    entries = {
        "fullfield.version": __version__,
        "fullfield.window": json.dumps(list(model.window)),
        "fullfield.name": model.name,
    }
    if model.preprocessing.known:
        entries["fullfield.preprocessing"] = model.preprocessing.to_json()
    if model.resize is not None:
        entries["fullfield.resize"] = model.resize.to_json()
    if model.standardise is not None:
        entries["fullfield.standardise"] = model.standardise
    if model.of_signals:
        entries["fullfield.signals"] = "true"
    if model.features is not None:
        entries["fullfield.features"] = model.features
    if model.class_names is not None:
        entries["fullfield.classes"] = json.dumps(list(model.class_names), ensure_ascii=False)
    return entries


def _require_exporter() -> None:
    what = "writing ONNX needs the package onnxscript"
    check_installed("onnxscript", extra="export", where="save", what=what, kind=UnsupportedError)


def _first_cause(error: BaseException) -> BaseException:
    """The error that led to an error: the exporter's own names its step alone."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _program(module: nn.Module, shape: tuple[int, int, int], free: tuple[int, ...], source: Model | None) -> Any:
    """The exporter's program for a module, its nodes with the layer names of the source model."""
    tensor = next((t for t in module.state_dict().values() if t.is_floating_point()), torch.zeros(0))
    example = torch.zeros(2, *shape, dtype=tensor.dtype, device=tensor.device)
    sizes = (dict.fromkeys(free, torch.export.Dim.DYNAMIC),)
    try:
        with quiet(), torch.no_grad():
            exported = torch.export.export(module, (example,), dynamic_shapes=sizes)
            if source is not None:
                _name_layers(exported.graph, source.graph.graph)
            return torch.onnx.export(
                exported,
                (),
                None,
                dynamo=True,
                verbose=False,
                optimize=False,
                input_names=["image"],
                output_names=["scores"],
                custom_translation_table=translations(),
            )
    except Exception as error:  # the exporter raises many types
        raise UnsupportedError(
            source.name if source is not None else type(module).__name__,
            f"cannot be written as ONNX ({first_line(_first_cause(error))})",
            fix="keep the network as a Python module",
        ) from error


def _name_layers(exported: torch.fx.Graph, source: torch.fx.Graph) -> None:
    """Copies the source's layer names to the exported nodes, if these are the same nodes in the same order."""
    ours, theirs = _layers(source), _layers(exported)
    if [node.target for node in ours] != [node.target for node in theirs]:
        return
    for mine, other in zip(ours, theirs, strict=True):
        path = mine.meta.get("path", mine.name)
        other.meta["nn_module_stack"] = {"layer": (path, "torch.nn.Module")}


def _layers(graph: torch.fx.Graph) -> list[torch.fx.Node]:
    sizes = (torch.ops.aten.sym_size.int, operator.getitem, operator.mul, operator.add)
    return [
        node
        for node in graph.nodes
        if node.op == "call_function" and node.target not in sizes and "assert" not in str(node.target)
    ]


def _write(program: Any, target: Path, metadata: Mapping[str, str], overwrite: bool) -> Path:
    """Writes the file and moves it to its path when it is complete."""
    model = program.model
    _tidy(model)
    model.metadata_props.update(metadata)
    model.producer_name, model.producer_version = "fullfield", __version__
    weights = sum(
        value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None
    )
    # External data come first: the model's file appears only when all files that it names exist.
    with replacing_all([target], overwrite=overwrite, needed_bytes=weights) as (temporary,), quiet():
        program.save(temporary, external_data=weights > INSIDE_BYTES)
    return target


def _tidy(model: Any) -> None:
    """Folds shape arithmetic, names nodes by their layers, removes the exporter's notes, which contain local paths."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass
    from onnxscript.optimizer import fold_constants

    weights = set(model.graph.initializers)
    # A folded weight, in another shape say, would lose its name.
    fold_constants(
        model,
        input_size_limit=1024,
        output_size_limit=1024,
        should_fold=lambda node: None if weights.isdisjoint(i.name for i in node.inputs if i is not None) else False,
    )
    for node in model.graph:
        _drop_zero_bias(node, weights)
    RemoveUnusedNodesPass()(model)
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    seen: dict[str, int] = {}
    for node in model.graph:
        path = innermost_scope(node.metadata_props.get(SCOPES, "[]"))
        node.metadata_props.clear()
        if path:
            seen[path] = count = seen.get(path, 0) + 1
            node.name = path if count == 1 else f"{path}#{count}"
            node.metadata_props["fullfield.path"] = path
        for value in node.outputs:
            value.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()


def _drop_zero_bias(node: Any, weights: set[str]) -> None:
    """Removes the zeros that the exporter adds to a convolution without bias."""
    bias = node.inputs[2] if node.op_type == "Conv" and len(node.inputs) == 3 else None
    if bias is None or bias.name in weights or bias.const_value is None:
        return
    if not bias.const_value.numpy().any():
        node.resize_inputs(2)
