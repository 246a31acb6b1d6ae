"""Maps ONNX operators that contain graphs: a branch is chosen, and loops are unrolled, where that is known."""

from __future__ import annotations

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.layout import permuted
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.turns_at_once import at_once
from fullfield.importers.onnx.values import Known, OnnxValue, Traced, listed

aten = torch.ops.aten


@operator("If")
def branch(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, ...]:
    """The branch of a condition that constants and shapes decide."""
    name = "then_branch" if _decided(call.input(0), "its condition") else "else_branch"
    return call.body(name)(())


@operator("Loop")
def loop(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, ...]:
    """The body as often as constants and shapes say, each time with the results of the time before."""
    most = None if call.optional(0) is None else _count(call.known(0))
    going = call.optional(1)
    carried = tuple(call.input(i) for i in range(2, len(call.inputs)))
    collected: list[tuple[OnnxValue, ...]] = []
    while (most is None or len(collected) < most) and (going is None or _decided(going, "whether it continues")):
        turn = Known.constant(torch.tensor(len(collected)))
        condition = Known.constant(torch.tensor(True))
        going, *results = call.body("body")((turn, condition, *carried))
        carried = tuple(results[: len(carried)])
        collected.append(tuple(results[len(carried) :]))
    if not collected and call.outputs > len(carried):
        raise LayerRefused("collects results of a loop without turns")
    return (*carried, *(_stacked(b, parts, 0) for parts in zip(*collected, strict=True)))


@operator("Scan")
def scan(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue, ...]:
    """The body for each part of its inputs along an axis; for all at once where no turn reads another's results."""
    if call.opset < 9:
        raise LayerRefused("is of an opset before 9")
    scanned = call.integer("num_scan_inputs", 0)
    states = len(call.inputs) - scanned
    inputs = [call.input(i) for i in range(len(call.inputs))]
    axes = call.ints("scan_input_axes", [0] * scanned) or []
    backwards = call.ints("scan_input_directions", [0] * scanned) or []
    turns = _turns(inputs[states:], axes)
    ways = list(zip(inputs[states:], axes, backwards, strict=True))
    in_front = [_reversed(b, _moved(b, x, axis, 0), back) for x, axis, back in ways]
    found = at_once(b, call.body("body"), inputs[:states], in_front) or _in_turn(b, call, inputs[:states], ways, turns)
    results = found[states:]
    into = call.ints("scan_output_axes", [0] * len(results)) or []
    turned = call.ints("scan_output_directions", [0] * len(results)) or []
    stacks = (_moved(b, _reversed(b, x, back), 0, axis) for x, axis, back in zip(results, into, turned, strict=True))
    return (*found[:states], *stacks)


def _in_turn(
    b: AtenBuilder,
    call: OnnxCall,
    states: list[OnnxValue],
    ways: list[tuple[OnnxValue, int, int]],
    turns: int,
) -> tuple[OnnxValue, ...]:
    """The states after one turn after the other, and what all gave, ``(turns, ...)``."""
    carried, collected = tuple(states), []
    for turn in range(turns):
        parts = [b.call(aten.select.int, x, axis, turns - 1 - turn if back else turn) for x, axis, back in ways]
        results = call.body("body")((*carried, *parts))
        carried = results[: len(states)]
        collected.append(results[len(states) :])
    return (*carried, *(_stacked(b, parts, 0) for parts in zip(*collected, strict=True)))


def _reversed(b: AtenBuilder, x: OnnxValue, back: int) -> OnnxValue:
    """The parts of ``(turns, ...)`` from the last to the first, if they run backwards."""
    return b.call(aten.flip.default, x, [0]) if back else x


def _moved(b: AtenBuilder, x: OnnxValue, axis: int, place: int) -> OnnxValue:
    """An axis moved to another place."""
    order = list(range(len(x.shapes[0])))
    order.insert(place % len(order), order.pop(axis))
    return permuted(b, x, order)


def _decided(condition: OnnxValue, what: str) -> bool:
    """The value of a condition.

    Raises:
        LayerRefused: it depends on the pixels or on the batch.
    """
    if isinstance(condition, Traced):
        where = condition.node.meta.get("path", condition.node.name)
        raise LayerRefused(f"{what} depends on the pixels, by {where}; only constants and shapes decide")
    if not condition.fixed:
        raise LayerRefused(f"{what} depends on the number of windows in a batch")
    if condition.tensors[0].numel() != 1:
        raise LayerRefused(f"{what} has {condition.tensors[0].numel()} values, not one")
    return bool(condition.tensors[0].item())


def _count(turns: Known) -> int:
    if not turns.fixed:
        raise LayerRefused("its number of turns depends on the number of windows in a batch")
    return listed(turns.tensors[0])[0]


def _turns(inputs: list[OnnxValue], axes: list[int]) -> int:
    """The size that all scanned inputs have along their axes.

    Raises:
        LayerRefused: they differ, are the batch, or are none.
    """
    sizes = {(x.shapes[0][axis], x.shapes[1][axis]) for x, axis in zip(inputs, axes, strict=True)}
    if len(sizes) != 1:
        raise LayerRefused(f"scans inputs of {len(sizes)} different lengths")
    low, high = sizes.pop()
    if low != high or not low:
        raise LayerRefused("scans along the batch" if low else "scans inputs without parts")
    return low


def _stacked(b: AtenBuilder, parts: tuple[OnnxValue, ...], axis: int) -> OnnxValue:
    return b.call(aten.stack.default, list(parts), axis)
