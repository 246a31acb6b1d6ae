"""Maps recurrent ONNX operators: torch computes most of them, with the same gates in another order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder, AtenOperator
from fullfield.importers.onnx.recurrent_steps import unrolled
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue

aten = torch.ops.aten


@dataclass(frozen=True)
class _Cell:
    """A kind of cell.

    Args:
        target: torch's operator.
        gates: ONNX's gates in torch's order.
        activations: the only ones that torch computes, of one direction.
    """

    target: AtenOperator

    gates: tuple[int, ...]
    activations: tuple[str, ...]


_CELLS = {
    "LSTM": _Cell(aten.lstm.input, (0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh")),
    "GRU": _Cell(aten.gru.input, (1, 0, 2), ("Sigmoid", "Tanh")),
    "RNN": _Cell(aten.rnn_tanh.input, (0,), ("Tanh",)),
}


@operator(*_CELLS)
def recurrent(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, ...]:
    """One layer: of every step ``(steps, directions, n, hidden)``, and of the last ``(directions, n, hidden)``.

    Source: ONNX operators LSTM-22, GRU-22, RNN-22; ``W`` is ``(directions, gates * hidden, inputs)``.
    """
    batch_first = bool(call.integer("layout", 0))
    x = _turned(b, call.input(0), batch_first)
    directions, hidden = call.known(1).shapes[0][0], call.known(2).shapes[0][2]
    whole, length = x.shapes[0][0], _length(call, x.shapes[0][0])
    if length < whole:
        x = b.call(aten.slice.Tensor, x, 0, 0, length)
    backwards = call.text("direction", "forward") == "reverse"
    if backwards:
        x = b.call(aten.flip.default, x, [0])
    states = [_state(b, call, x, index, (directions, hidden)) for index in ((5, 6) if call.op == "LSTM" else (5,))]
    target = _target(call)
    if target is None:
        steps, last = unrolled(b, call, x, states)
    else:
        options = (call.optional(3) is not None, 1, 0.0, False, directions == 2, False)
        state = states if call.op == "LSTM" else states[0]
        steps, *rest = b.calls(target, x, state, _weights(b, call, directions), *options)
        last = tuple(rest)
    if backwards:
        steps = b.call(aten.flip.default, steps, [0])
    if length < whole:
        steps = b.call(aten.constant_pad_nd.default, steps, [0, 0, 0, 0, 0, whole - length])
    low, high = ([*shape[:2], directions, hidden] for shape in steps.shapes)
    steps = b.call(aten.permute.default, b.reshape(steps, (low, high)), [1, 0, 2, 3] if batch_first else [0, 2, 1, 3])
    return (steps, *(_turned(b, each, batch_first) for each in last))


@operator("com.microsoft.DynamicQuantizeLSTM")
def quantised_lstm(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, ...]:
    """An LSTM whose weights are integers, as the one with the real numbers that these mean.

    Source: ONNX Runtime, operator DynamicQuantizeLSTM of com.microsoft; ``W`` is ``(directions, inputs, gates *
    hidden)``, with one scale for each direction, or one for each of its columns.
    """
    weights = (_dequantised(b, call, 1, 8), _dequantised(b, call, 2, 10))
    return recurrent(b, replace(call, op="LSTM", inputs=(call.inputs[0], *weights, *call.inputs[3:8])))


def _dequantised(b: AtenBuilder, call: OnnxCall, at: int, scale: int) -> Known:
    """``(integers - zero point) * scale`` in LSTM's order of axes."""
    integers, *given = (call.known(index).tensors[0].float() for index in (at, scale, scale + 1))
    factor, zero = (each.reshape(len(each), 1, -1) for each in given)
    b.allowance.fold(tuple(integers.shape), torch.float32)
    real = ((integers - zero) * factor).transpose(1, 2).contiguous()
    return Known((real, real), call.known(at).name)


def _target(call: OnnxCall) -> AtenOperator | None:
    """torch's operator of the cell; None if it has none, and every step becomes nodes of its own."""
    cell, directions = _CELLS[call.op], call.known(1).shapes[0][0]
    given = tuple(each.decode() if isinstance(each, bytes) else each for each in call.attributes.get("activations", ()))
    if "clip" in call.attributes or call.integer("input_forget", 0) or call.optional(7) is not None:
        return None
    if call.op == "GRU" and not call.integer("linear_before_reset", 0):
        return None
    if call.op == "RNN" and given == ("Relu",) * directions:
        return aten.rnn_relu.input
    return None if given and given != cell.activations * directions else cell.target


def _length(call: OnnxCall, steps: int) -> int:
    """The number of steps that sequences have.

    Raises:
        LayerRefused: it is not the same for all.
    """
    lengths = call.optional(4)
    if lengths is None:
        return steps
    found = {int(n) for t in lengths.tensors for n in t.reshape(-1)} if isinstance(lengths, Known) else set()
    if len(found) != 1 or not 0 < min(found) <= steps:
        raise LayerRefused("has sequences of different lengths")
    return min(found)


def _state(b: AtenBuilder, call: OnnxCall, x: OnnxValue, index: int, sizes: tuple[int, int]) -> OnnxValue:
    """The first state ``(directions, n, hidden)``: as it is given, or zeros."""
    given = call.optional(index)
    if given is None or (isinstance(given, Known) and not any(bool(t.any()) for t in given.tensors)):
        low, high = ([sizes[0], shape[1], sizes[1]] for shape in x.shapes)
        return b.full((low, high), 0.0, x.dtype)
    return _turned(b, given, bool(call.integer("layout", 0)))


def _turned(b: AtenBuilder, x: OnnxValue, turned: bool) -> OnnxValue:
    """Its first two axes exchanged, where windows come before steps or directions."""
    return b.call(aten.permute.default, x, [1, 0, 2]) if turned else x


def _weights(b: AtenBuilder, call: OnnxCall, directions: int) -> list[OnnxValue]:
    """Weights and biases of each direction in torch's order of gates."""
    gates = _CELLS[call.op].gates
    inner, outer, bias = call.known(1), call.known(2), call.optional(3)
    if not inner.fixed or not outer.fixed or not (bias is None or (isinstance(bias, Known) and bias.fixed)):
        raise LayerRefused("its weights are computed")
    found: list[OnnxValue] = []
    for i in range(directions):
        parts = [inner.tensors[0][i], outer.tensors[0][i]]
        if isinstance(bias, Known):
            parts += bias.tensors[0][i].chunk(2)
        for part in parts:
            blocks = part.chunk(len(gates))
            ordered = torch.cat([blocks[gate] for gate in gates])
            found.append(replace(Known.constant(ordered, inner.name), learned=True))
    return found
