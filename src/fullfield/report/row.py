"""One row of the report: a layer with its geometry, parameters, operations and memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fullfield.geometry.axis import Axis, Op
from fullfield.geometry.network import NodeKind
from fullfield.operators.work import Work


@dataclass(frozen=True)
class Row:
    """One layer. Pairs are (y, x).

    Args:
        name: the layer's own name; a second use of the same layer ends in `` (2)``.
        type: its operator as the user wrote it: a fully connected layer is ``linear``.
        kind: ``windowed`` reads a neighbourhood, ``cell`` one cell, ``whole`` the whole window; ``input`` the image.
        inputs: rows that it reads.
        ops: what it does along y and x; kernel, stride, padding and dilation as a convolution for ``linear``.
        shape: its output at the window, ``(channels, y, x)`` if ``spatial``.
        at: the same in the fully convolutional network at another image size, where asked for and possible.
        parameters: learned numbers, without those that an earlier row has counted.
        unshared: their number if each cell of a convolution's output had separate weights and biases.
        work: operations on one window.
        activation_bytes: of the output at the window.
        axes: receptive field and borders along y and x; ``None`` after the first layer that reads the whole window.
        lost: padded cells of the input along y and x that no tap reads; negative where the last kernel reaches beyond.
        shared: whether neighbouring windows can share its interior cells in exact mode.
        reason: why they cannot.
        spatial: whether ``shape`` is a map.
        jump: px between neighbouring cells of a map along y and x, where that is known.
    """

    name: str
    type: str
    kind: NodeKind
    inputs: tuple[str, ...]
    ops: tuple[Op, Op]
    shape: tuple[int, ...]
    at: tuple[int, ...] | None
    parameters: int
    unshared: int
    work: Work
    activation_bytes: int
    axes: tuple[Axis, Axis] | None
    lost: tuple[int, int]
    shared: bool
    reason: str = ""
    spatial: bool = True
    jump: tuple[float, float] | None = None

    @property
    def macs(self) -> int:
        """Multiply-adds on one window."""
        return self.work.macs

    @property
    def flops(self) -> int:
        """Twice the multiply-adds."""
        return self.work.flops

    @property
    def fits(self) -> bool:
        """Whether the kernel, moved by its stride, ends exactly at the edge."""
        return self.lost == (0, 0)

    @property
    def dropped(self) -> tuple[int, int]:
        """Cells of the input along y and x that no tap reads: ``lost`` without those of padding."""
        y, x = (max(0, n - max(0, op.high)) for n, op in zip(self.lost, self.ops, strict=True))
        return y, x

    @property
    def pads(self) -> bool:
        """Whether it reads padding: its own, or beyond the edge because it rounds up."""
        return any(op.low > 0 or op.high > 0 for op in self.ops) or min(self.lost) < 0

    @property
    def volume(self) -> str:
        """Its output as the literature writes it, width x height x depth."""
        return volume(self.shape, self.spatial)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        plain = {k: getattr(self, k) for k in ("name", "type", "kind", "spatial", "shared", "reason", "fits")}
        plain |= {"inputs": list(self.inputs), "output": list(self.shape), "volume": self.volume}
        plain |= {"at": None if self.at is None else list(self.at)}
        plain |= {axis: asdict(op) for axis, op in zip("yx", self.ops, strict=True)}
        plain |= {
            "parameters": self.parameters,
            "unshared": self.unshared,
            "lost": list(self.lost),
            "dropped": list(self.dropped),
        }
        plain |= {"jump": None if self.jump is None else list(self.jump)}
        plain |= {**self.work.to_dict(), "activation_bytes": self.activation_bytes}
        fields = None if self.axes is None else {a: axis.to_dict() for a, axis in zip("yx", self.axes, strict=True)}
        return plain | {"receptive_field": fields}


def volume(shape: tuple[int, ...], spatial: bool = True) -> str:
    """A shape as the literature writes it: ``(c, y, x)`` as width x height x depth.

    Examples:
        >>> volume((96, 55, 54)), volume((197, 768), spatial=False)
        ('54×55×96', '197×768')
    """
    if not spatial or len(shape) < 2:
        return "×".join(map(str, shape))
    *channels, y, x = shape
    depth = 1
    for size in channels:
        depth *= size
    return f"{x}×{y}×{depth}"
