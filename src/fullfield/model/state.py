"""Removes what a graph writes to its buffers and its input; refuses scores that depend on what it wrote before."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from fullfield.errors import CaptureError
from fullfield.graph.attributes import attribute_of

aten = torch.ops.aten


def drop_writes(graph: GraphModule, probe: Tensor, name: str) -> None:
    """Removes all writes to buffers, parameters and the input from a functional graph.

    They change no score of the same call; a state that is only counted, such as the number of calls, needs them for
    nothing else. They do change the scores of later calls where these read the state: such a network is refused, unless
    a call leaves every bit of the state as it was.

    Exact: yes

    Args:
        graph: of a network; in it, writes are ``copy_`` at the end, as ``torch.export`` makes them.
        probe: windows that it takes.
        name: of the network, for the error.

    Raises:
        CaptureError: the scores depend on a state that every call changes.
    """
    writes = [node for node in graph.graph.nodes if node.target is aten.copy_.default]
    if not writes:
        return
    reads = {str(node.target) for node in _behind(graph.graph.output_node()) if node.op == "get_attr"}
    written = {node: node.args[0] for node in writes}
    states = [str(to.target) for to in written.values() if isinstance(to, Node) and to.op == "get_attr"]
    kept = [state for state in states if state in reads]
    changed = _changed_by_a_call(graph, probe, states) if kept else set()
    for state in kept:
        if state in changed:
            raise CaptureError(
                name,
                f"keeps a state between calls: the scores depend on {state}, which every call changes",
                fix="leave it as it is in evaluation mode: if self.training: ...",
            )
    for node, to in written.items():
        assert isinstance(to, Node)
        node.replace_all_uses_with(to)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _behind(output: Node) -> set[Node]:
    """All nodes that the output depends on."""
    found: set[Node] = set()
    pending = [*output.all_input_nodes]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += node.all_input_nodes
    return found


def _changed_by_a_call(graph: GraphModule, probe: Tensor, states: list[str]) -> set[str]:
    """The states that a call changes; they are put back."""
    tensors = {state: attribute_of(graph, state) for state in states}
    if any(tensor.device.type == "meta" for tensor in tensors.values()):
        return set(states)
    with torch.no_grad():
        saved = {state: tensor.clone() for state, tensor in tensors.items()}
        graph(torch.rand(probe.shape, generator=torch.Generator().manual_seed(0)).to(probe))
        changed = {s for s, t in tensors.items() if not torch.equal(t.nan_to_num(), saved[s].nan_to_num())}
        for state, tensor in tensors.items():
            tensor.copy_(saved[state])
    return changed
