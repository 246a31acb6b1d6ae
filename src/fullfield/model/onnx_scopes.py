"""Reads values in Python's syntax from metadata of ONNX files, such as the modules that torch's exporter writes."""

from __future__ import annotations

import ast
from typing import Any

SCOPES = "pkg.torch.onnx.name_scopes"
"""The key of the modules around a node, a list in Python's syntax that ends in the node."""
_LONGEST = 10_000  # characters of such a list


def innermost_scope(text: str) -> str:
    """The module in torch's list of scopes: the last one before the node's; empty if there is none.

    Examples:
        >>> innermost_scope("['', 'layer4', 'layer4.0.conv1', 'conv2d_1']")
        'layer4.0.conv1'
    """
    scopes = literal(text, longest=_LONGEST)
    scope = str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""
    return "" if scope.startswith("_empty_nn_module_stack") else scope


def literal(text: str, *, longest: int) -> Any:
    """A value in Python's syntax; ``None`` where it is none, or has more than ``longest`` characters.

    Examples:
        >>> literal("{0: 'cat'}", longest=100), literal("{0: 'cat'", longest=100)
        ({0: 'cat'}, None)
    """
    try:
        return ast.literal_eval(text) if len(text) <= longest else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
