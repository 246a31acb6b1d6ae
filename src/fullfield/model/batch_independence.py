"""Detects networks that are not batch-independent or not deterministic."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from fullfield.errors import CaptureError
from fullfield.graph.calls import bind
from fullfield.graph.shapes import PROBE_BATCH, propagate, window_dims
from fullfield.operators.record import Independence
from fullfield.operators.registry import find, is_pointwise

_NUMBERS = (int, float, bool)


def check_batch_independence(graph: GraphModule, probe: Tensor, name: str) -> None:
    """Raises if a window's scores depend on the other windows of its batch, on their number, or on chance.

    Nothing is run if the records of all operators say that they treat windows independently, as in most networks.
    Otherwise a window is run at the same index of two batches of one size, which differ in their other window only; by
    itself, if the network computes with the number of windows; and twice, if an operator may draw random numbers.

    Args:
        graph: of the network.
        probe: two windows of the size, type and device that it takes.
        name: of the network, for the error.

    Raises:
        CaptureError: they do, or are not the same each time.
    """
    if probe.device.type == "meta":  # it has no numbers to run with
        return
    values = propagate(graph, (PROBE_BATCH, *probe.shape[1:]), probe.dtype)
    counts = _counts(values)
    operators = [n for n in graph.graph.nodes if n.op not in ("placeholder", "get_attr", "output")]
    draws = any(map(_draws, operators))
    if not counts and not draws and all(_independent(node, values) for node in operators):
        return
    noise = torch.Generator().manual_seed(0)
    a, b, c = torch.randn((3, *probe.shape[1:]), generator=noise).to(probe)
    with torch.no_grad():
        ab, ac, cb = (graph(torch.stack(pair)) for pair in ((a, b), (a, c), (c, b)))
        again = graph(torch.stack((a, b))) if draws else ab
        alone = graph(torch.stack((a,)))[0] if counts else ab[0]
    eps = torch.finfo(ab.dtype).eps
    rounding = min(1000 * eps, 0.05)
    if _differ(ab, again, rounding):
        raise CaptureError(
            name,
            "gives the same window other scores each time: it draws random numbers",
            fix="give functional dropout and similar calls training=self.training, or training=False",
        )
    if _differ(ab[0], ac[0], rounding) or _differ(ab[1], cb[1], rounding):
        raise CaptureError(
            name,
            "gives a window other scores when its batch holds another second window: it mixes the windows",
            fix="correct the network: some layer takes the first dimension for positions or channels",
        )
    if _differ(ab[0], alone, eps**0.25):  # a batch of another size is rounded otherwise
        raise CaptureError(
            name,
            "gives a window other scores in a batch of two than alone",
            fix="correct the network: some layer computes with the size of the batch",
        )


def _differ(one: Tensor, other: Tensor, relative: float) -> bool:
    """Whether two windows' scores differ by more than rounding."""
    return bool((one - other).abs().max() > relative * one.abs().max())


def _draws(node: Node) -> bool:
    """Whether an operator draws random numbers; dropout does only in training mode."""
    if not isinstance(node.target, OpOverload) or torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    given = bind(node)
    switches = [given[name] for name in ("train", "training", "dropout_p") if name in given]
    return not switches or any(switches)


def _independent(node: Node, values: Mapping[Node, Any]) -> bool:
    """Whether an operator is known to treat windows independently.

    They must lie along one dimension of all that it reads and gives. Each window may be a block of several indices
    there, which only reshapes make: of the first dimension, or after others that they leave as they are.
    """
    before, after = _tensors([values[n] for n in node.all_input_nodes]), _tensors(values[node])
    if not any(map(window_dims, before + after)) or not after:
        return True
    target = node.target
    if not isinstance(target, OpOverload) and target is not operator.getitem:
        return False
    holders = [(tuple(t.shape), window_dims(t)) for t in before if window_dims(t)]
    holders += [(tuple(t.shape), window_dims(t)) for t in after]
    if any(len(dims) != 1 for _, dims in holders):
        return False
    in_front, sizes = ({shape[: dims[0]] for shape, dims in holders}, {shape[dims[0]] for shape, dims in holders})
    record = find(target)
    known: Independence | None = "first" if is_pointwise(target) else None
    if record is not None and record.independent is not None:
        known = record.independent
    if known == "reshape":
        return len(in_front) == 1
    if len(sizes) > 1 or (known != "anywhere" and in_front != {()}):
        return False
    return known(node, values) if callable(known) else known is not None


def _counts(values: Mapping[Node, Any]) -> bool:
    """Whether an operator computes with the number of windows, or what follows from it, other than as a size."""
    counts: set[Node] = set()
    for node in values:
        value, reads = values[node], not counts.isdisjoint(node.all_input_nodes)
        if isinstance(value, _NUMBERS):
            if reads or (value and value % PROBE_BATCH == 0):
                counts.add(node)
        elif reads and node.op != "output" and not _takes_size(node):
            return True
    return False


def _takes_size(node: Node) -> bool:
    """Whether the operator takes the number of windows as a size."""
    record = find(node.target)
    return record is not None and record.takes_batch_size


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in a value."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
