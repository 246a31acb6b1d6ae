"""Lets antialiased resizing, which torch does not compute in 16 bits on CPUs, run in float32."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

aten = torch.ops.aten
_ANTIALIASED = (aten._upsample_bilinear2d_aa.vec, aten._upsample_bicubic2d_aa.vec)
_NARROW = (torch.bfloat16, torch.float16)
_ADDED = "added for resizing"  # in a node's ``meta``


def resize_in_float32(module: GraphModule, dtype: torch.dtype) -> None:
    """Puts changes of type around antialiased resizing in a network of 16 bits; in others removes those put there.

    Args:
        module: of which the graph is changed.
        dtype: the network's type.
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.meta.get(_ADDED):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    if dtype in _NARROW:
        for target in _ANTIALIASED:
            for node in graph.find_nodes(op="call_function", target=target):
                with graph.inserting_before(node):
                    wide = graph.call_function(aten.to.dtype, (node.args[0], torch.float32))
                with graph.inserting_after(node):
                    back = graph.call_function(aten.to.dtype, (node, dtype))
                node.replace_all_uses_with(back, delete_user_cb=lambda user, back=back: user is not back)
                node.args = (wide, *node.args[1:])
                for added in (wide, back):
                    added.meta = {"path": node.meta["path"], _ADDED: True}
    module.recompile()
