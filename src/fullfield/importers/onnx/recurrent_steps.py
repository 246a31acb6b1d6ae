"""Maps recurrent ONNX operators whose cells torch lacks, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import REGISTRY, OnnxCall, shortest
from fullfield.importers.onnx.values import Known, OnnxValue

aten = torch.ops.aten

MOST_STEPS = 1024
"""The most steps that become nodes of their own."""

_Activation = Callable[[OnnxValue], OnnxValue]

_PARAMETERS = {
    **dict.fromkeys(("Affine", "ScaledTanh", "HardSigmoid"), ("alpha", "beta")),
    **dict.fromkeys(("LeakyRelu", "ThresholdedRelu", "Elu"), ("alpha",)),
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus"), ()),
}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


@dataclass(frozen=True)
class _Direction:
    """What the cells of one direction compute with.

    Args:
        inner, outer: weights of the inputs and of the state, ``(gates * hidden, inputs)`` and
            ``(gates * hidden, hidden)``.
        biases: of both, ``(gates * hidden)``.
        peepholes: of the gates input, output and forget, ``(hidden)`` each; none where there are none.
    """

    inner: Known
    outer: Known
    biases: tuple[Known, Known]
    peepholes: tuple[Known, ...]
    activations: tuple[_Activation, ...]


@dataclass(frozen=True)
class _Cell:
    """A cell: its operator's attributes, and what it computes with."""

    b: AtenBuilder
    call: OnnxCall
    uses: _Direction

    def add(self, x: OnnxValue, y: OnnxValue) -> OnnxValue:
        return self.b.call(aten.add.Tensor, x, y)

    def multiply(self, x: OnnxValue, y: OnnxValue) -> OnnxValue:
        return self.b.call(aten.mul.Tensor, x, y)

    def product(self, x: OnnxValue, first: int, stop: int) -> OnnxValue:
        """The state's product with the weights of the gates ``first`` to ``stop``, and their biases."""
        hidden = self.uses.outer.shapes[0][1]
        parts = (
            Known.constant(known.tensors[0][first * hidden : stop * hidden].clone(), known.name)
            for known in (self.uses.outer, self.uses.biases[1])
        )
        return self.b.call(aten.linear.default, x, *parts)

    def gate(self, x: OnnxValue, index: int) -> OnnxValue:
        hidden = self.uses.outer.shapes[0][1]
        return self.b.call(aten.slice.Tensor, x, 1, index * hidden, (index + 1) * hidden)

    def activate(self, x: OnnxValue, index: int) -> OnnxValue:
        if "clip" in self.call.attributes:
            clip = self.call.real("clip", 0.0)
            x = self.b.call(aten.clamp.default, x, -clip, clip)
        return self.uses.activations[index](x)

    def mix(self, share: OnnxValue, one: OnnxValue, other: OnnxValue) -> OnnxValue:
        """``(1 - share) * one + share * other``"""
        rest = self.b.call(aten.rsub.Scalar, share, 1)
        return self.add(self.multiply(rest, one), self.multiply(share, other))

    def step(self, x: OnnxValue, states: tuple[OnnxValue, ...]) -> tuple[OnnxValue, ...]:
        """The states after one step, from the inputs' products ``(n, gates * hidden)``."""
        return {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.call.op](x, states)

    def _rnn(self, x: OnnxValue, states: tuple[OnnxValue, ...]) -> tuple[OnnxValue, ...]:
        return (self.activate(self.add(x, self.product(states[0], 0, 1)), 0),)

    def _gru(self, x: OnnxValue, states: tuple[OnnxValue, ...]) -> tuple[OnnxValue, ...]:
        """Source: ONNX operator GRU-22, whose gates are update, reset and hidden."""
        state = states[0]
        gates = self.activate(
            self.add(self.b.call(aten.slice.Tensor, x, 1, 0, 2 * self._hidden), self.product(state, 0, 2)), 0
        )
        update, reset = self.gate(gates, 0), self.gate(gates, 1)
        if self.call.integer("linear_before_reset", 0):
            outer = self.multiply(reset, self.product(state, 2, 3))
        else:
            outer = self.product(self.multiply(reset, state), 2, 3)
        return (self.mix(update, self.activate(self.add(self.gate(x, 2), outer), 1), state),)

    def _lstm(self, x: OnnxValue, states: tuple[OnnxValue, ...]) -> tuple[OnnxValue, ...]:
        """Source: ONNX operator LSTM-22: gates input, output, forget and cell; peepholes of the first three."""
        state, cell = states
        gates = self.add(x, self.product(state, 0, 4))
        entering = self.activate(self._peep(self.gate(gates, 0), cell, 0), 0)
        if self.call.integer("input_forget", 0):
            kept = self.b.call(aten.rsub.Scalar, entering, 1)
        else:
            kept = self.activate(self._peep(self.gate(gates, 2), cell, 2), 0)
        new = self.activate(self.gate(gates, 3), 1)
        cell = self.add(self.multiply(kept, cell), self.multiply(entering, new))
        leaving = self.activate(self._peep(self.gate(gates, 1), cell, 1), 0)
        return self.multiply(leaving, self.uses.activations[2](cell)), cell

    @property
    def _hidden(self) -> int:
        return self.uses.outer.shapes[0][1]

    def _peep(self, gate: OnnxValue, cell: OnnxValue, index: int) -> OnnxValue:
        return self.add(gate, self.multiply(cell, self.uses.peepholes[index])) if self.uses.peepholes else gate


