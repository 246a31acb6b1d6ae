"""Checks what one pass promises to the next."""

from __future__ import annotations

from fullfield.canonical.activations import unmerged
from fullfield.canonical.early_pools import late_pools
from fullfield.canonical.fold import foldable
from fullfield.canonical.form import ACTIVE_KINDS, KINDS, SHARED_KINDS, Canonical
from fullfield.canonical.narrow_pools import wide_pools
from fullfield.errors import InternalError
from fullfield.geometry.network import Network, NodeSpec
from fullfield.operators.registry import find

_READS = {  # kinds that a node of a kind may read
    "input": (),
    **dict.fromkeys(SHARED_KINDS, ("input", *SHARED_KINDS, "const", "scalar")),
    "whole": (*ACTIVE_KINDS, "const", "scalar"),
    "const": ("const", "scalar"),
    "scalar": (*ACTIVE_KINDS, "const", "scalar"),
    "output": ACTIVE_KINDS,
}


def check_form(form: Canonical, after: str) -> None:
    """Every node has a kind and a layer, and reads what its kind may; windowed ones have an emission and read one map.

    Args:
        after: name of the pass.

    Raises:
        InternalError: a node does not.
    """
    nodes = list(form.graph.graph.nodes)
    if [n.op for n in nodes].count("placeholder") != 1 or nodes[-1].op != "output":
        raise _wrong(after, "graph", "does not lead from one image to one output")
    for node in nodes:
        kind = node.meta.get("kind")
        if kind not in KINDS or not {"path", "op"} <= set(node.meta):
            raise _wrong(after, node.name, f"is of kind {kind!r} and says {', '.join(node.meta) or 'nothing'}")
        for read in node.all_input_nodes:
            if read.meta.get("kind") not in _READS[kind]:
                raise _wrong(after, node.name, f"is {kind} and reads {read.name}, which is {read.meta.get('kind')}")
        if kind == "windowed":
            record = find(node.target)
            if record is None or record.windowed is None or record.windowed.emit is None:
                raise _wrong(after, node.name, f"is windowed, but {node.target} has no emission")
            maps = [n for n in node.all_input_nodes if n.meta["kind"] in ACTIVE_KINDS]
            if len(maps) != 1:
                raise _wrong(after, node.name, f"is windowed and reads {len(maps)} maps")


def check_constants(form: Canonical, after: str) -> None:
    """No operator on a map reads a tensor that is still to be computed from weights.

    Raises:
        InternalError: one does.
    """
    for node in form.graph.graph.nodes:
        late = [n for n in node.all_input_nodes if n.meta["kind"] == "const" and n.op != "get_attr"]
        if late and node.meta["kind"] in SHARED_KINDS:
            raise _wrong(after, node.name, f"reads {late[0].name}, which is computed from weights")


def check_norms(form: Canonical, after: str) -> None:
    """No batch norm is left that could be part of the convolution before it.

    Raises:
        InternalError: one is.
    """
    for norm in foldable(form.graph.graph):
        raise _wrong(after, norm.name, "could be folded")


def check_activations(form: Canonical, after: str) -> None:
    """No activation is left that is written as several operators.

    Raises:
        InternalError: one is.
    """
    for node, _ in unmerged(form.graph):
        raise _wrong(after, node.name, "is an activation written as several operators")


def check_pools(form: Canonical, after: str) -> None:
    """No sliding mean is left that a convolution could make cheaper.

    Raises:
        InternalError: one is.
    """
    for node in wide_pools(form.graph):
        raise _wrong(after, node.name, "slides over more channels than its readers have")


def check_early_pools(form: Canonical, after: str) -> None:
    """No convolution of single cells is left whose readers are fewer cells, the means of its own.

    Raises:
        InternalError: one is.
    """
    for node in late_pools(form.graph):
        raise _wrong(after, node.name, "pools what a convolution of single cells computes")


def check_network(network: Network, after: str) -> None:
    """Nodes follow those that they read, and have as many cells as their geometry gives.

    Raises:
        InternalError: a node does not.
    """
    seen: dict[str, NodeSpec] = {}
    for node in network:
        if not set(node.inputs) <= set(seen):
            raise _wrong(after, node.name, f"comes before {', '.join(set(node.inputs) - set(seen))}, which it reads")
        seen[node.name] = node
        if node.kind in ("windowed", "cell"):
            for read in (seen[name].shape[-2:] for name in node.inputs):
                cells = tuple(op.cells(n) for op, n in zip(node.ops, read, strict=True))
                if cells != node.shape[-2:]:
                    found = f"has {node.shape[-2:]} cells, its geometry makes {cells} of {read}"
                    raise _wrong(after, node.name, found)


def _wrong(after: str, node: str, what: str) -> InternalError:
    return InternalError(
        f"{after}: {node}", what, fix="this is a mistake of fullfield, not of the network: please report it"
    )
