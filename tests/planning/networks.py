"""Networks as integers, written by hand: what the planner sees of a classifier. Imports no torch."""

from __future__ import annotations

from fullfield.geometry.axis import Op
from fullfield.geometry.network import IDENTITY, Network, NodeKind, NodeSpec, Scratch


class Draft:
    """A network under construction: every operator reads the last node unless told otherwise."""

    def __init__(self, window: tuple[int, int], channels: int = 3) -> None:
        self.window = window
        self.nodes = [NodeSpec("x", "x", "image", "input", (), shape=(channels, *window))]

    def add(
        self,
        kind: NodeKind,
        channels: int,
        ops: tuple[Op, Op] = IDENTITY,
        *,
        macs: int = 0,
        reads: tuple[str, ...] = (),
        reason: str = "",
        op: str | None = None,
    ) -> str:
        """The new node's name; the operator's own is that of its kind if it is not given."""
        inputs = reads or (self.nodes[-1].name,)
        before = next(n for n in self.nodes if n.name == inputs[0])
        cells = tuple(op.cells(n) for op, n in zip(ops, before.shape[-2:], strict=True)) if kind != "whole" else ()
        name = f"n{len(self.nodes)}"
        scratch = Scratch(weights=2, taps=True) if kind == "windowed" and macs else Scratch()
        layer, shape = f"layer{len(self.nodes)}", (channels, *cells)
        self.nodes.append(NodeSpec(name, layer, op or kind, kind, inputs, ops, shape, macs, reason, scratch=scratch))
        return name

    def conv(self, channels: int, kernel: int, *, stride: int = 1, padding: int = 0) -> str:
        """A convolution over the last node."""
        op = Op(kernel, stride, padding, padding)
        return self.add("windowed", channels, (op, op), macs=channels * self.nodes[-1].shape[0] * kernel**2)

    def head(self, classes: int) -> str:
        """A linear layer over the whole of the last map."""
        channels, height, width = self.nodes[-1].shape
        return self.add("windowed", classes, (Op(height), Op(width)), macs=classes * channels * height * width)

    def done(self) -> Network:
        """The network."""
        return Network(tuple(self.nodes), self.window)


def unpadded(window: tuple[int, int] = (20, 20), width: int = 8) -> Network:
    """Convolutions that pad nothing: windows share everything."""
    draft = Draft(window)
    draft.conv(width, 3)
    draft.conv(width, 2, stride=2)
    draft.add("cell", width)
    draft.conv(width, 3)
    draft.head(5)
    return draft.done()


def padded(window: tuple[int, int] = (32, 32), width: int = 16, depth: int = 4) -> Network:
    """Convolutions that pad: borders grow with the depth, and the head runs per window."""
    draft = Draft(window)
    for k in range(depth):
        draft.conv(width, 3, stride=2 if k % 2 else 1, padding=1)
        draft.add("cell", width)
    draft.head(5)
    return draft.done()


def attentive(window: tuple[int, int] = (16, 16), width: int = 8) -> Network:
    """A convolution, then a layer that looks at the whole window and takes nearly all the arithmetic."""
    draft = Draft(window)
    draft.conv(width, 3)
    draft.add("whole", 5, macs=10**8, reason="looks at all positions at once")
    return draft.done()
