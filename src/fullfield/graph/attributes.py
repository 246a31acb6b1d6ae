"""Finds and names the tensors that a graph reads from its module."""

from __future__ import annotations

from collections.abc import Container

from torch import Tensor, nn
from torch.fx import Graph, GraphModule

_OWN = frozenset(dir(GraphModule(nn.Module(), Graph())))  # names that a graph module needs for itself


def attribute_of(module: nn.Module, target: str) -> Tensor:
    """The tensor of a module behind a dotted name."""
    for part in target.split("."):
        module = getattr(module, part)
    assert isinstance(module, Tensor)
    return module


def is_reserved(name: str) -> bool:
    """Whether a module of a graph needs an attribute's name for itself, as ``code`` and ``graph``.

    Examples:
        >>> is_reserved("code"), is_reserved("weight")
        (True, False)
    """
    return name in _OWN


def free_name(name: str, taken: Container[str]) -> str:
    """The name, with as many ``_`` as it needs to be neither reserved nor taken.

    Examples:
        >>> free_name("graph", ["graph_"])
        'graph__'
    """
    while is_reserved(name) or name in taken:
        name += "_"
    return name
