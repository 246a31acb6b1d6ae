"""Functions of torch that come apart into many operators at export, kept as one operator of fullfield's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from fullfield.arguments import parse_pair
from fullfield.geometry.region import Pair
from fullfield.layers import custom_operators as operators
from fullfield.layers.sizes import axis_ops


class SingleNodes(TorchFunctionMode):
    """While it is active, local response normalisations and pools of squares run as one operator each.

    Functions are met where they are called, so that ``nn.LocalResponseNorm``, ``nn.LPPool2d``, classes made from them
    and plain calls of ``torch.nn.functional`` are one. What fullfield's operators do not have stays as torch has it:
    other dimensions than ``(n, c, y, x)``, other powers than 2, windows that hang over the edge.

    Exact: yes; pools of squares in another order
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of ``func``, by one operator where there is one."""
        kept = _KEPT.get(func)
        found = None if kept is None else kept(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if found is None else found


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


def _fits(kernel: Pair, stride: Pair, x: Tensor) -> bool:
    return all(op.leftover(int(n)) == 0 for op, n in zip(axis_ops(kernel, stride, (0, 0)), x.shape[2:], strict=True))


_KEPT: Mapping[Callable[..., Any], Callable[..., Tensor | None]] = {
    F.local_response_norm: _response_norm,
    F.lp_pool2d: _power_pool,
}
