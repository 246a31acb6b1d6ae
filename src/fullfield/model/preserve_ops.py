"""Keeps functions as one operator that ``torch.export`` would decompose into many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from fullfield.arguments import parse_pair
from fullfield.geometry.region import Pair
from fullfield.layers import custom_operators as operators
from fullfield.layers import recurrent
from fullfield.layers.sizes import axis_ops


class PreserveOps(TorchFunctionMode):
    """While it is active, local response normalisations, L2 pools and recurrent layers run as one operator each.

    It intercepts function calls, and so covers ``nn.LocalResponseNorm``, ``nn.LPPool2d``, their subclasses and calls of
    ``torch.nn.functional`` alike. torch's functions are used for what fullfield's operators lack: dimensions other than
    ``(n, c, y, x)``, powers other than 2, windows that reach beyond the edge, packed sequences.

    Exact: yes; L2 pools with another summation order
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of ``func``, by one operator where possible."""
        preserve = _PRESERVED.get(func)
        result = None if preserve is None else preserve(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if result is None else result


def _response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor | None:
    if input.dim() != 4 or not isinstance(size, int) or size < 1:
        return None
    result: Tensor = operators.local_response_norm(input, size, alpha, beta, k, size // 2)
    return result


def _power_pool(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor | None:
    if norm_type != 2 or input.dim() != 4:
        return None
    kernel = parse_pair("kernel_size", kernel_size)
    strides = parse_pair("stride", stride) if stride else kernel
    if ceil_mode and not _fits(kernel, strides, input):
        return None
    result: Tensor = operators.l2_pool2d(input, kernel, strides, (0, 0), False)
    return result


def _recurrent(operator: OpOverload, *args: Any, **kwargs: Any) -> Any:
    is_packed = kwargs or len(args) < 4 or not isinstance(args[3], bool)
    return None if is_packed else operator(*args)


def _fits(kernel: Pair, stride: Pair, x: Tensor) -> bool:
    return all(op.leftover(int(n)) == 0 for op, n in zip(axis_ops(kernel, stride, (0, 0)), x.shape[2:], strict=True))


_PRESERVED: Mapping[Callable[..., Any], Callable[..., Any]] = {
    F.local_response_norm: _response_norm,
    F.lp_pool2d: _power_pool,
    **{function: partial(_recurrent, operator) for function, operator in recurrent.OF_FUNCTIONS.items()},
}
