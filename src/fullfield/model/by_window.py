"""Runs a network of a fixed batch once for each window, where its batch cannot be made free node by node.

Exporters write a batch of one into the shapes that a network reshapes to. Where that batch meets another axis, as in
the attention of sequences that come first, such a file does not tell where the windows are; torch's ``vmap`` does.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.traceback import preserve_node_meta

from fullfield.errors import CaptureError, first_line
from fullfield.graph.attributes import attribute_of, free_name
from fullfield.layers.recurrent import OF_OPERATORS, with_torch_operators
from fullfield.model.module_graph import example_of
from fullfield.model.quiet import quiet

aten = torch.ops.aten

_COUNTS = (3, 5)
"""Two numbers of windows: sizes that differ between them are multiples of the number, plus an offset."""
_VIEWS = (aten.view.default, aten._unsafe_view.default)


def for_each_window(network: GraphModule, count: int, shape: tuple[int, int, int], name: str) -> GraphModule:
    """The graph of a network of a fixed batch, for any number of windows; each window fills a whole batch.

    Exact: yes

    Args:
        network: takes ``(count, c, h, w)``; returns one score vector, or ``count`` of them.
        shape: of a window.
        name: of the network, for errors.

    Raises:
        CaptureError: it returns something else, mixes the windows of its batch, or torch cannot run it for each window.
    """
    example = example_of(network, shape)[:1]
    noise = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)).to(example)
    with torch.no_grad(), quiet():
        try:
            scores = network(noise)
        except Exception as error:  # torch and the network's code raise many types
            what = f"does not run on a batch of {count}: {first_line(error)}"
            raise CaptureError(name, what, fix="export it with a free batch") from error
        if not isinstance(scores, Tensor):
            what = "gives several outputs for a batch of a fixed size"
            raise CaptureError(name, what, fix="export it with a free batch")
        apart = [network(window.expand(count, *shape))[0] for window in noise] if count > 1 else [scores]
    found = tuple(scores.shape)
    of_one = found if count == 1 else found[1:]
    if sum(size != 1 for size in of_one) > 1 or (count > 1 and found[:1] != (count,)):
        what = f"a batch of {count} gives an output of shape {found}, not ({count}, K)"
        raise CaptureError(name, what, fix="load the part that ends in one score vector a window")
    if count > 1 and not torch.allclose(scores, torch.stack(apart), rtol=1e-3, atol=1e-3 * float(scores.abs().max())):
        what = f"gives a window other scores when its batch of {count} holds other windows: it mixes the windows"
        raise CaptureError(name, what, fix="export it with a free batch")
    try:
        first, second = (_traced(network, count, example.expand(windows, *shape)) for windows in _COUNTS)
        return _Merged(network, first, second).module()
    except Exception as error:  # torch raises many types
        what = f"has a fixed batch size of {count}, which cannot be made free: {first_line(error)}"
        raise CaptureError(name, what, fix="export it with a free batch") from error


def _traced(network: GraphModule, count: int, windows: Tensor) -> GraphModule:
    """The operators of so many windows; their nodes keep the paths of the network's."""
    for node in network.graph.nodes:
        node.meta["custom"] = {
            "path": node.meta.get("path", node.name)
        }  # torch copies this entry to what a node becomes

    def scores(window: Tensor) -> Tensor:
        result: Tensor = _Recurrent(network).run(window.expand(count, *window.shape))
        return (result if count == 1 else result[0]).reshape(-1)

    with torch.no_grad(), quiet(), preserve_node_meta():
        return make_fx(torch.vmap(scores), tracing_mode="fake", _allow_non_fake_inputs=True)(windows)


