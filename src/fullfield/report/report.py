"""What ``inspect`` returns: one row a layer, totals, and what they mean in plain words. Only data and their text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fullfield.geometry.axis import Axis, Op
from fullfield.geometry.network import NodeKind
from fullfield.model.preprocessing import Preprocessing
from fullfield.operators.work import Work

Shape = tuple[int, ...]


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
        parameters: learned numbers; those that an earlier row holds too count there.
        unshared: what they would be if each cell of a convolution's output had weights and biases of its own.
        work: operations on one window.
        activation_bytes: of the output at the window.
        axes: receptive field and borders along y and x; ``None`` from the first layer on that sees the whole window.
        lost: padded cells of the input along y and x that no tap reads; negative where a last window hangs over.
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
    shape: Shape
    at: Shape | None
    parameters: int
    unshared: int
    work: Work
    activation_bytes: int
    axes: tuple[Axis, Axis] | None
    lost: tuple[int, int]
    shared: bool
    reason: str = ""
    spatial: bool = True
    jump: tuple[int, int] | None = None

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
        """Whether it reads padding, its own or beyond the edge because it rounds up."""
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
        fields = None if self.axes is None else {a: asdict(axis) for a, axis in zip("yx", self.axes, strict=True)}
        return plain | {"receptive_field": fields}


@dataclass(frozen=True)
class Report:
    """What a network is: its layers, what they cost, what they see, and what that means for scanning.

    ``print(report)`` shows a table, ``report["features.0"]`` is one row.

    Args:
        name: the network's.
        window: height and width, px.
        channels: of its input.
        classes: scores a window.
        dtype: its floating type.
        preprocessing: how pixels become its input.
        rows: one a layer, in the order in which they run.
        at: height and width of the image behind every row's ``at``, px.
        weight_bytes: parameters and stored statistics.
        peak_bytes: most memory that one window takes at a time: weights and the activations still needed.
        uncounted: operators whose arithmetic is not in ``work``.
        misaligned: meetings of branches whose cells are not centred on the same pixels.
        refused: operators that look at the whole window, and why.
        convertible: whether it can run as one fully convolutional network, as ``context`` mode does.
        summary: what it all means, a sentence or two each.
    """

    name: str
    window: tuple[int, int]
    channels: int
    classes: int
    dtype: str
    preprocessing: Preprocessing
    rows: tuple[Row, ...]
    at: tuple[int, int] | None
    weight_bytes: int
    peak_bytes: int
    uncounted: tuple[str, ...]
    misaligned: tuple[str, ...]
    refused: tuple[str, ...]
    convertible: bool
    summary: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Row:
        """The row of the layer called ``name``.

        Raises:
            KeyError: there is none; the message names those that there are.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r} is not one of {', '.join(row.name for row in self.rows)}")

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def parameters(self) -> int:
        """Learned numbers, each once."""
        return sum(row.parameters for row in self.rows)

    @property
    def unshared(self) -> int:
        """Learned numbers if no convolution shared its weights between cells."""
        return sum(row.unshared for row in self.rows)

    @property
    def work(self) -> Work:
        """Operations on one window."""
        return sum((row.work for row in self.rows), Work())

    @property
    def macs(self) -> int:
        """Multiply-adds on one window."""
        return self.work.macs

    @property
    def flops(self) -> int:
        """Twice the multiply-adds."""
        return self.work.flops

    @property
    def activation_bytes(self) -> int:
        """Bytes of all layers' outputs at the window, the image among them."""
        return sum(row.activation_bytes for row in self.rows)

    @property
    def features(self) -> Row:
        """The last map of more than one cell whose spacing is known: what the head stands on."""
        maps = [row for row in self.rows if row.jump is not None]
        return next((row for row in reversed(maps) if max(row.shape[-2:]) > 1), maps[0])

    @property
    def stride(self) -> tuple[int, int]:
        """Px between neighbouring cells of ``features`` along y and x: the network's own step."""
        jump = self.features.jump
        assert jump is not None
        return jump

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON, pairs in the order (y, x)."""
        return {
            "name": self.name,
            "window": list(self.window),
            "channels": self.channels,
            "classes": self.classes,
            "dtype": self.dtype,
            "preprocessing": asdict(self.preprocessing),
            "at": None if self.at is None else list(self.at),
            "stride": list(self.stride),
            "features": self.features.name,
            "rows": [row.to_dict() for row in self.rows],
            "totals": {
                "parameters": self.parameters,
                "unshared": self.unshared,
                **self.work.to_dict(),
                "activation_bytes": self.activation_bytes,
                "weight_bytes": self.weight_bytes,
                "peak_bytes": self.peak_bytes,
            },
            "uncounted": list(self.uncounted),
            "misaligned": list(self.misaligned),
            "refused": list(self.refused),
            "convertible": self.convertible,
            "summary": list(self.summary),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """``to_dict`` as text."""
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        from fullfield.report.table import render  # it reads the types above

        return render(self)

    def __repr__(self) -> str:
        (h, w), macs = self.window, self.macs
        return (
            f"Report({self.name!r}, {len(self.rows)} rows, window {h}x{w}, {self.parameters} parameters, {macs} MACs)"
        )


def volume(shape: Shape, spatial: bool = True) -> str:
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
