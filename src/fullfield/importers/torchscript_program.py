"""Runs a TorchScript program operator by operator in Python, so that torch can export what it calls.

Branches and loops run as they do for the example: a program's conditions and lengths may depend on sizes, not on
numbers in tensors.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fullfield.errors import first_line

# Numbers of types in TorchScript. Source: c10/core/ScalarType.h
_TYPES = (
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64),
    *(torch.complex32, torch.complex64, torch.complex128, torch.bool, torch.qint8, torch.quint8, torch.qint32),
    torch.bfloat16,
)
_IDENTITIES = ("prim::unchecked_cast", "prim::unchecked_unwrap_optional", "aten::_unwrap_optional", "prim::annotate")
_NOTHING = ("prim::Print", "prim::Enter", "prim::Exit", "aten::warn")


class ScriptRefused(Exception):
    """A program has what cannot be run here."""


@dataclass(frozen=True)
class _Part:
    """A module of a program, and the one that holds its tensors here."""

    script: Any
    tensors: nn.Module


class ScriptProgram(nn.Module):
    """A TorchScript program as a module that torch exports; its tensors have their names.

    Args:
        script: in evaluation mode.
    """

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        _hold_tensors(self, script)
        self._program = (script, script.inlined_graph)  # in a tuple, so that it is no part

    def forward(self, *inputs: Tensor) -> Any:
        """The program's result; while torch exports it, that of its operators one by one."""
        return self.interpret(*inputs) if torch.compiler.is_exporting() else self._program[0](*inputs)

    def interpret(self, *inputs: Tensor) -> Any:
        """The result of the program's operators one by one.

        Raises:
            ScriptRefused: it calls what only TorchScript runs, or raises an error itself.
        """
        script, graph = self._program
        options = script.forward.schema.arguments[1 + len(inputs) :]  # type: ignore[attr-defined]
        defaults = (option.default_value for option in options)
        return _run_block(graph, (_Part(script, self), *inputs, *defaults), {})[0]


def _hold_tensors(module: nn.Module, script: Any) -> None:
    """Registers the tensors of a program's modules in modules of the same names."""
    for name, parameter in script.named_parameters(recurse=False):
        module.register_parameter(name, nn.Parameter(parameter.detach(), requires_grad=False))
    for name, buffer in script.named_buffers(recurse=False):
        module.register_buffer(name, buffer)
    for name, child in script._modules.items():
        part = nn.Module()
        _hold_tensors(part, child)
        module.add_module(name, part)


def _run_block(block: Any, inputs: Sequence[Any], values: dict[str, Any]) -> list[Any]:
    """The results of a block; ``values``, by their names, gets all that it computes."""
    values.update(zip((value.debugName() for value in block.inputs()), inputs, strict=True))
    for node in block.nodes():
        found = _results(node, [values.get(value.debugName()) for value in node.inputs()], values)
        values.update(zip((value.debugName() for value in node.outputs()), found, strict=True))
    return [values[value.debugName()] for value in block.outputs()]


def _results(node: Any, given: list[Any], values: dict[str, Any]) -> Sequence[Any]:
    """What a node gives."""
    kind = node.kind()
    if kind in _NOTHING:
        return [given[0] if given else None] * node.outputsSize()
    if kind in ("prim::ListUnpack", "prim::TupleUnpack"):
        return list(given[0])
    if kind == "prim::If":
        return _run_block(list(node.blocks())[not given[0]], (), values)
    if kind == "prim::Loop":
        return _looped(next(iter(node.blocks())), given, values)
    found = _value(node, kind, given)
    return [found] if node.outputsSize() == 1 else list(found)


def _looped(block: Any, given: list[Any], values: dict[str, Any]) -> list[Any]:
    most, proceed, *carried = given
    turn = 0
    while proceed and turn < most:
        proceed, *carried = _run_block(block, (turn, *carried), values)
        turn += 1
    return carried


def _value(node: Any, kind: str, given: list[Any]) -> Any:
    """The only result of a node."""
    if kind == "prim::Constant":
        return _constant(node.output().toIValue())
    if kind == "prim::GetAttr":
        return _attribute(given[0], node.s("name"))
    if kind == "prim::RaiseException":
        raise ScriptRefused(f"the program raises: {given[0]}")
    if kind in _VALUES and not (kind in _NUMBERS and any(isinstance(each, Tensor) for each in given)):
        return _VALUES[kind](*given)
    return _called(node, kind, given)


def _constant(value: Any) -> Any:
    """A constant; an integer, which traced programs compute sizes with, as a number."""
    is_integer = isinstance(value, Tensor) and value.dim() == 0 and value.dtype == torch.int64
    return value.item() if is_integer else value


def _attribute(part: _Part, name: str) -> Any:
    """A module's part, tensor or other attribute."""
    found = getattr(part.script, name)
    if isinstance(found, nn.Module):
        return _Part(found, part.tensors.get_submodule(name))
    return getattr(part.tensors, name) if isinstance(found, Tensor) and hasattr(part.tensors, name) else found


def _called(node: Any, kind: str, given: list[Any]) -> Any:
    """The result of one of torch's operators."""
    try:
        schema = torch._C.parse_schema(node.schema())
        space, _, name = str(schema.name).partition("::")
        call = getattr(getattr(getattr(torch.ops, space), name), schema.overload_name or "default")
    except (RuntimeError, AttributeError) as error:
        raise ScriptRefused(f"has the operator {kind}, which only TorchScript runs ({first_line(error)})") from error
    pairs = list(zip(schema.arguments, map(_as_argument, schema.arguments, given), strict=True))
    named = {argument.name: value for argument, value in pairs if argument.kwarg_only}
    return call(*(value for argument, value in pairs if not argument.kwarg_only), **named)


