"""The cases of ONNX's own tests of operators, run through the mappings of the importer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from fullfield.errors import CaptureError
from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.allowance import Allowance
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.functions import inline
from fullfield.importers.onnx.graph_mapping import GraphMapping, Reading
from fullfield.importers.onnx.kept_real import keep_real
from fullfield.importers.onnx.reader import full_name, opset
from fullfield.importers.onnx.registry import REGISTRY
from fullfield.importers.onnx.subgraphs import all_graphs
from fullfield.importers.onnx.tensors import to_torch
from fullfield.importers.onnx.values import Known, OnnxValue, Traced

CASE = Path("case")
COMPARED = frozenset({"float32", "float64", "float16", "int64", "int32", "int8", "uint8", "int16", "uint16", "bool"})


@dataclass(frozen=True)
class Outcome:
    """The result of a case: ``equal``, ``different``, ``unread`` (an operator), ``refused`` or ``no tensors``."""

    kind: str
    reason: str = ""


def cases() -> list[TestCase]:
    """All cases of single operators that the installed package has."""
    return list(load_model_tests(kind="node"))


def run(case: TestCase, *, traced: bool) -> Outcome:
    """Maps the case's nodes and compares the numbers.

    Args:
        traced: whether its first float input is the input of the new network; else all are constants, which fold.
    """
    assert case.model is not None
    assert case.data_sets is not None
    try:
        given, wanted = (tuple(map(_tensor, side)) for side in case.data_sets[0])
    except (TypeError, LayerRefused) as error:
        return Outcome("no tensors", str(error))
    try:
        model = inline(onnx.ModelProto.FromString(case.model.SerializeToString()), CASE, cap_bytes=2**30)
        keep_real(model.graph, CASE)
        unread = {full_name(n) for graph in all_graphs(model.graph) for n in graph.node} - REGISTRY.keys()
        if unread:
            return Outcome("unread", ", ".join(sorted(unread)))
        found = _map(model, given, traced=traced)
    except CaptureError as error:
        return Outcome("refused", str(error).split("\n")[0])
    return _compared(case, found, wanted)


def has_float(case: TestCase) -> bool:
    """Whether one of the inputs is of floats that torch has."""
    assert case.data_sets is not None
    kinds = [getattr(value, "dtype", None) for value in case.data_sets[0][0]]
    return any(str(kind) in ("float16", "float32", "float64") for kind in kinds)


def _map(model: onnx.ModelProto, given: tuple[torch.Tensor, ...], *, traced: bool) -> list[torch.Tensor]:
    builder = AtenBuilder((1, 1, 1), torch.float32, batch=1, frozen=False, allowance=Allowance(10**7))
    first = next((i for i, value in enumerate(given) if value.is_floating_point()), -1) if traced else -1
    values: dict[str, OnnxValue] = {}
    for i, (entry, value) in enumerate(zip(model.graph.input, given, strict=False)):
        bare = value.to("meta")
        values[entry.name] = Traced(builder.input.node, (bare, bare)) if i == first else Known.constant(value)
    results = GraphMapping(model.graph, Reading(builder, opset(model), CASE, 10_000, ""), values).run()
    builder.graph.output(tuple(value.node for value in results if isinstance(value, Traced)))
    with torch.no_grad():
        window = given[first] if first >= 0 else torch.empty(0)
        computed = iter(torch.fx.GraphModule(builder.root, builder.graph)(window))
    return [next(computed) if isinstance(value, Traced) else value.tensors[0] for value in results]


def _compared(case: TestCase, found: list[torch.Tensor], wanted: tuple[torch.Tensor, ...]) -> Outcome:
    for got, right in zip(found, wanted, strict=False):
        if got.shape != right.shape or got.dtype != right.dtype:
            what = f"{tuple(got.shape)} of {got.dtype}, not {tuple(right.shape)} of {right.dtype}"
            return Outcome("different", re.sub(r"torch\.", "", what))
        a, b = (side.to(torch.float64).numpy() for side in (got, right))
        # 16 bits are computed in more or in fewer steps than the reference's
        rtol, atol = (2e-3, 1e-3) if got.dtype == torch.float16 else (case.rtol, 1e-5)
        if not np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True):
            return Outcome("different", f"by {np.nanmax(np.abs(a - b)):.3g}")
    return Outcome("equal")


def _tensor(value: Any) -> torch.Tensor:
    """A value of a case.

    Raises:
        TypeError: it is a sequence, text, or of a type that torch lacks.
    """
    if isinstance(value, onnx.TensorProto):
        return to_torch(value, folder=None)
    if isinstance(value, list):
        raise TypeError("a sequence")
    array = np.asarray(value)
    if str(array.dtype) not in COMPARED:
        raise TypeError(str(array.dtype))
    return torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)
