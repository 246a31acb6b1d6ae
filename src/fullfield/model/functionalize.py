"""Replaces in-place operators by functional ones where it is certain which values share their memory."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OperatorBase, OpOverload
from torch.fx import Graph, Node

from fullfield.graph.calls import bind

aten = torch.ops.aten

# Composite operators that return new memory; the result of any other may share memory with its inputs.
_NEW = frozenset(
    (
        *(aten.conv1d.default, aten.conv2d.default, aten.conv2d.padding, aten.conv3d.default, aten.linear.default),
        *(aten.conv_transpose2d.input, aten.matmul.default, aten.scaled_dot_product_attention.default),
        *(aten.batch_norm.default, aten.instance_norm.default, aten.layer_norm.default, aten.group_norm.default),
        *(aten.max_pool2d.default, aten.adaptive_avg_pool2d.default, aten.upsample_nearest2d.vec),
        *(aten.upsample_bilinear2d.vec, aten.softmax.int, aten.relu6.default, aten.selu.default, aten.prelu.default),
    )
)
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
_UNSURE = torch.Tag.maybe_aliasing_or_mutating
_NUMBERS = (int, float, torch.SymInt, torch.SymFloat, torch.SymBool)
_RANDOM = (
    "training",
    "train",
    "use_input_stats",
)  # they draw random numbers or update statistics


def functionalise(graph: Graph) -> str:
    """Replaces every in-place operator by its functional twin, also for all later readers of the overwritten value.

    That is exact if, of all values that may share memory with the operator's first argument, only this argument is
    read afterwards, and none is an input or a weight. If that fails for one operator, or if the graph contains
    operators that the canonical form does not support, the graph is not changed.

    Exact: yes

    Args:
        graph: of ``torch.export``, with a tensor's shape and type in ``meta["val"]``.

    Returns:
        The reason why the graph is not changed; empty if it is.
    """
    why = next((reason for reason in map(_unsupported, graph.nodes) if reason), "")
    twins: dict[Node, OpOverload] = {}
    if not why:
        why = next((reason for reason in _refusals(graph, twins) if reason), "")
    if not why:
        for node, twin in twins.items():
            _replace(graph, node, twin)
    return why


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


def _refusals(graph: Graph, twins: dict[Node, OpOverload]) -> Iterator[str]:
    """Reasons why in-place operators cannot be replaced; those that can are added to ``twins``."""
    position = {node: k for k, node in enumerate(graph.nodes)}
    shared: dict[Node, set[Node]] = {}  # the values that may share memory with each value, itself included
    known: dict[Hashable, bool] = {}
    for node in graph.nodes:
        shared[node] = {node}
        for other in _sharing(node):
            shared[node] |= shared[other]
        for other in shared[node]:
            shared[other] = shared[node]
        if isinstance(node.target, OpOverload) and node.target._schema.is_mutable:
            twin = _twin(node.target)
            if twin is None or not isinstance(node.args[0], Node):
                yield f"{node.target} has no functional twin"
                return
            others = shared[node] - {node, node.args[0]}
            read_later = (user for other in others for user in other.users if position[user] > position[node])
            if any(other.op in ("placeholder", "get_attr") for other in shared[node]) or any(read_later):
                yield f"{node.name} overwrites memory that something else may read"
            elif not _same_type(node, twin, known):
                yield f"{node.target} keeps a type that {twin} does not"
            twins[node] = twin


def _sharing(node: Node) -> list[Node]:
    """The inputs of a node that its result may share memory with."""
    target = node.target
    if node.op != "call_function" or target in _NEW or isinstance(node.meta.get("val"), _NUMBERS):
        return []
    if not isinstance(target, OpOverload) or (_composite(target) and not _aliases(target)):
        return node.all_input_nodes
    found: list[Node] = []
    for argument in target._schema.arguments:
        if argument.alias_info is not None:
            torch.fx.node.map_arg(bind(node).get(argument.name), found.append)
    return found


def _composite(target: OpOverload) -> bool:
    """Whether it consists of other operators, so that its schema may be wrong about memory."""
    return bool(target.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd))


def _aliases(target: OpOverload) -> bool:
    schema = target._schema
    return any(a.alias_info is not None for a in (*schema.arguments, *schema.returns))


def _twin(target: OpOverload) -> OpOverload | None:
    """The pointwise operator that returns as a new tensor what ``target`` writes into its first argument."""
    schema = target._schema
    written = [k for k, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]
    name = str(schema.name).removeprefix("aten::").removesuffix("_")
    twin = getattr(getattr(aten, name, None), target._overloadname, None)
    if written != [0] or not str(schema.name).endswith("_") or not isinstance(twin, OpOverload):
        return None
    options, others = ([(a.name, str(a.type)) for a in s.arguments[1:]] for s in (schema, twin._schema))
    cells = torch.Tag.pointwise in twin.tags or twin in _CELLS
    return (
        twin if options == others and cells and not twin._schema.is_mutable and len(twin._schema.returns) == 1 else None
    )


def _same_type(node: Node, twin: OpOverload, known: dict[Hashable, bool]) -> bool:
    """Whether the twin's result has the type of its first argument; computed for tensors of one element."""
    values: dict[Node, Any] = {read: read.meta.get("val") for read in node.all_input_nodes}
    if not all(isinstance(value, Tensor) for value in values.values()):
        return False
    key = (twin, repr(node.args[1:]), repr(node.kwargs), *((v.dtype, v.dim()) for v in values.values()))
    if key not in known:
        single = {read: torch.ones([1] * v.dim(), dtype=v.dtype) for read, v in values.items()}
        args, kwargs = cast(Any, torch.fx.node.map_arg((node.args, node.kwargs), single.__getitem__))
        known[key] = twin(*args, **kwargs).dtype == args[0].dtype
    return known[key]


def _replace(graph: Graph, node: Node, twin: OpOverload) -> None:
    """Replaces the node by the twin, also for all later readers of the overwritten value."""
    written = node.args[0]
    assert isinstance(written, Node)
    with graph.inserting_before(node):
        new = graph.create_node("call_function", twin, node.args, node.kwargs, name=twin._schema.name.split("::")[1])
    new.meta = dict(node.meta)
    later = {user for user in written.users if user > new}
    written.replace_all_uses_with(new, lambda user: user in later)
    node.replace_all_uses_with(new)
    graph.erase_node(node)