def _as_argument(argument: Any, value: Any) -> Any:
    """A value as an operator takes it: traced programs compute with sizes as tensors, which are numbers here."""
    if isinstance(argument.type, torch._C.TensorType) and isinstance(value, (int, float, torch.SymInt)):
        dtype = torch.float32 if isinstance(value, float) else torch.int64
        return torch.scalar_tensor(value, dtype=dtype)  # type: ignore[arg-type]  # sizes that are not known are numbers
    return value


def _divided(x: Any, y: Any, rounding: str | None = None) -> Any:
    if rounding == "trunc":
        return int(x / y) if isinstance(x, float) or isinstance(y, float) or (x < 0) != (y < 0) else x // y
    return x // y if rounding == "floor" else x / y


def _size(x: Tensor, dim: int | None = None) -> Any:
    return list(x.shape) if dim is None else x.shape[dim]


def _number(x: Any) -> Any:
    """A tensor's only number, or the number itself."""
    return x.item() if isinstance(x, Tensor) else x


def _integer(x: Any) -> Any:
    number = _number(x)
    return number if isinstance(number, (int, torch.SymInt)) else int(number)


def _appended(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


def _sum(x: Any, y: Any, factor: Any = 1) -> Any:
    return x + y if isinstance(x, (list, str)) else x + factor * y


def _sliced(items: Any, start: int | None, end: int | None, step: int) -> Any:
    return items[start:end:step]


def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, *_: bool,
) -> Tensor:  # fmt: skip
    """A convolution as modules call it; traced programs have the operator below that."""
    if transposed:
        return _TRANSPOSED[weight.dim() - 3](x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _convolved_with_mode(x, weight, bias, stride, padding, dilation, groups)


def _convolved_with_mode(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return _CONVOLUTIONS[weight.dim() - 3](x, weight, *rest)


_CONVOLUTIONS: Sequence[Callable[..., Tensor]] = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED: Sequence[Callable[..., Tensor]] = (
    *(functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d),
)
_NUMBERS: Mapping[str, Callable[..., Any]] = {
    # of Python's numbers and lists; of tensors they are torch's operators
    "aten::add": _sum,
    "aten::sub": lambda x, y, factor=1: x - factor * y,
    "aten::rsub": lambda x, y, factor=1: y - factor * x,
    "aten::mul": operator.mul,
    "aten::div": _divided,
    "aten::floordiv": operator.floordiv,
    "aten::floor_divide": operator.floordiv,
    "aten::remainder": operator.mod,
    "aten::pow": operator.pow,
    "aten::neg": operator.neg,
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::lt": operator.lt,
    "aten::le": operator.le,
    "aten::gt": operator.gt,
    "aten::ge": operator.ge,
    "aten::sqrt": math.sqrt,
    "aten::floor": math.floor,
    "aten::ceil": math.ceil,
    "aten::slice": _sliced,
    "aten::copy": list,
    "aten::__and__": lambda x, y: x & y,
    "aten::__or__": lambda x, y: x | y,
}
_VALUES: Mapping[str, Callable[..., Any]] = {
    **_NUMBERS,
    **dict.fromkeys(_IDENTITIES, lambda x, *_: x),
    "aten::_convolution": _convolved,
    "aten::_convolution_mode": _convolved_with_mode,
    "prim::ListConstruct": lambda *items: list(items),
    "prim::TupleConstruct": lambda *items: items,
    "prim::DictConstruct": lambda *items: dict(zip(items[::2], items[1::2], strict=True)),
    "prim::TupleIndex": operator.getitem,
    "prim::Uninitialized": lambda: None,
    "prim::NumToTensor": lambda x: x,
    "prim::dtype": lambda x: _TYPES.index(x.dtype),
    "prim::device": lambda x: x.device,
    "prim::type": lambda device: device.type,
    "prim::layout": lambda x: 0,
    "prim::is_nested": lambda x: x.is_nested,
    "prim::is_cuda": lambda x: x.is_cuda,
    "prim::requires_grad": lambda x: False,
    "prim::max": max,
    "prim::min": min,
    "aten::is_grad_enabled": lambda: True,  # without gradients modules call operators of their own, for speed
    "aten::is_autocast_enabled": lambda *_: False,
    "aten::is_floating_point": lambda x: x.is_floating_point(),
    "aten::dim": lambda x: x.dim(),
    "aten::size": _size,
    "aten::numel": lambda x: x.numel(),
    "aten::len": len,
    "aten::list": list,
    "aten::append": _appended,
    "aten::__getitem__": operator.getitem,
    "aten::__contains__": operator.contains,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::__not__": operator.not_,
    "aten::__range_length": lambda start, end, step: len(range(start, end, step)),
    "aten::__derive_index": lambda turn, start, step: start + turn * step,
    "aten::format": lambda text, *given: text.format(*given),
    "aten::str": str,
    "aten::Int": _integer,
    "aten::Float": lambda x: float(_number(x)),
    "aten::Bool": lambda x: bool(_number(x)),
    "aten::ScalarImplicit": _number,
    "aten::IntImplicit": _number,
    "aten::FloatImplicit": _number,
}
