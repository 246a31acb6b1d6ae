"""Registers fullfield's own operators with torch, so that each is one node of every graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.library import custom_op
from torch.utils.flop_counter import register_flop_formula


def register(
    name: str,
    schema: str,
    run: Callable[..., Any],
    *,
    fake: Callable[..., Any],
    save: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    flops: Callable[..., int] | None = None,
    tags: tuple[torch.Tag, ...] = (),
) -> Any:
    """The operator ``torch.ops.fullfield.<name>``, which stays one node in graphs and exporters.

    Args:
        schema: arguments and result as torch writes them.
        run: computes the result; gets tensors without gradients.
        fake: the result's shape alone.
        save: stores on its first argument what ``backward`` needs; gets ``inputs`` and ``output`` by name.
        backward: the gradient of every input, ``None`` where there is none.
        flops: two for each multiply-add, from the shapes of the inputs.
        tags: of the operator, such as ``torch.Tag.pointwise``.
    """
    definition: Any = custom_op(f"fullfield::{name}", run, mutates_args=(), schema=schema, tags=tags)
    definition.register_fake(fake)
    if backward is not None:
        definition.register_autograd(backward, setup_context=save)
    packet = getattr(torch.ops.fullfield, name)
    if flops is not None:
        register_flop_formula(packet)(flops)
    return packet


def register_composite(name: str, schema: str, run: Callable[..., Any]) -> Any:
    """The operator ``torch.ops.fullfield.<name>``, which stays one node in graphs and which exporters decompose.

    Args:
        schema: arguments and result as torch writes them.
        run: computes the result from torch's operators, which define its derivatives and shape.
    """
    if not hasattr(torch.ops.fullfield, name):  # already defined where the module is imported a second time
        _LIBRARY.define(f"{name}{schema}")
        _LIBRARY.impl(name, run, "CompositeImplicitAutograd")
    return getattr(torch.ops.fullfield, name)


_kind: Any = torch.library.Library  # untyped
_LIBRARY: Any = _kind("fullfield", "FRAGMENT")
