"""Convolutions."""

from __future__ import annotations

from fullfield.engine.engines.emission.call import OperatorCall, Translation
from fullfield.engine.engines.emission.writer import GraphValue, GraphWriter


def spread(value: object, rank: int) -> list[int]:
    """One number for each axis."""
    numbers = [value] if isinstance(value, int) else list(value)  # type: ignore[call-overload]
    return numbers * rank if len(numbers) == 1 else numbers


def _convolution(to: GraphWriter, call: OperatorCall) -> GraphValue:
    kernel = call.shape_of("weight")
    rank = len(kernel) - 2
    stride, dilation = (spread(call[name], rank) for name in ("stride", "dilation"))
    if isinstance(call["padding"], str):
        total = [d * (k - 1) if call["padding"] == "same" else 0 for d, k in zip(dilation, kernel[2:], strict=True)]
        low, high = [t // 2 for t in total], [t - t // 2 for t in total]
    else:
        low = high = spread(call["padding"], rank)
    weight, bias = call.value(to, "weight"), call.optional(to, "bias")
    x, groups = call.value(to, "input"), call["groups"]
    return to.convolution(
        x, weight, bias, shape=kernel, stride=stride, low=low, high=high, dilation=dilation, groups=groups
    )


def _transposed(to: GraphWriter, call: OperatorCall) -> GraphValue:
    kernel = call.shape_of("weight")
    options = {
        name: spread(call[name], len(kernel) - 2) for name in ("stride", "padding", "output_padding", "dilation")
    }
    weight, bias = call.value(to, "weight"), call.optional(to, "bias")
    return to.transposed_convolution(
        call.value(to, "input"), weight, bias, shape=kernel, groups=call["groups"], **options
    )


def _fixed_weight(call: OperatorCall) -> bool:
    """Whether the weight is known, and there is a batch."""
    return call.fixed("weight") is not None and len(call.shape_of("input")) == len(call.shape_of("weight"))


TABLE = {
    "conv1d": Translation(_convolution, _fixed_weight),
    "conv2d": Translation(_convolution, _fixed_weight),
    "conv_transpose2d": Translation(_transposed, _fixed_weight),
}
