"""Reads the modules that torch's exporter writes to the metadata of the nodes of an ONNX file."""

from __future__ import annotations

import ast

SCOPES = "pkg.torch.onnx.name_scopes"
"""The key of the modules around a node, a list in Python's syntax that ends in the node."""
_LONGEST = 10_000  # characters of such a list


def innermost_scope(text: str) -> str:
    """The module in torch's list of scopes: the last one before the node's; empty if there is none.

    Examples:
        >>> innermost_scope("['', 'layer4', 'layer4.0.conv1', 'conv2d_1']")
        'layer4.0.conv1'
    """
    try:
        scopes = ast.literal_eval(text) if len(text) <= _LONGEST else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""
    scope = str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""
    return "" if scope.startswith("_empty_nn_module_stack") else scope
