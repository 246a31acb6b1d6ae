"""Facts about one node of a canonical graph, or about the nodes of one layer, for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.fx import Node

from fullfield.geometry.axis import Axis, Op
from fullfield.geometry.network import IDENTITY
from fullfield.graph.calls import bind
from fullfield.operators.registry import named, record_of


def raw_ops(node: Node, values: Mapping[Node, Any]) -> tuple[Op, Op]:
    """Kernel, stride and padding of a convolution or pool as the network calls it; one cell for other operators."""
    windowed = record_of(node).windowed
    if windowed is None or not windowed.slides:
        return IDENTITY
    args = bind(node)
    shapes = {name: tuple(values[n].shape) for name, n in args.items() if isinstance(n, Node)}
    return windowed.geometry(args, shapes)


def title(name: str) -> str:
    """An operator's name in reports."""
    record = named(name)
    return record.title if record is not None and record.title else name


def weights_of(node: Node) -> set[str]:
    """Names of the fixed tensors behind a node's arguments."""
    found: set[str] = set()
    waiting = [n for n in node.all_input_nodes if n.meta.get("kind") == "const"]
    while waiting:
        const = waiting.pop()
        if const.op == "get_attr":
            found.add(str(const.target))
        waiting.extend(const.all_input_nodes)
    return found


def centre(axis: Axis) -> float:
    """The middle of the receptive field of cell 0, px."""
    return (axis.start + axis.size / 2) / axis.unit


def joined(ops: list[tuple[Op, Op]]) -> tuple[Op, Op]:
    """An operator with the padding or cropping around it as one operator."""
    main = next((op for op in reversed(ops) if any(o.kernel > 1 or o.stride > 1 for o in op)), ops[-1])
    y, x = (
        Op(main[k].kernel, main[k].stride, sum(o[k].low for o in ops), sum(o[k].high for o in ops), *_rest(main[k]))
        for k in (0, 1)
    )
    return y, x


def _rest(op: Op) -> tuple[int, bool]:
    return op.dilation, op.ceil


def unique(paths: list[str]) -> list[str]:
    """The paths, each with a number after it from its second use."""
    seen: dict[str, int] = {}
    names = []
    for path in paths:
        seen[path] = seen.get(path, 0) + 1
        names.append(path if seen[path] == 1 else f"{path} ({seen[path]})")
    return names
