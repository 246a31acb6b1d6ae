"""Measures a canonical graph: the nodes of each layer become one row of the report."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from itertools import combinations

from torch import nn

from fullfield.canonical.form import Canonical
from fullfield.canonical.integers import network
from fullfield.canonical.pipeline import canonical
from fullfield.errors import GeometryError
from fullfield.geometry.axis import Axis, Op, px
from fullfield.geometry.network import IDENTITY, Network, NodeSpec
from fullfield.graph.attributes import attribute_of
from fullfield.graph.calls import op_name
from fullfield.graph.shapes import propagate
from fullfield.model.model import Model
from fullfield.operators.counting import operations
from fullfield.operators.registry import record_of
from fullfield.operators.work import Work
from fullfield.report.memory import peak_bytes, size_bytes
from fullfield.report.nodes import centre, joined, raw_ops, title, unique, weights_of
from fullfield.report.report import Report
from fullfield.report.row import Row
from fullfield.report.summary import summarise

_OWN = frozenset({"l2_pool2d", "local_response_norm_within"})  # one layer, several nodes in canonical form
_JOINS = "works with values that represent the whole window"
_ON_MAPS = ("conv", "pool2d", "batch_norm", "upsample", "instance_norm", "group_norm")


def measure(net: Model, *, at: tuple[int, int] | None = None) -> Report:
    """The report of a network; ``at`` is the size of a larger image.

    Raises:
        GeometryError: ``at`` is smaller than the window.
    """
    if at is not None and any(a < w for a, w in zip(at, net.window, strict=True)):
        raise GeometryError(
            "at",
            f"{at[0]}x{at[1]} px is smaller than the window of {net.window[0]}x{net.window[1]} px",
            fix="give the size of an image that holds a window",
        )
    return _Measure(net, at).run()


class _Measure:
    """Side tables over the nodes of one canonical graph."""

    def __init__(self, net: Model, at: tuple[int, int] | None) -> None:
        self.net, self.at = net, at
        self.canonical: Canonical = canonical(net)
        self.network: Network = network(self.canonical, net.dtype)
        self.nodes = {n.name: n for n in self.canonical.graph.graph.nodes}
        self.values = propagate(self.canonical.graph, (1, net.channels, *net.window), net.dtype)
        self.places = self.network.places()
        self.misaligned: list[str] = []
        self.uncounted: dict[str, None] = {}
        self.ops: dict[str, tuple[Op, Op]] = {}
        self.axes: dict[str, tuple[Axis, Axis] | None] = {}
        self.cells: dict[str, tuple[int, int] | None] = {}
        self.jumps: dict[str, tuple[float, float] | None] = {}
        self.spatial: set[str] = set()
        self.counted: set[str] = set()

    def run(self) -> Report:
        for spec in self.network:
            self.ops[spec.name] = self._ops(spec)
            self.axes[spec.name] = self._axes(spec)
            self.cells[spec.name] = self._cells(spec)
            if self._is_map(spec):
                self.spatial.add(spec.name)
            self.jumps[spec.name] = self._jump(spec)
        rows = self._rows()
        weights = {id(t): t for t in self.canonical.graph.state_dict(keep_vars=True).values()}
        report = Report(
            name=self.net.name,
            window=self.net.window,
            channels=self.net.channels,
            classes=self.net.classes,
            dtype=str(self.net.dtype).removeprefix("torch."),
            preprocessing=self.net.preprocessing,
            rows=tuple(rows),
            at=self.at,
            weight_bytes=sum(t.nbytes for t in weights.values()),
            peak_bytes=sum(t.nbytes for t in weights.values()) + peak_bytes(self.canonical.graph.graph, self.values),
            uncounted=tuple(self.uncounted),
            misaligned=tuple(self.misaligned),
            refused=self._refused(),
            scores_of=self.net.features,
            about=self.net.about,
            resize=self.net.resize,
            standardise=self.net.standardise,
            convertible=all(p.shared for p in self.network.places(cap=0).values()),
        )
        return summarise(report)

    # -- side tables -------------------------------------------------------------------------------------------

    def _ops(self, spec: NodeSpec) -> tuple[Op, Op]:
        """The node's geometry, also that of a convolution or pool that runs per window."""
        return raw_ops(self.nodes[spec.name], self.values) if spec.kind == "whole" else spec.ops

    def _axes(self, spec: NodeSpec) -> tuple[Axis, Axis] | None:
        """The receptive field, also beyond where borders meet; none after a node that reads the whole window."""
        if spec.kind == "input":
            y, x = map(Axis.window, self.net.window, self.network.units)
            return y, x
        inputs = [pair for pair in (self.axes[i] for i in spec.inputs) if pair is not None]
        if spec.kind == "whole" or len(inputs) < len(spec.inputs):
            return None
        self._check_alignment(spec, inputs)
        try:
            y, x = (self._along([pair[k] for pair in inputs], spec.ops[k]) for k in (0, 1))
        except GeometryError as error:
            self.misaligned.append(f"{spec.path} ({spec.op}): {error.what}")
            return None
        return y, x

    @staticmethod
    def _along(axes: list[Axis], op: Op) -> Axis:
        axis = axes[0]
        for other in axes[1:]:
            axis = axis.union(other)
        return axis if op == Op(1) else axis.through(op)

    def _check_alignment(self, spec: NodeSpec, inputs: list[tuple[Axis, Axis]]) -> None:
        offsets = [
            max((abs(centre(p[k]) - centre(q[k])) for p, q in combinations(inputs, 2)), default=0.0) for k in (0, 1)
        ]
        if any(offsets):
            shift = " and ".join(f"{o:g} px along {axis}" for o, axis in zip(offsets, "yx", strict=True) if o)
            self.misaligned.append(f"{spec.path} ({spec.op}): branches whose cells lie {shift} apart")

    def _cells(self, spec: NodeSpec) -> tuple[int, int] | None:
        """Cells of the fully convolutional network at ``at``."""
        if spec.kind == "input":
            return self.at
        found = {self.cells[i] for i in spec.inputs}
        cells = found.pop() if len(found) == 1 else None
        if cells is None or spec.kind == "whole":
            return None
        y, x = (op.cells(n) for op, n in zip(spec.ops, cells, strict=True))
        return (y, x) if y > 0 and x > 0 else None

    def _is_map(self, spec: NodeSpec) -> bool:
        """Whether the node's value is ``(channels, y, x)``."""
        if spec.kind != "whole":
            return True
        node = self.nodes[spec.name]
        name, value = op_name(node), self.values[node]
        first = value[0] if isinstance(value, (tuple, list)) else value
        moved = record_of(node).movement == "view" and node.target is not operator.getitem
        follows = not moved and any(i in self.spatial for i in spec.inputs)
        return first.dim() == 4 and (follows or any(part in name for part in _ON_MAPS))

    def _jump(self, spec: NodeSpec) -> tuple[float, float] | None:
        """Px between neighbouring cells of a map, also where its nodes run per window."""
        axes = self.axes[spec.name]
        if axes is not None:
            return px(axes[0].jump, axes[0].unit), px(axes[1].jump, axes[1].unit)
        if spec.name not in self.spatial:
            return None
        found = {self.jumps[i]: self._map_size(i) for i in spec.inputs if self._map_size(i) not in (None, (1, 1))}
        if len(found) != 1:
            return None
        ((jump, size),) = found.items()
        y, x = self.ops[spec.name]
        if jump is None or ((y, x) == IDENTITY and self._map_size(spec.name) != size):  # a global pool, an upsampling
            return None
        return jump[0] * y.stride, jump[1] * x.stride

    def _map_size(self, name: str) -> tuple[int, int] | None:
        """Rows and columns of a node's map; ``None`` if its value is none."""
        value = self.values[self.nodes[name]]
        first = value[0] if isinstance(value, (tuple, list)) else value
        return (first.shape[-2], first.shape[-1]) if name in self.spatial else None

    def _refused(self) -> tuple[str, ...]:
        """The layers that read the whole window, and why; without refusals those that join fixed values to it."""
        if self.canonical.refused:
            return tuple(map(str, self.canonical.refused))
        whole = [
            s for s in self.network if s.kind == "whole" and any(self.network[i].kind != "whole" for i in s.inputs)
        ]
        return tuple(f"{s.path} ({s.op}): {s.reason or _JOINS}" for s in whole)

    # -- rows --------------------------------------------------------------------------------------------------

    def _rows(self) -> list[Row]:
        groups: list[list[NodeSpec]] = []
        for spec in self.network:
            if groups and self._joins(groups[-1], spec):
                groups[-1].append(spec)
            else:
                groups.append([spec])
        names = unique([self._main(group).path for group in groups])
        home = {spec.name: name for group, name in zip(groups, names, strict=True) for spec in group}
        return [self._row(group, name, home) for group, name in zip(groups, names, strict=True)]

    def _main(self, group: list[NodeSpec]) -> NodeSpec:
        """The node that gives a row its name: the last one that computes."""
        return next((s for s in reversed(group) if not self._is_idle(s)), group[-1])

    def _is_idle(self, spec: NodeSpec) -> bool:
        """Whether a node only renames or copies numbers."""
        return record_of(self.nodes[spec.name]).movement in ("view", "copy")

    def _joins(self, group: list[NodeSpec], spec: NodeSpec) -> bool:
        """Whether a node belongs to the layer before it: same path, reads it, and only one of them is windowed."""
        last = group[-1]
        if last.kind == spec.kind == "whole" and record_of(self.nodes[spec.name]).movement == "copy":
            return spec.inputs == (last.name,)
        if last.path != spec.path or not any(s.name in spec.inputs for s in group) or last.kind == "input":
            return False
        if last.op == spec.op and spec.op in _OWN:
            return True
        if spec.kind == "windowed":  # only rows and columns that were added or dropped for it
            edges = op_name(self.nodes[last.name]) in ("constant_pad_nd", "slice")
            return last.kind == "windowed" and edges and spec.inputs == (last.name,)
        return last.kind == spec.kind

    def _row(self, group: list[NodeSpec], name: str, home: Mapping[str, str]) -> Row:
        first, last = group[0], group[-1]
        ops = joined([self.ops[spec.name] for spec in group])
        parameters, unshared = self._parameters(group)
        value = self.values[self.nodes[last.name]]
        inputs = dict.fromkeys(home[i] for spec in group for i in spec.inputs if home[i] != name)
        place = next((self.places[s.name] for s in group if not self.places[s.name].shared), self.places[last.name])
        reason = next((s.reason for s in group if s.reason), place.reason or _JOINS)
        at = self.cells[last.name]
        return Row(
            name=name,
            type=self._type(group),
            kind="windowed" if any(spec.kind == "windowed" for spec in group) else last.kind,
            inputs=tuple(inputs),
            ops=ops,
            shape=last.shape,
            at=None if at is None else (*last.shape[:-2], *at),
            parameters=parameters,
            unshared=unshared,
            work=sum((self._work(spec) for spec in group), Work()),
            activation_bytes=size_bytes(value),
            axes=self.axes[last.name],
            lost=self._lost(first, ops),
            shared=place.shared,
            reason="" if place.shared else reason,
            jump=self.jumps[last.name],
            spatial=last.name in self.spatial,
        )

    def _type(self, group: list[NodeSpec]) -> str:
        names = [title(s.op) for s in group if not self._is_idle(s)]
        distinct = list(dict.fromkeys(names or [group[-1].op]))
        if group[-1].kind == "windowed":
            return distinct[-1]
        if {"avg_pool3d", "pow", "div"} <= set(distinct):
            return "local_response_norm"
        return "+".join(distinct)

    def _work(self, spec: NodeSpec) -> Work:
        node = self.nodes[spec.name]
        found = operations(node, self.values, spec.window_macs)
        if found is None:
            self.uncounted[title(op_name(node))] = None
        return found or Work()

    def _parameters(self, group: list[NodeSpec]) -> tuple[int, int]:
        """Parameters that no earlier row counts, and their number if cells did not share them."""
        learned = unshared = 0
        for spec in group:
            node = self.nodes[spec.name]
            own = 0
            for target in weights_of(node) - self.counted:
                tensor = attribute_of(self.canonical.graph, target)
                own += tensor.numel() if isinstance(tensor, nn.Parameter) else 0
            self.counted |= weights_of(node)
            learned += own
            cells = spec.shape[-1] * spec.shape[-2] if op_name(node) == "conv2d" and len(spec.shape) > 2 else 1
            unshared += own * cells
        return learned, unshared

    def _lost(self, first: NodeSpec, ops: tuple[Op, Op]) -> tuple[int, int]:
        source = next(iter(first.inputs), None)
        if source is None or ops == IDENTITY or source not in self.spatial:
            return 0, 0
        y, x = (op.leftover(n) for op, n in zip(ops, self.network[source].shape[-2:], strict=True))
        return y, x
