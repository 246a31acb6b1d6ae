"""Rules for shapes: what they give is what torch gives, and where torch refuses they give nothing."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fullfield.graph.shape_rules import _RULES, is_frequent, known_result, multiply_adds

aten = torch.ops.aten
sizes = st.integers(0, 7)
small = st.integers(1, 4)


def without_data(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def check(target: Any, *args: Any, **kwargs: Any) -> Any:
    """Compares the rule with torch; returns what the rule gives."""
    try:
        found = known_result(target, args, kwargs)
    except RuntimeError:
        found = None
    try:
        wanted = target(*args, **kwargs)
    except (RuntimeError, IndexError, ValueError, ArithmeticError):
        assert found is None
        return None
    if found is not None:
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        assert found.is_contiguous()
    return found


@st.composite
def maps(draw: st.DrawFn) -> Tensor:
    """A map of 0 to 7 rows and columns, sometimes without a batch dimension, in another order or of halves."""
    shape = draw(st.tuples(small, st.sampled_from([1, 2, 4]), sizes, sizes))
    if draw(st.integers(0, 9)) == 0:
        shape = shape[1:]
    x = without_data(*shape, dtype=draw(st.sampled_from([torch.float32, torch.float32, torch.float16, torch.int64])))
    return x.transpose(-1, -2) if draw(st.integers(0, 9)) == 0 else x


pairs = st.one_of(st.integers(0, 4).map(lambda n: [n]), st.lists(st.integers(0, 4), min_size=2, max_size=2))


@settings(max_examples=300)
@given(maps(), st.data())
def test_convolutions(x: Tensor, data: Any) -> None:
    groups = data.draw(st.sampled_from([1, 1, 1, 2, 4]))
    inputs = data.draw(st.sampled_from([x.shape[-3] // groups, 1, 2]))
    weight = without_data(data.draw(st.sampled_from([4, 8, 3])), inputs, *data.draw(st.tuples(sizes, sizes)))
    bias = data.draw(st.sampled_from([None, without_data(weight.shape[0]), without_data(5)]))
    check(aten.conv2d.default, x, weight, bias, *(data.draw(pairs) for _ in range(3)), groups)


@settings(max_examples=300)
@given(maps(), st.data())
def test_pools(x: Tensor, data: Any) -> None:
    kernel, stride = data.draw(pairs), data.draw(st.one_of(st.just([]), pairs))
    padding, ceil = data.draw(st.one_of(st.just([0]), pairs)), data.draw(st.booleans())
    if data.draw(st.booleans()):
        check(aten.max_pool2d.default, x, kernel, stride, padding, data.draw(pairs), ceil)
    else:
        check(aten.avg_pool2d.default, x, kernel, stride, padding, ceil, data.draw(st.booleans()))


@given(maps(), st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_adaptive_pools(x: Tensor, size: list[int]) -> None:
    check(aten.adaptive_avg_pool2d.default, x, size)


@settings(max_examples=200)
@given(st.data())
def test_pointwise_operators_repeat_sizes_of_one(data: Any) -> None:
    shapes = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=4)
    x, y = (without_data(*data.draw(shapes), dtype=data.draw(st.sampled_from(DTYPES))) for _ in range(2))
    target = data.draw(st.sampled_from([aten.add.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.sub.Tensor]))
    check(target, x, data.draw(st.sampled_from([y, y, 2, 0.5])))


DTYPES = [torch.float32, torch.float32, torch.float32, torch.float64, torch.int64]
ONE_INPUT: dict[Any, tuple[Any, ...]] = {
    **dict.fromkeys((aten.relu.default, aten.relu6.default, aten.silu.default, aten.gelu.default), ()),
    **dict.fromkeys((aten.mish.default, aten.sigmoid.default, aten.tanh.default, aten.hardswish.default), ()),
    **dict.fromkeys((aten.hardsigmoid.default, aten.softplus.default, aten.exp.default, aten.sqrt.default), ()),
    **dict.fromkeys((aten.rsqrt.default, aten.erf.default, aten.abs.default, aten.neg.default), ()),
    **dict.fromkeys((aten.reciprocal.default, aten.selu.default, aten.celu.default, aten.elu.default), ()),
    **dict.fromkeys((aten.hardtanh.default, aten.leaky_relu.default, aten.contiguous.default), ()),
    **dict.fromkeys((aten.add.Scalar, aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar), (2,)),
    **dict.fromkeys((aten.pow.Tensor_Scalar, aten.clamp_min.default), (0.5,)),
    **dict.fromkeys((aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default), (0.5, False)),
    aten.clamp.default: (0, 6),
}


@given(maps(), st.sampled_from(sorted(ONE_INPUT, key=str)))
def test_operators_of_one_input_keep_its_shape(x: Tensor, target: Any) -> None:
    found = check(target, x, *ONE_INPUT[target])
    assert found is not None or x.dtype == torch.int64 or not x.is_contiguous()


@settings(max_examples=200)
@given(maps(), st.data())
def test_sums_over_dimensions(x: Tensor, data: Any) -> None:
    dims = data.draw(st.lists(st.integers(-5, 4), max_size=3))
    dtype = data.draw(st.sampled_from([None, None, torch.float64]))
    target = data.draw(st.sampled_from([aten.mean.dim, aten.sum.dim_IntList]))
    check(target, x, dims, data.draw(st.booleans()), dtype=dtype)


@settings(max_examples=200)
@given(maps(), st.data())
def test_linear_layers_norms_and_softmax(x: Tensor, data: Any) -> None:
    width = data.draw(st.sampled_from([x.shape[-1], 3]))
    weight = without_data(*data.draw(st.sampled_from([(5, width), (5, 1, width), (width,)])))
    bias = data.draw(st.sampled_from([None, without_data(5), without_data(4)]))
    if weight.dim() == 2:  # torch takes others as products of tensors
        check(aten.linear.default, x, weight, bias)
    gain = data.draw(st.sampled_from([None, without_data(width), without_data(4)]))
    check(aten.layer_norm.default, x, [width], gain, gain)
    check(aten.softmax.int, x, data.draw(st.integers(-5, 4)), data.draw(st.sampled_from([None, torch.float64])))
    stats = without_data(data.draw(st.sampled_from([x.shape[min(1, x.dim() - 1)], 9])))
    check(aten.batch_norm.default, x, None, None, stats, stats, False, 0.1, 1e-5, False)


@given(maps(), st.data())
def test_a_prelu_has_one_slope_or_one_for_each_channel(x: Tensor, data: Any) -> None:
    channels = x.shape[min(1, x.dim() - 1)]
    slopes = without_data(*data.draw(st.sampled_from([(), (1,), (channels,), (9,), (1, channels)])), dtype=x.dtype)
    found = check(aten.prelu.default, x, slopes)
    fits = tuple(slopes.shape) in ((1,), (channels,)) and x.dtype.is_floating_point and x.is_contiguous()
    assert (found is not None) == fits


@settings(max_examples=200)
@given(st.data())
def test_joined_reshaped_and_padded_tensors(data: Any) -> None:
    shapes = st.lists(st.sampled_from([1, 2, 3]), max_size=4)
    types = st.sampled_from(DTYPES)
    parts = [without_data(*data.draw(shapes), dtype=data.draw(types)) for _ in range(data.draw(small))]
    check(aten.cat.default, parts, data.draw(st.integers(-5, 4)))
    check(aten.cat.default, [parts[0]] * 3, data.draw(st.integers(-5, 4)))
    x = data.draw(maps())
    check(aten.reshape.default, x, data.draw(st.lists(st.sampled_from([-1, -1, 0, 1, 2, 4, 6]), max_size=4)))
    check(aten.constant_pad_nd.default, x, data.draw(st.lists(st.integers(-2, 2), max_size=9)), 0.0)


def test_every_rule_is_tested_and_a_wrong_one_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_RULES, aten.linear.default, lambda given: tuple(given["input"].shape))
    with pytest.raises(AssertionError):
        check(aten.linear.default, without_data(2, 3), without_data(5, 3), None)


@pytest.mark.parametrize("target", [aten.conv2d.default, aten.linear.default])
def test_multiply_adds_are_those_that_torch_counts(target: Any) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    x, weight = (
        (torch.zeros(2, 4, 9, 7), torch.zeros(6, 2, 3, 3))
        if target is aten.conv2d.default
        else (
            torch.zeros(2, 5, 7),
            torch.zeros(3, 7),
        )
    )
    more = (None, [2, 1], [1, 1], [1, 1], 2) if target is aten.conv2d.default else (None,)
    with FlopCounterMode(display=False) as counter:
        result = target(x, weight, *more)
    assert multiply_adds(target, (x, weight, *more), result) * 2 == counter.get_total_flops() > 0
    assert multiply_adds(aten.relu.default, (x,), x) == 0


def test_operators_without_a_rule_are_not_frequent() -> None:
    assert not is_frequent(aten.matmul.default)
    assert known_result(aten.matmul.default, (without_data(2, 3), without_data(3, 4)), {}) is None
    assert is_frequent(aten.conv2d.default)
    assert is_frequent(aten.permute.default)


@settings(max_examples=100)
@given(maps(), st.lists(sizes, min_size=0, max_size=2), st.integers(0, 2))
def test_tables_that_are_looked_up(x: Tensor, shape: list[int], before: int) -> None:
    places = without_data(*shape, dtype=torch.int64)
    found = check(aten.index.Tensor, x, [*[None] * before, places])
    assert (found is not None) == (before == 0 and x.is_contiguous())
    assert is_frequent(aten.index.Tensor)


GATES = {aten.lstm.input: 4, aten.gru.input: 3, aten.rnn_tanh.input: 1, aten.rnn_relu.input: 1}


@st.composite
def recurrent_layers(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """A recurrent operator with its arguments, of which one shape or type in three is wrong."""
    target = draw(st.sampled_from(list(GATES)))
    layers, both, biases, batch_first = draw(st.tuples(st.integers(1, 2), st.booleans(), st.booleans(), st.booleans()))
    n, steps, reads, hidden = draw(st.tuples(small, small, small, small))
    rows, directions = GATES[target] * hidden, 2 if both else 1
    params = [
        shape
        for layer in range(layers)
        for _ in range(directions)
        for shape in ((rows, directions * hidden if layer else reads), (rows, hidden), *[(rows,)] * (2 * biases))
    ]
    shapes = [(n, steps, reads) if batch_first else (steps, n, reads), *[(layers * directions, n, hidden)] * 2, *params]
    if wrong := draw(st.sampled_from([None, None, "size", "dimensions"])):
        at = draw(st.integers(0, len(shapes) - 1))
        shapes[at] = (*shapes[at][:-1], shapes[at][-1] + 1) if wrong == "size" else (*shapes[at], 1)
    x, *states = (without_data(*shape) for shape in shapes[:3])
    if draw(st.integers(0, 9)) == 0:
        x = x.double()
    state = states if target is aten.lstm.input else states[0]
    return target, [x, state, [without_data(*s) for s in shapes[3:]], biases, layers, 0.0, False, both, batch_first]


@settings(max_examples=60)
@given(recurrent_layers())
def test_recurrent_layers(layer: tuple[Any, list[Any]]) -> None:
    target, args = layer
    found = known_result(target, args, {})
    with FlopCounterMode(display=False) as counter:
        try:
            wanted = target(*args)
        except (RuntimeError, IndexError):
            assert found is None
            return
    if found is not None:
        assert [(x.shape, x.dtype) for x in found] == [(x.shape, x.dtype) for x in wanted]
        assert 2 * multiply_adds(target, args, found) == counter.get_total_flops()


def test_a_recurrent_layer_over_many_steps_has_its_shape_at_once() -> None:
    weights = [without_data(20, 12), without_data(20, 5), without_data(20), without_data(20)]
    states = [without_data(1, 3, 5), without_data(1, 3, 5)]
    args = (without_data(10**6, 3, 12), states, weights, True, 1, 0.0, False, False, False)
    assert is_frequent(aten.lstm.input)
    assert known_result(aten.lstm.input, args, {})[0].shape == (10**6, 3, 5)
