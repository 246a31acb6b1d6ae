"""Builds the new graph: emits ATen nodes, folds constants, registers weights."""

from __future__ import annotations

import keyword
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import fx, nn
from torch.fx.node import map_aggregate

from fullfield.graph.attributes import is_reserved
from fullfield.graph.calls import leaves
from fullfield.graph.shape_rules import is_frequent, known_result, multiply_adds
from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.allowance import Allowance, CountsProducts
from fullfield.importers.onnx.values import BATCHES, Known, OnnxValue, Traced, affine

aten = torch.ops.aten
AtenOperator = Callable[..., Any]


@dataclass(frozen=True)
class Emitted:
    """A node with the operator and the values that it was made of."""

    node: fx.Node
    target: AtenOperator
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class AtenBuilder:
    """A graph under construction with its weights.

    Args:
        batch: the fixed batch size of the file; 1 for files with a free batch.
        frozen: whether the file declares a fixed batch.
        kept: whether the graph is one of this batch alone; otherwise it takes any number of windows.
        allowance: what the nodes may make.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        *,
        batch: int,
        frozen: bool,
        allowance: Allowance,
        kept: bool = False,
    ) -> None:
        self.allowance = allowance
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.batch = batch
        self.frozen = frozen and not kept
        self.freed = self.frozen
        self._batches = (batch, batch) if kept else BATCHES
        self.path = "x"
        self._attributes: dict[tuple[int, bool], fx.Node] = {}
        self._constants: list[torch.Tensor] = []
        self._memory: set[int] = set()  # addresses of what the attributes hold
        self._batch_node: fx.Node | None = None
        self._notes: list[list[Emitted]] = []
        node = self.graph.placeholder("x")
        node.meta = {"path": "x"}
        low, high = (torch.empty(n, *shape, dtype=dtype, device="meta") for n in self._batches)
        self.input = Traced(node, (low, high))
        self._last_attribute = node

    def window_bytes(self, value: OnnxValue) -> int:
        """Bytes of a value that depends on the pixels, for one window."""
        if not isinstance(value, Traced):
            return 0
        low, high = (tensor.numel() * tensor.dtype.itemsize for tensor in value.tensors)
        first, last = self._batches
        return high // last if first == last else (high - low) // (last - first)

    def call(self, target: AtenOperator, *args: Any, **kwargs: Any) -> OnnxValue:
        """The operator's result: numbers if all arguments are known, else a new node."""
        values = leaves((args, kwargs), Known, Traced)
        results = [self._dry(target, index, args, kwargs) for index in (0, 1)]
        if all(isinstance(v, Known) for v in values):
            return self._fold(target, args, kwargs, values, results)
        return self._emit(target, args, kwargs, results)

    def calls(self, target: AtenOperator, *args: Any, **kwargs: Any) -> tuple[OnnxValue, ...]:
        """``call`` for operators that return several tensors."""
        values = leaves((args, kwargs), Known, Traced)
        results = [self._dry(target, index, args, kwargs) for index in (0, 1)]
        if all(isinstance(v, Known) for v in values):
            parts = range(len(results[0]))
            return tuple(
                self._fold(_part(target, i), args, kwargs, values, [result[i] for result in results]) for i in parts
            )
        whole = self._node(target, args, kwargs)
        return tuple(
            Traced(self._node(operator.getitem, (whole, i), {}), (a, b))
            for i, (a, b) in enumerate(zip(*results, strict=True))
        )

    def scalar(self, value: OnnxValue | None) -> float | int | bool | None:
        """The number of a constant that can be an immediate argument of a node; ``None`` for other values."""
        if not isinstance(value, Known) or not value.fixed or value.tensors[0].numel() != 1:
            return None
        if value.tensors[0].dim() > 0 and value.name:
            return None
        number: float | int | bool = value.tensors[0].item()
        return number

    def sizes(self, pairs: Sequence[tuple[int, int]]) -> list[int | fx.Node]:
        """Arguments of a node for sizes given at the two batch sizes: integers, or arithmetic on the batch size."""
        return [self._size(*pair) for pair in pairs]

    def reshape(self, x: OnnxValue, shapes: tuple[Sequence[int], Sequence[int]]) -> OnnxValue:
        """``x`` in another shape, given at the two batch sizes; without arithmetic on the batch size where possible."""
        low, high = (tuple(s) for s in shapes)
        if (low, high) == x.shapes:
            return x
        if isinstance(x, Known):
            return Known.of(x.tensors[0].reshape(low), x.tensors[1].reshape(high), x.name)
        if len(low) == 2 and len(x.shapes[0]) > 2 and low[0] == x.shapes[0][0] and high[0] == x.shapes[1][0]:
            return self.call(aten.flatten.using_ints, x, 1)
        free = [i for i, (a, b) in enumerate(zip(low, high, strict=True)) if a != b]
        if len(free) == 1 and 0 not in low:
            target: list[Any] = [-1 if i in free else a for i, a in enumerate(low)]
        else:
            target = list(self.sizes(list(zip(low, high, strict=True))))
        at = (x.tensors[0].reshape(low), x.tensors[1].reshape(high))
        return Traced(self._node(aten.reshape.default, (x, target), {}), at)

    def expand(self, x: OnnxValue, shapes: tuple[Sequence[int], Sequence[int]]) -> OnnxValue:
        """``x`` repeated along its dimensions of size 1 to a shape given at the two batch sizes."""
        low, high = (tuple(s) for s in shapes)
        if (low, high) == x.shapes:
            return x
        self.allowance.check(low, x.dtype, windows=1 if low == high else self._batches[0])
        if isinstance(x, Known) and (low == high or not x.fixed or not x.dtype.is_floating_point):
            for shape in {low, high}:
                self.allowance.fold(shape, x.dtype)
            return Known.of(x.tensors[0].expand(low), x.tensors[1].expand(high), x.name)
        return self._expanded(x, (low, high))

    def _expanded(self, x: OnnxValue, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> Traced:
        """A node that repeats ``x``."""
        low, high = shapes
        target = self.sizes(list(zip(low, high, strict=True)))
        at = (x.tensors[0].to("meta").expand(low), x.tensors[1].to("meta").expand(high))
        return Traced(self._node(aten.expand.default, (x, target), {}), at)

    def full(self, shapes: tuple[Sequence[int], Sequence[int]], number: float, dtype: torch.dtype) -> OnnxValue:
        """A tensor filled with one number, in a shape given at the two batch sizes."""
        low, high = (tuple(s) for s in shapes)
        for shape, batch in zip(shapes, self._batches, strict=True):
            self.allowance.check(shape, dtype, windows=1 if low == high else batch)
        if low == high:
            self.allowance.fold(low, dtype)
            return Known.constant(torch.full(low, number, dtype=dtype))
        return self.expand(Known.constant(torch.full([1] * len(low), number, dtype=dtype)), (low, high))

    def extended(self, x: Traced, argument: OnnxValue) -> Traced:
        """``x`` with one more argument for its operator: a bias that the file adds in a separate node.

        A new node, as others may read ``x`` under another name.
        """
        node = self._node(cast(AtenOperator, x.node.target), (*x.node.args, argument), x.node.kwargs)
        node.meta = dict(x.node.meta)
        return Traced(node, x.tensors)

    def stand_in(self, tensors: tuple[torch.Tensor, torch.Tensor]) -> Traced:
        """A value like these tensors, of which no node of the finished graph may be made."""
        return self._emit(aten.zeros.default, (list(tensors[0].shape),), {}, [tensor.to("meta") for tensor in tensors])

    @contextmanager
    def noting(self) -> Iterator[list[Emitted]]:
        """Collects the nodes that are emitted meanwhile, in order."""
        self._notes.append([])
        try:
            yield self._notes[-1]
        finally:
            self._notes.pop()

    def _dry(self, target: AtenOperator, index: int, args: Any, kwargs: Any) -> Any:
        """The operator's result on tensors without data; raises torch's error where the shapes do not fit."""

        def bare(leaf: Any) -> Any:
            if isinstance(leaf, (Known, Traced)):
                return leaf.tensors[index].to("meta")
            return leaf

        bare_args, bare_kwargs = map_aggregate((args, kwargs), bare)
        result = known_result(target, bare_args, bare_kwargs)
        if result is None:
            result = self._run(target, bare_args, bare_kwargs)
        if is_frequent(target):
            self.allowance.multiply(multiply_adds(target, bare_args, result))
        for tensor in result if isinstance(result, (list, tuple)) else (result,):
            self.allowance.check(tensor.shape, tensor.dtype, windows=self._batches[index])
        return result

    def _run(self, target: AtenOperator, args: Any, kwargs: Any) -> Any:
        """The operator's result; what it multiplies is counted before."""
        if is_frequent(target):
            return target(*args, **kwargs)
        with CountsProducts(self.allowance):
            return target(*args, **kwargs)

    def _fold(self, target: AtenOperator, args: Any, kwargs: Any, values: list[Any], results: list[Any]) -> Known:
        name = next((v.name for v in values if v.name), "")
        both = []
        for index in (0, 1):
            self.allowance.fold(results[index].shape, results[index].dtype)

            def real(leaf: Any, index: int = index) -> Any:
                return leaf.tensors[index] if isinstance(leaf, Known) else leaf

            real_args, real_kwargs = map_aggregate((args, kwargs), real)
            with torch.no_grad():
                both.append(self._run(target, real_args, real_kwargs))
            if all(v.fixed for v in values):
                return Known.constant(both[0], name)
        return Known.of(both[0], both[1], name)

    def _emit(self, target: AtenOperator, args: Any, kwargs: Any, results: list[torch.Tensor]) -> Traced:
        return Traced(self._node(target, args, kwargs), (results[0], results[1]))

    def _node(self, target: AtenOperator, args: Any, kwargs: Any) -> fx.Node:
        def plain(leaf: Any) -> Any:
            if isinstance(leaf, Traced):
                return leaf.node
            return self._attribute(leaf) if isinstance(leaf, Known) else leaf

        plain_args, plain_kwargs = map_aggregate((tuple(args), kwargs), plain)
        node = self.graph.call_function(target, plain_args, plain_kwargs)
        node.meta = {"path": self.path}
        for notes in self._notes:
            notes.append(Emitted(node, target, tuple(args), kwargs))
        return node

    def _size(self, low: int, high: int) -> int | fx.Node:
        slope, offset = affine(low, high)
        if slope == 0:
            return offset
        if self._batch_node is None:
            with self.graph.inserting_after(self.input.node):
                self._batch_node = self.graph.call_function(aten.sym_size.int, (self.input.node, 0))
            self._batch_node.meta = {"path": "batch"}
        node = self._batch_node
        for function, number, neutral in ((operator.mul, slope, 1), (operator.add, offset, 0)):
            if number != neutral:
                node = self.graph.call_function(function, (node, number))
                node.meta = {"path": self.path}
        return node

    def _attribute(self, known: Known) -> fx.Node:
        """The node that reads a constant; registers the constant on the root at its first use."""
        if not known.fixed:
            return self._repeated(known).node
        tensor = known.tensors[0]
        learned = (bool(known.name) if known.learned is None else known.learned) and tensor.is_floating_point()
        key = (id(tensor), learned)
        if key not in self._attributes:
            self._constants.append(tensor)
            module, leaf, target = self._attribute_for(known.name or f"{self.path}.constant")
            data = self._own(tensor)
            if learned:
                module.register_parameter(leaf, nn.Parameter(data))
            else:
                module.register_buffer(leaf, data)
            with self.graph.inserting_after(self._last_attribute):
                node = self.graph.create_node("get_attr", target)
            node.meta = {"path": self.path}
            self._attributes[key] = self._last_attribute = node
        return self._attributes[key]

    def _repeated(self, known: Known) -> Traced:
        """A constant that is the same for every window, repeated for each.

        Raises:
            LayerRefused: it differs from window to window.
        """
        low, high = known.tensors
        free = [i for i, (a, c) in enumerate(zip(low.shape, high.shape, strict=False)) if a != c]
        if low.dim() == high.dim() and len(free) == 1:
            one = low.narrow(free[0], 0, 1)
            if bool((low == one).all()) and bool((high == one).all()):
                return self._expanded(replace(known, tensors=(kept := one.clone(), kept)), known.shapes)
        raise LayerRefused("uses the batch size as data, not only as a size")

    def _own(self, tensor: torch.Tensor) -> torch.Tensor:
        """The constant in order and in memory that no other attribute has; copied if need be."""
        memory = tensor.untyped_storage()
        if not tensor.is_contiguous() or memory.nbytes() != tensor.nbytes or memory.data_ptr() in self._memory:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        self._memory.add(tensor.untyped_storage().data_ptr())
        return tensor.detach()

    def _attribute_for(self, name: str) -> tuple[nn.Module, str, str]:
        """The module, created if necessary, and a free attribute for a tensor called ``name``."""
        parts = [_identifier(p) for p in re.split(r"[./]", name) if p] or ["constant"]
        while True:
            module, *_ = [self.root]
            for part in parts[:-1]:
                child = module._modules.get(part)
                if child is None and not hasattr(module, part):
                    child = nn.Module()
                    module.add_module(part, child)
                if child is None:
                    break
                module = child
            else:
                if not hasattr(module, parts[-1]):
                    return module, parts[-1], ".".join(parts)
                parts[-1] = _next_name(parts[-1])
                continue
            parts = ["_".join(parts)]


def _part(target: AtenOperator, index: int) -> AtenOperator:
    return lambda *args, **kwargs: target(*args, **kwargs)[index]


def _identifier(text: str) -> str:
    clean = re.sub(r"\W", "_", text, flags=re.ASCII).strip("_") or "tensor"
    if keyword.iskeyword(clean) or is_reserved(clean):
        clean += "_"
    return clean


def _next_name(name: str) -> str:
    stem, _, digits = name.rpartition("_")
    return f"{stem}_{int(digits) + 1}" if stem and digits.isdigit() else f"{name}_1"
