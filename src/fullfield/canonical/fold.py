"""Computes constants once, and folds batch norms into the convolutions before them."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from fullfield.graph.calls import bind, held_tensor
from fullfield.graph.rewriting import with_own_graph

aten = torch.ops.aten


def fold_constants(module: GraphModule) -> GraphModule:
    """A canonical graph in which everything that the network computes from its weights alone is a tensor.

    Standardised kernels or position tables made by a small network are computed once instead of once a tile; they
    no longer follow the weights. A graph without such values is returned as it is.

    Exact: yes
    """
    if not any(n.meta["kind"] == "const" and n.op != "get_attr" for n in module.graph.nodes):
        return module
    new = with_own_graph(module)
    values: dict[Node, Any] = {}
    for node in [n for n in new.graph.nodes if n.meta["kind"] == "const"]:
        if node.op == "get_attr":
            values[node] = _tensor(new, node)
            continue
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        with torch.no_grad():
            values[node] = node.target(*args, **kwargs)
        if isinstance(values[node], torch.Tensor):
            values[_store(new, node, values[node])] = values[node]
    new.graph.eliminate_dead_code()
    new.delete_all_unused_submodules()
    new.recompile()
    return new


def _store(module: GraphModule, node: Node, value: torch.Tensor) -> Node:
    """A buffer in a submodule of its own, which the readers of ``node`` read instead."""
    holder = next(name for k in itertools.count() if not hasattr(module, name := f"constant_{k}"))
    setattr(module, holder, nn.Module())
    getattr(module, holder).register_buffer("value", value)
    with module.graph.inserting_before(node):
        stored = module.graph.get_attr(f"{holder}.value")
    stored.meta = {**node.meta, "op": "weight"}
    node.replace_all_uses_with(stored)
    return stored


def fold_batch_norm(module: GraphModule) -> tuple[GraphModule, tuple[str, ...]]:
    """A canonical graph whose batch norms are part of the convolutions before them, and the folded layers' names.

    ``w' = w * gain / sqrt(var + eps)``, ``b' = (b - mean) * gain / sqrt(var + eps) + bias``. A norm stays where the
    convolution's result has other readers too, or where its weights are computed in the graph or used twice. A graph
    without a norm to fold, as most files are, is returned as it is.

    Exact: yes, other rounding
    Source: Jacob et al. 2018 (arXiv 1712.05877), section 3.2
    """
    if not foldable(module.graph):
        return module, ()
    new = with_own_graph(module)
    folded = []
    while norms := foldable(new.graph):  # again, as a norm may follow a norm
        for norm in norms:
            _fold(new, norm)
            folded.append(norm.meta["path"])
    new.graph.eliminate_dead_code()
    new.delete_all_unused_submodules()
    new.recompile()
    return new, tuple(folded)


def foldable(graph: Graph) -> list[Node]:
    """The batch norms that may become part of the convolution that they read."""
    uses: Counter[str] = Counter()
    for node in graph.nodes:
        if node.op == "get_attr":
            uses[str(node.target)] += len(node.users)
    return [n for n in graph.nodes if n.target is aten.batch_norm.default and _is_foldable(n, uses)]


def _is_foldable(norm: Node, uses: Counter[str]) -> bool:
    """Whether only the norm reads the convolution before it, whose weights are fixed and used once."""
    conv = norm.args[0]
    if not isinstance(conv, Node) or conv.target is not aten.conv2d.default or len(conv.users) != 1:
        return False
    weights = [n for n in (*conv.args[1:3], *norm.args[1:5]) if n is not None]
    fixed = all(isinstance(n, Node) and n.op == "get_attr" for n in weights)
    return fixed and all(uses[str(n.target)] == 1 for n in conv.args[1:3] if isinstance(n, Node))


def _fold(module: GraphModule, norm: Node) -> None:
    conv, args = norm.args[0], bind(norm)
    assert isinstance(conv, Node)
    gain, bias, mean, var = (_tensor(module, args[k]) for k in ("weight", "bias", "running_mean", "running_var"))
    weight, old = _tensor(module, conv.args[1]), _tensor(module, bind(conv)["bias"])
    assert weight is not None
    mean = torch.zeros(weight.shape[0]).to(weight) if mean is None else mean
    factor = torch.ones_like(mean) if var is None else torch.rsqrt(var + args["eps"])
    factor = factor if gain is None else factor * gain
    shift = -mean if old is None else old - mean
    shift = shift * factor if bias is None else shift * factor + bias
    assert isinstance(conv.args[1], Node)
    target = str(conv.args[1].target)
    _set(module, target, weight * factor[:, None, None, None])
    name = _free(module, target.rpartition(".")[0])
    _set(module, name, shift)
    with module.graph.inserting_before(conv):
        new_bias = module.graph.get_attr(name)
    new_bias.meta = dict(conv.args[1].meta)
    conv.args = (*conv.args[:2], new_bias, *conv.args[3:])
    norm.replace_all_uses_with(conv)
    module.graph.erase_node(norm)


def _free(module: nn.Module, holder: str) -> str:
    """A name for a new bias in a submodule, which may hold the weights of several convolutions."""
    names = itertools.chain(["folded_bias"], (f"folded_bias_{k}" for k in itertools.count(1)))
    leaf = next(name for name in names if not hasattr(module.get_submodule(holder), name))
    return f"{holder}.{leaf}" if holder else leaf


def _tensor(module: nn.Module, node: Any) -> torch.Tensor | None:
    return None if node is None else held_tensor(module, node.target).detach()


def _set(module: nn.Module, target: str, tensor: torch.Tensor) -> None:
    """Puts a parameter in place; submodules that hold weights are the graph module's own, never the original's."""
    holder, _, leaf = target.rpartition(".")
    setattr(module.get_submodule(holder), leaf, nn.Parameter(tensor))
