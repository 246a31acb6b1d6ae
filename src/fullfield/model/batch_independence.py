"""Refuses networks whose scores of a window depend on its batch: neighbours, place, number, or chance."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

from fullfield.errors import CaptureError, first_line
from fullfield.graph.calls import bind, leaves
from fullfield.graph.shapes import PROBE_BATCH, propagate, window_dims
from fullfield.model.batch_places import own_places
from fullfield.model.batch_trials import check_by_trials
from fullfield.model.quiet import quiet
from fullfield.operators.record import Anywhere, Independence
from fullfield.operators.registry import find, is_pointwise, record_of

_NUMBERS = (int, float, bool)


def check_batch_independence(graph: GraphModule, probe: Tensor, name: str) -> None:
    """Raises if a window's scores depend on its batch: the other windows, its place, their number; or on chance.

    Nothing is run if the records of all operators say that they treat windows independently, as in most networks.
    Otherwise windows are run in several batches.

    Args:
        graph: of the network.
        probe: two windows of the size, type and device that it takes.
        name: of the network, for the error.

    Raises:
        CaptureError: they do, or are not the same each time; or the network does not take batches of every size.
    """
    if probe.device.type == "meta":  # it has no numbers to run with
        return
    try:
        with quiet():
            values = propagate(graph, (PROBE_BATCH, *probe.shape[1:]), probe.dtype)
    except Exception as error:  # torch raises many types for sizes that do not fit
        raise CaptureError(
            name,
            f"does not take batches of every size: for {PROBE_BATCH} windows, {first_line(error)}",
            fix="correct the network: some layer takes the first dimension, that of the windows, for another",
        ) from error
    operators = [n for n in graph.graph.nodes if n.op not in ("placeholder", "get_attr", "output")]
    draws, own = any(map(_draws, operators)), own_places(values)
    if draws or _counts(values, own) or not all(node in own or _independent(node, values) for node in operators):
        check_by_trials(graph, probe, name, values)


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
    there, which only reshapes make: of the first dimension, or after others that they leave as they are. An operator
    that reads no windows and gives a number for each of them must give all of them the same.
    """
    read = node.all_input_nodes if record_of(node).reads_numbers else ()
    before, after = leaves([values[n] for n in read], Tensor), leaves(values[node], Tensor)
    if not any(map(window_dims, before)):
        return not any(map(window_dims, after)) or record_of(node).repeats
    target = node.target
    if not after or (not isinstance(target, OpOverload) and target is not operator.getitem):
        return not after
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
    if len(sizes) > 1:
        return False
    if isinstance(known, Anywhere):
        return known.holds(node, values)
    if known != "anywhere" and in_front != {()}:
        return False
    return known(node, values) if callable(known) else known is not None


def _counts(values: Mapping[Node, Any], own: Set[Node]) -> bool:
    """Whether an operator computes with the number of windows, or what follows from it, other than as a size.

    Args:
        values: of the nodes for ``PROBE_BATCH`` windows.
        own: nodes that are known not to.
    """
    counts: set[Node] = set()
    for node in values:
        value, reads = values[node], counts.intersection(node.all_input_nodes)
        if isinstance(value, _NUMBERS):
            if reads or (value and value % PROBE_BATCH == 0):
                counts.add(node)
        elif reads and node.op != "output" and not (node in own or _are_sizes(reads, node, values)):
            return True
    return False


def _are_sizes(counts: Set[Node], node: Node, values: Mapping[Node, Any]) -> bool:
    """Whether a node takes numbers of windows as sizes alone, and its result shows them.

    No dimension shows a size that is no multiple of the number of windows, as that of ``torch.ones(n // 2)``.
    """
    return record_of(node).takes_batch_size and all(values[count] % PROBE_BATCH == 0 for count in counts)
