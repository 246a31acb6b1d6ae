"""The graph of a module, by ``torch.export``: functional operators, a free batch, the names of its layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import torch
from torch import nn

from fullfield.errors import CaptureError
from fullfield.graph.attributes import free_name, is_reserved
from fullfield.graph.calls import bind
from fullfield.graph.layers import layer_paths
from fullfield.layers.recurrent import with_torch_operators
from fullfield.model.functionalize import functionalise
from fullfield.model.module_check import unchanged
from fullfield.model.preserve_ops import PreserveOps
from fullfield.model.quiet import quiet

aten = torch.ops.aten

_LIKE = (aten.zeros_like.default, aten.ones_like.default, aten.full_like.default)


def graph_of(
    module: nn.Module, example: torch.Tensor, explain: Callable[[Exception], CaptureError]
) -> torch.fx.GraphModule:
    """The module's graph at one window size, in evaluation mode; the module is not changed.

    Args:
        module: maps ``(n, c, h, w)`` to scores.
        example: two windows.
        explain: the error for what the export raised.

    Raises:
        CaptureError: it cannot be exported.
    """
    with unchanged(module):
        module.eval()
        try:
            with torch.no_grad(), quiet(), PreserveOps():
                program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
                exported = _functional(program)
        except CaptureError:
            raise
        except Exception as error:  # torch and the module's code raise many types
            raise explain(error) from error
    return _plain_graph(exported)


def copy_paths(source: torch.fx.Graph, graph: torch.fx.Graph) -> None:
    """Names the nodes of a graph by the layers of the graph that it was exported from, if it begins with its nodes.

    A graph does not tell an export which layers its nodes belong to.
    """
    theirs = [node for node in source.nodes if node.op == "call_function"]
    ours = [node for node in graph.nodes if node.op == "call_function"][: len(theirs)]
    if [node.target for node in ours] == [node.target for node in theirs]:
        for mine, other in zip(ours, theirs, strict=True):
            mine.meta["path"] = next(iter(layer_paths(other)[::-1]), mine.meta["path"])


def example_of(module: nn.Module, shape: tuple[int, int, int]) -> torch.Tensor:
    """Two windows ``(2, c, h, w)`` of zeros, of the type and on the device of a module's numbers."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    like = next((t for t in tensors if t.is_floating_point()), torch.zeros(0))
    return torch.zeros(2, *shape, dtype=like.dtype, device=like.device)


def _functional(program: torch.export.ExportedProgram) -> torch.fx.GraphModule:
    """The exported module with functional operators only."""
    exported = program.module(check_guards=False)
    assert isinstance(exported, torch.fx.GraphModule)
    _drop_checks(exported.graph)
    _drop_devices(exported.graph)
    if functionalise(exported.graph):
        # an empty table decomposes few: in-place operators, views of their results, and operators that may be either
        exported = program.run_decompositions({}).module(check_guards=False)
        assert isinstance(exported, torch.fx.GraphModule)
        _drop_checks(exported.graph)
        _drop_devices(exported.graph)
    with_torch_operators(exported.graph)
    _keep_single_windows(exported.graph)
    _follow_types(exported.graph)
    exported.graph.eliminate_dead_code()  # such as the indices of maxima
    return exported


def _follow_types(graph: torch.fx.Graph) -> None:
    """Lets tensors made like others take their type, also when the network is computed in another precision.

    Exact: yes
    """
    for target in _LIKE:
        for node in graph.find_nodes(op="call_function", target=target):
            if node.kwargs.get("dtype") == node.args[0].meta["val"].dtype:
                node.kwargs = {name: value for name, value in node.kwargs.items() if name != "dtype"}


def _drop_devices(graph: torch.fx.Graph) -> None:
    """Lets tensors stay on the network's device, whichever that is, where code names the one of the export.

    Exact: yes
    """
    for target in (aten.to.device, aten.to.dtype_layout):
        for node in graph.find_nodes(op="call_function", target=target):
            given, x = bind(node), node.args[0]
            dtype = given["dtype"] or x.meta["val"].dtype
            if dtype == x.meta["val"].dtype and not given["copy"]:
                node.replace_all_uses_with(x)
                graph.erase_node(node)
            else:
                node.target, node.args, node.kwargs = aten.to.dtype, (x, dtype, False, given["copy"]), {}


def _keep_single_windows(graph: torch.fx.Graph) -> None:
    """Lets squeezes drop only dimensions of size 1 in every batch: not that of the windows where there is one window.

    Exact: yes
    """
    for node in graph.find_nodes(op="call_function", target=aten.squeeze.default):
        _squeeze(node, range(node.args[0].meta["val"].dim()))
    for target in (aten.squeeze.dim, aten.squeeze.dims):
        for node in graph.find_nodes(op="call_function", target=target):
            _squeeze(node, [node.args[1]] if isinstance(node.args[1], int) else node.args[1])


def _squeeze(node: torch.fx.Node, dims: Iterable[int]) -> None:
    """Lets a node drop those of the given dimensions whose size is the number 1."""
    x = node.args[0]
    assert isinstance(x, torch.fx.Node)
    shape = x.meta["val"].shape
    node.target = aten.squeeze.dims
    node.args = (x, [dim for dim in dims if isinstance(shape[dim], int) and shape[dim] == 1])


def _without_reserved_names(root: nn.Module, graph: torch.fx.Graph) -> nn.Module:
    """The module that holds a graph's tensors, those renamed that are called as attributes of a graph module."""
    nodes = [node for node in graph.nodes if node.op == "get_attr"]
    names = {str(node.target).partition(".")[0] for node in nodes}
    if not any(map(is_reserved, names)):
        return root
    holder, renamed = nn.Module(), {}
    for name in sorted(names):
        renamed[name] = free_name(name, names) if is_reserved(name) else name
        setattr(holder, renamed[name], getattr(root, name))
    for node in nodes:
        first, dot, rest = str(node.target).partition(".")
        node.target = renamed[first] + dot + rest
    return holder


def _drop_checks(graph: torch.fx.Graph) -> None:
    """Removes guards and unused weights."""
    for node in reversed(list(graph.nodes)):
        dead = node.op in ("get_attr", "call_module") or "assert" in str(node.target) or "_guards" in str(node.target)
        if dead and not node.users:
            graph.erase_node(node)


def _plain_graph(exported: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The exported module without hooks; every node has the path of its layer."""
    graph, root = exported.graph, getattr(exported, "module", exported)
    for node in graph.nodes:
        node.meta = {"path": _path(node)}
        if node.op == "get_attr":
            node.target = str(node.target).removeprefix("module.")
    output = graph.output_node()
    output.args = tuple(output.args[0]) if isinstance(output.args[0], (tuple, list)) else output.args
    graph.set_codegen(torch.fx.graph.CodeGen())
    plain = torch.fx.GraphModule(_without_reserved_names(root, graph), graph, "Network")
    plain.meta = {}
    return plain


def _path(node: torch.fx.Node) -> str:
    """The path of the innermost module of a node, without the wrapper's prefix; outside modules the node's name."""
    stack = [entry[0] for entry in node.meta.get("nn_module_stack", {}).values()]
    paths = [p.removeprefix("module").removeprefix(".") for p in stack if "hook" not in p]
    return next((p for p in reversed(paths) if p), node.name)
