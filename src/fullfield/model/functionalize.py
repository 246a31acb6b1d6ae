"""Replaces in-place operators by functional ones."""

from __future__ import annotations

import operator
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OperatorBase, OpOverload
from torch.fx import Graph, Node

from fullfield.graph.calls import bind
from fullfield.model.overwrites import replace_writes
from fullfield.model.views import storage

aten = torch.ops.aten

# Operators that torch decomposes when it functionalises, but that the rules of the canonical form support.
_READ = frozenset(
    (
        *(aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int, aten.contiguous.default),
        *(aten.reshape_as.default, aten.view_as.default, aten.expand_as.default, aten.to.dtype, aten.to.dtype_layout),
        *(aten.swapaxes.default, aten.swapdims.default, aten.chunk.default, aten.batch_norm.default),
        *(aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default),
    )
)
# Pointwise operators that torch does not tag as such.
_CELLS = frozenset((aten.hardswish.default, aten.relu6.default, aten.dropout.default, aten.feature_dropout.default))
# Operators that put numbers of its type into a tensor, at positions or where a mask says.
_ARRANGED = frozenset(
    (
        *(aten.index_put.default, aten.index_fill.int_Scalar, aten.index_fill.int_Tensor, aten.index_copy.default),
        *(aten.index_add.default, aten.scatter.value, aten.scatter.src, aten.scatter_add.default),
        *(aten.scatter_reduce.two, aten.masked_scatter.default, aten.masked_fill.Tensor, aten.masked_fill.Scalar),
        *(aten.triu.default, aten.tril.default),
    )
)
_UNSURE = torch.Tag.maybe_aliasing_or_mutating
_NUMBERS = (int, float, torch.SymInt, torch.SymFloat, torch.SymBool)
_RANDOM = (
    "training",
    "train",
    "use_input_stats",
)  # they draw random numbers or update statistics


def functionalise(graph: Graph) -> str:
    """Replaces every in-place operator by its functional twin, and all that is read of the same memory afterwards.

    A tensor that is a view of the overwritten one is taken anew; one that the overwritten one is a view of becomes
    itself with the new numbers in their place. Which values share memory is read from the exported values' storages.

    Exact: yes

    Args:
        graph: of ``torch.export``, with a tensor's shape, type and storage in ``meta["val"]``.

    Returns:
        The reason why operators remain in place, and the graph is of no use; empty if none does. There is one where
        an input or a weight is overwritten, or the graph contains operators that the canonical form does not support.
    """
    for node in graph.find_nodes(op="call_function", target=aten.detach_.default):  # of constants; it writes no numbers
        node.replace_all_uses_with(node.args[0])
        graph.erase_node(node)
    why = next((reason for reason in map(_unsupported, graph.nodes) if reason), "")
    if why or not any(map(_writes, graph.nodes)):
        return why
    return _unclear_memory(graph) or replace_writes(graph, _written)


def _unsupported(node: Node) -> str:
    """The reason why torch must functionalise the graph itself; empty if it need not."""
    if node.op != "call_function":
        return "" if node.op in ("placeholder", "get_attr", "output") else f"{node.name} calls a module"
    target = node.target
    if not isinstance(target, OpOverload):
        number = not isinstance(target, OperatorBase) and isinstance(node.meta.get("val"), _NUMBERS)
        return "" if number or target is operator.getitem else f"{target} is not a single operator"
    given = bind(node)
    if any(given.get(name) for name in _RANDOM) and given.get("running_mean", True) is not None:
        return f"{target} draws random numbers, or updates statistics"
    if not _composite(target) or target._schema.is_mutable or target in _READ:
        return ""
    return f"{target} is decomposed" if _aliases(target) or _UNSURE in target.tags else ""


def _unclear_memory(graph: Graph) -> str:
    """The reason why storages do not tell which values share memory; empty if they do. Parts follow their list."""
    for node in graph.nodes:
        target, value = node.target, node.meta.get("val")
        if not isinstance(target, OpOverload):
            continue
        if isinstance(value, (list, tuple)) and _aliases(target):
            if any(user.target is not operator.getitem for user in node.users):
                return f"{node.name} is read as a list"
            for part in reversed(node.users):
                node.append(part)
        shares = isinstance(value, Tensor) and any(storage(read) == storage(node) for read in node.all_input_nodes)
        if isinstance(value, Tensor) and _aliases(target) and not _composite(target) and not shares:
            return f"{node.name} shares memory with an unknown value"
    return ""


def _writes(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _composite(target: OpOverload) -> bool:
    """Whether it consists of other operators, so that its schema may be wrong about memory."""
    return bool(target.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd))


def _aliases(target: OpOverload) -> bool:
    schema = target._schema
    return any(a.alias_info is not None for a in (*schema.arguments, *schema.returns))


def _written(graph: Graph, node: Node) -> Node | str:
    """What the first argument of an in-place operator is afterwards; the reason if no functional operator tells."""
    target, x = node.target, node.args[0]
    assert isinstance(target, OpOverload)
    if target in (aten.copy_.default, aten.fill_.Tensor):
        return _copied(graph, x, node.args[1])
    if target in (aten.fill_.Scalar, aten.zero_.default):
        return graph.call_function(aten.full_like.default, (x, bind(node).get("value", 0)))
    twin = _twin(target)
    if twin is None or not isinstance(x, Node):
        return f"{target} has no functional twin"
    if twin not in _ARRANGED and not _same_type(node, twin):
        return f"{target} keeps a type that {twin} does not"
    return graph.create_node("call_function", twin, node.args, node.kwargs, name=twin._schema.name.split("::")[1])


def _copied(graph: Graph, x: Any, source: Any) -> Node | str:
    """The numbers of ``source`` in the shape and the type of ``x``."""
    if not isinstance(source, Node):
        return f"{x} is overwritten with no tensor"
    before, after = source.meta["val"], x.meta["val"]
    if before.dtype != after.dtype:
        source = graph.call_function(aten.to.dtype, (source, after.dtype))
        source.meta["val"] = after
    if str(before.shape) != str(after.shape):
        return graph.call_function(aten.expand_as.default, (source, x))
    return graph.call_function(aten.clone.default, (source,))


def _twin(target: OpOverload) -> OpOverload | None:
    """The operator that returns as a new tensor what ``target`` writes into its first argument."""
    schema = target._schema
    written = [k for k, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]
    name = str(schema.name).removeprefix("aten::").removesuffix("_")
    twin = getattr(getattr(aten, name, None), target._overloadname, None)
    if written != [0] or not str(schema.name).endswith("_") or not isinstance(twin, OpOverload):
        return None
    options, others = ([(a.name, str(a.type)) for a in s.arguments[1:]] for s in (schema, twin._schema))
    cells = torch.Tag.pointwise in twin.tags or twin in _CELLS or twin in _ARRANGED
    return (
        twin if options == others and cells and not twin._schema.is_mutable and len(twin._schema.returns) == 1 else None
    )


def _same_type(node: Node, twin: OpOverload) -> bool:
    """Whether the twin's result has the type of its first argument; computed for tensors of one element."""
    values: dict[Node, Any] = {read: read.meta.get("val") for read in node.all_input_nodes}
    if not all(isinstance(value, Tensor) for value in values.values()):
        return False
    single = {read: torch.ones([1] * v.dim(), dtype=v.dtype) for read, v in values.items()}
    args, kwargs = cast(Any, torch.fx.node.map_arg((node.args, node.kwargs), single.__getitem__))
    return bool(twin(*args, **kwargs).dtype == args[0].dtype)
