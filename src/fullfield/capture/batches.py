"""Networks that mix the windows of a batch: what a window scores would depend on its neighbours in the queue."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from fullfield.errors import CaptureError

_PRODUCTS = {"matmul", "mm", "bmm", "baddbmm", "addbmm", "einsum", "scaled_dot_product_attention"}
_ALONG = dict.fromkeys(
    ("softmax", "_softmax", "log_softmax", "sum", "mean", "amax", "amin", "max", "min", "var", "std", "cumsum", "prod"),
    1,
) | {"norm": 2, "linalg_vector_norm": 2}  # and which argument says along what


def check_apart(graph: GraphModule, probe: torch.Tensor, name: str) -> None:
    """Passes if a window's scores do not depend on the other windows of its batch.

    Only operators that join positions can do that; a network without any is not run. The window has the same place in
    two batches of the same size, so that all that differs is the window beside it.

    Args:
        graph: of the network.
        probe: two windows of the size, type and device that it takes.
        name: of the network, for the error.

    Raises:
        CaptureError: they do.
    """
    if not any(_may_join(node) for node in graph.graph.nodes):
        return
    noise = torch.Generator().manual_seed(0)
    first, second, third = torch.randn((3, *probe.shape[1:]), generator=noise).to(probe)
    with torch.no_grad():
        one, other = (graph(torch.stack([first, beside]))[0] for beside in (second, third))
    if (one - other).abs().max() > 1000 * torch.finfo(one.dtype).eps * one.abs().max():
        raise CaptureError(
            name,
            "gives a window other scores when another window is beside it in its batch: it mixes the windows",
            fix="correct the network: some layer takes the first dimension for positions or channels",
        )


def _may_join(node: Node) -> bool:
    """Whether an operator may join numbers along the first dimension."""
    if node.op != "call_function":
        return False
    name = str(node.target).split(".")[1] if "." in str(node.target) else ""
    if name not in _ALONG:
        return name in _PRODUCTS
    at = _ALONG[name]
    dims = node.args[at] if len(node.args) > at else node.kwargs.get("dim")
    return dims is None or 0 in (dims if isinstance(dims, (list, tuple)) else [dims])