class _Recurrent(Interpreter):
    """Runs a graph with the operators of recurrent layers that ``vmap`` knows."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return super().call_function(OF_OPERATORS.get(target, target), args, kwargs)


class _Merged:
    """One graph of two that differ in sizes alone.

    Args:
        network: holds the weights.
        first, second: the same operators for the two numbers of windows.
    """

    def __init__(self, network: GraphModule, first: GraphModule, second: GraphModule) -> None:
        self.network, self.first, self.second = network, first, second
        self.graph, self.made = fx.Graph(), dict[Node, Node]()
        tensors = (*network.named_parameters(), *network.named_buffers())
        self.names = {id(tensor): name for name, tensor in tensors}

    def module(self) -> GraphModule:
        """The graph for any number of windows.

        Raises:
            ValueError: the two differ in more than sizes, or in sizes that do not grow with the windows.
        """
        for one, other in zip(self.first.graph.nodes, self.second.graph.nodes, strict=True):
            if (one.op, one.target) != (other.op, other.target):
                raise ValueError("its operators depend on the number of windows")
            self.made[one] = self._node(one, other)
        with_torch_operators(self.graph)
        self.graph.eliminate_dead_code()
        return GraphModule(self.network, self.graph, "Network")

    def _node(self, one: Node, other: Node) -> Node:
        if _does_nothing(one):
            return self.made[one.all_input_nodes[0]]
        path = one.meta.get("custom", {}).get("path", one.name)
        if one.op == "get_attr":
            made = self.graph.get_attr(self._tensor(attribute_of(self.first, str(one.target))))
        elif one.op == "call_function":
            made = self.graph.call_function(*self._call(one, other))
        else:
            made = self.graph.node_copy(one, self.made.__getitem__)
        made.meta = {"path": path}
        if one.op == "placeholder":
            self.count = self.graph.call_function(aten.sym_size.int, (made, 0))
            self.count.meta = {"path": "batch"}
        return made

    def _call(self, one: Node, other: Node) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The operator and its arguments: torch's own for layers where the trace has what they are made of."""
        if one.target in _VIEWS:
            shape = self._merged(list(one.meta["val"].shape), list(other.meta["val"].shape))
            if sum(isinstance(size, Node) for size in shape) == 1:
                shape = [-1 if isinstance(size, Node) else size for size in shape]
            return aten.reshape.default, (self.made[one.all_input_nodes[0]], shape), {}
        args, kwargs = self._merged(one.args, other.args), self._merged(one.kwargs, other.kwargs)
        if one.target is aten.convolution.default and not args[6] and one.meta["val"].dim() == 4:
            return aten.conv2d.default, (*args[:6], args[8]), {}
        return one.target, args, kwargs

    def _merged(self, one: Any, other: Any) -> Any:
        """Arguments with arithmetic on the number of windows where they differ."""
        if isinstance(one, Node):
            return self.made[one]
        if isinstance(one, (tuple, list)):
            return type(one)(self._merged(a, b) for a, b in zip(one, other, strict=True))
        if isinstance(one, dict):
            return {key: self._merged(value, other[key]) for key, value in one.items()}
        if one == other or not isinstance(one, int):
            return one
        slope, rest = divmod(other - one, _COUNTS[1] - _COUNTS[0])
        offset = one - slope * _COUNTS[0]
        if rest:
            raise ValueError("a size does not grow with the number of windows")
        size = self.count if slope == 1 else self.graph.call_function(operator.mul, (self.count, slope))
        return size if offset == 0 else self.graph.call_function(operator.add, (size, offset))

    def _tensor(self, tensor: Tensor) -> str:
        """The name of a tensor of the network; one that the trace made is added."""
        if id(tensor) not in self.names:
            name = free_name("constant", set(self.network.state_dict()) | {*self.network._buffers})
            self.network.register_buffer(name, tensor)
            self.names[id(tensor)] = name
        return self.names[id(tensor)]


def _does_nothing(node: Node) -> bool:
    """Whether a node gives its input as it is."""
    if node.target not in (*_VIEWS, aten.expand.default, aten.alias.default, aten.detach.default):
        return False
    return bool(node.meta["val"].shape == node.all_input_nodes[0].meta["val"].shape)