def unrolled(
    b: AtenBuilder, call: OnnxCall, x: OnnxValue, states: Sequence[OnnxValue]
) -> tuple[OnnxValue, tuple[OnnxValue, ...]]:
    """What a recurrent operator gives: of every step ``(steps, n, directions * hidden)``, and its last states.

    Args:
        x: the inputs, ``(steps, n, inputs)``, those of a single reverse direction turned.
        states: the first ones, ``(directions, n, hidden)``.

    Raises:
        LayerRefused: it has too many steps, or an unknown activation.
    """
    count = x.shapes[0][0]
    if count > MOST_STEPS:
        raise LayerRefused(f"takes {count} steps one by one, more than {MOST_STEPS}")
    found = []
    for index, uses in enumerate(_directions(b, call)):
        first = tuple(b.call(aten.select.int, state, 0, index) for state in states)
        found.append(_walk(_Cell(b, call, uses), x, first, backwards=index == 1))
    steps = b.call(aten.cat.default, [each for each, _ in found], 2)
    last = tuple(b.call(aten.stack.default, list(parts), 0) for parts in zip(*(end for _, end in found), strict=True))
    return steps, last


def _walk(
    cell: _Cell, x: OnnxValue, states: tuple[OnnxValue, ...], *, backwards: bool
) -> tuple[OnnxValue, tuple[OnnxValue, ...]]:
    """The state of every step of one direction, and all states of the last one."""
    products = cell.b.call(aten.linear.default, x, cell.uses.inner, cell.uses.biases[0])
    order = range(x.shapes[0][0])
    found = []
    for index in reversed(order) if backwards else order:
        states = cell.step(cell.b.call(aten.select.int, products, 0, index), states)
        found.append(states[0])
    return cell.b.call(aten.stack.default, found[::-1] if backwards else found, 0), states


def _directions(b: AtenBuilder, call: OnnxCall) -> list[_Direction]:
    """What the cells of each direction compute with.

    Raises:
        LayerRefused: weights are computed, or an activation is unknown.
    """
    inner, outer, bias, peepholes = (call.known(1), call.known(2), call.optional(3), call.optional(7))
    for known in (inner, outer, bias, peepholes):
        if known is not None and not (isinstance(known, Known) and known.fixed):
            raise LayerRefused("its weights are computed")
    count, wide, _ = outer.shapes[0]
    activations = _activations(b, call, count)
    each = len(activations) // count
    found = []
    for i in range(count):
        biases = bias.tensors[0][i] if isinstance(bias, Known) else torch.zeros(2 * wide, dtype=inner.dtype)
        first, second = (_learned(part, inner.name) for part in biases.chunk(2))
        found.append(
            _Direction(
                _learned(inner.tensors[0][i], inner.name),
                _learned(outer.tensors[0][i], outer.name),
                (first, second),
                tuple(_learned(part, peepholes.name) for part in peepholes.tensors[0][i].chunk(3))
                if isinstance(peepholes, Known)
                else (),
                activations[i * each : (i + 1) * each],
            )
        )
    return found


def _learned(part: torch.Tensor, name: str) -> Known:
    return replace(Known.constant(part.clone(), name), learned=True)


def _activations(b: AtenBuilder, call: OnnxCall, directions: int) -> tuple[_Activation, ...]:
    """The activations of all directions, each with those of the given parameters that it takes.

    Raises:
        LayerRefused: one is unknown, lacks a parameter, or there are too few.
    """
    default = _DEFAULTS[call.op] * directions
    names = [
        each.decode() if isinstance(each, bytes) else str(each) for each in call.attributes.get("activations", default)
    ]
    if len(names) != len(default):
        raise LayerRefused(f"has {len(names)} activations, not {len(default)}")
    given = {key: [shortest(v) for v in call.attributes.get(f"activation_{key}", ())] for key in ("alpha", "beta")}
    found = []
    known = {name.lower(): name for name in _PARAMETERS}
    for name in (known.get(name.lower(), name) for name in names):
        if name not in _PARAMETERS:
            raise LayerRefused(f"activation {name}")
        mine = {key: given[key].pop(0) for key in _PARAMETERS[name] if given[key]}
        if name in ("Affine", "ScaledTanh") and len(mine) < 2:
            raise LayerRefused(f"activation {name} without alpha and beta")
        found.append(_activation(b, call, name, mine))
    return tuple(found)


def _activation(b: AtenBuilder, call: OnnxCall, name: str, given: dict[str, float]) -> _Activation:
    def registered(x: OnnxValue) -> OnnxValue:
        result = REGISTRY[name](b, OnnxCall(name, (x,), given, 1, call.opset, (1,)))
        assert not isinstance(result, tuple)
        return result

    def affine(x: OnnxValue) -> OnnxValue:
        return b.call(aten.add.Tensor, b.call(aten.mul.Tensor, x, given["alpha"]), given["beta"])

    def scaled_tanh(x: OnnxValue) -> OnnxValue:
        return b.call(
            aten.mul.Tensor, b.call(aten.tanh.default, b.call(aten.mul.Tensor, x, given["beta"])), given["alpha"]
        )

    return {"Affine": affine, "ScaledTanh": scaled_tanh}.get(name, registered)
