"""Lets modules that are trained for integers (QAT) use the ranges that they have learnt, and observe nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fullfield.errors import CaptureError
from fullfield.graph.calls import target_name
from fullfield.layers import custom_operators as operators

_LIBRARIES = ("torch.ao.quantization", "torchao.quantization.pt2e")
_BY_BLOCK = "AffineFakeQuantize"  # of torchao: scales of blocks, not of channels
_INTEGERS = (".nn.quantized.", ".intrinsic.quantized.", ".sparse.quantized.")  # in the modules of torch's classes


def refuse_integers(module: nn.Module, name: str) -> None:
    """Raises where a layer computes in 8-bit integers, which no graph shows.

    Raises:
        CaptureError: it does; the text names the layer.
    """
    for path, part in module.named_modules():
        kind = f"{type(part).__module__}.{type(part).__name__}"
        if kind.startswith("torch.ao.") and any(mark in kind for mark in _INTEGERS) and ".reference." not in kind:
            what = f"computes in 8-bit integers: {path or 'the network'} is a {kind}"
            fix = "give the network as it was before torch.ao.quantization.convert(); it is read as its float form"
            raise CaptureError(name, what, fix=fix)


@contextlib.contextmanager
def without_observers(module: nn.Module) -> Iterator[None]:
    """Lets fake quantisation use the ranges that it has learnt, by one operator, and observe nothing.

    Covers the modules of torch.ao.quantization and of torchao, and calls of torch's functions. Other modules are as
    they were afterwards, and during it.
    """
    observers, fakes = _classes("observer", "ObserverBase"), _classes("fake_quantize", "FakeQuantizeBase")
    changed = [part for part in module.modules() if isinstance(part, (*observers, *fakes))]
    for part in changed:
        part.__dict__["forward"] = _learnt(part) if isinstance(part, fakes) else _unchanged
    try:
        with _LearntRanges():
            yield
    finally:
        for part in changed:
            part.__dict__.pop("forward", None)


def _classes(part: str, name: str) -> tuple[type, ...]:
    """Base classes of torch and of torchao, where these modules are loaded: without them there are no instances."""
    loaded = (sys.modules.get(f"{library}.{part}") for library in _LIBRARIES)
    return tuple(getattr(module, name) for module in loaded if module is not None)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _learnt(part: Any) -> Callable[[Tensor], Tensor]:
    """What a fake quantisation computes with the range that it has; the input where it has none yet."""
    seen = getattr(getattr(part, "activation_post_process", None), "min_val", None)
    if type(part).__name__ == _BY_BLOCK:
        fix = "give the network as it was before it was prepared"
        raise CaptureError(type(part).__name__, "rounds by blocks, which is not read as floats", fix=fix)
    if seen is not None and not (seen.numel() and seen.isfinite().all()):
        return _unchanged
    axis = max(0, int(getattr(part, "ch_axis", 0)))
    enabled = part.fake_quant_enabled

    def learnt(x: Tensor) -> Tensor:
        scale, zero = part.scale, part.zero_point
        result: Tensor = operators.fake_quantise(x, scale, zero, enabled, part.quant_min, part.quant_max, axis)
        return result

    return learnt


class _LearntRanges(TorchFunctionMode):
    """While it is active, torch's functions for fake quantisation run as fullfield's operator."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of ``func``, by fullfield's operator where it is fake quantisation."""
        replaced: Callable[..., Any] = _REPLACED.get(target_name(func), func)
        return replaced(*args, **(kwargs or {}))


def _rounded(
    input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int, *, axis: int = 0, enabled: Any = True
) -> Tensor:
    numbers = (torch.as_tensor(each, device=input.device) for each in (scale, zero_point, enabled))
    result: Tensor = operators.fake_quantise(input, *numbers, quant_min, quant_max, axis)
    return result


def _rounded_by_channel(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int, *_: float
) -> Tensor:
    return _rounded(input, scale, zero_point, quant_min, quant_max, axis=axis)


def _rounded_learnably(
    input: Tensor, scale: Tensor, zero_point: Tensor, quant_min: int, quant_max: int, *_: float
) -> Tensor:
    return _rounded(input, scale, zero_point, quant_min, quant_max)


def _rounded_by_average(
    input: Tensor, observer_on: Tensor, fake_quant_on: Tensor, running_min: Tensor, running_max: Tensor, *rest: Any
) -> Tensor:
    """Rounding to the range of a moving average, without the average; the input where there is none yet."""
    scale, zero_point, _, quant_min, quant_max, axis, *_ = rest
    seen = running_min.isfinite().all()
    return _rounded(
        input, scale, zero_point, quant_min, quant_max, axis=max(0, axis), enabled=(fake_quant_on != 0) & seen
    )


_REPLACED: Mapping[str, Callable[..., Tensor]] = {
    "fake_quantize_per_tensor_affine": _rounded,
    "fake_quantize_per_channel_affine": _rounded_by_channel,
    "_fake_quantize_learnable_per_tensor_affine": _rounded_learnably,
    "_fake_quantize_learnable_per_channel_affine": _rounded_by_channel,
    "fused_moving_avg_obs_fake_quant": _rounded_by_average,
}
