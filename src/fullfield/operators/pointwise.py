"""Pointwise operators of which more is known than torch's tag says: their counts, and which may write in place."""

from __future__ import annotations

import torch

from fullfield.operators.record import Operator
from fullfield.operators.work import per_number

aten = torch.ops.aten
# Functions of several steps count each: silu is x * sigmoid(x).
_COMPARED, _SCALED = per_number(comparisons=1), per_number(comparisons=1, multiplies=1)
_CLAMPED, _EXPONENTIAL = per_number(comparisons=2), per_number(comparisons=1, functions=1, multiplies=1)

RECORDS = (
    Operator((aten.add,), counts=per_number(adds=1), in_place=aten.add_.Tensor, commutes=True, new_memory=True),
    Operator((aten.mul,), counts=per_number(multiplies=1), in_place=aten.mul_.Tensor, commutes=True, new_memory=True),
    Operator((aten.sub, aten.rsub), counts=per_number(adds=1)),
    Operator((aten.div,), counts=per_number(divisions=1)),
    Operator((aten.relu,), counts=_COMPARED, in_place=aten.relu_.default, new_memory=True),
    Operator((aten.relu6,), counts=_CLAMPED, in_place=aten.relu6_.default, new_memory=True, independent="first"),
    Operator((aten.hardtanh,), counts=_CLAMPED, in_place=aten.hardtanh_.default, new_memory=True),
    Operator((aten.leaky_relu,), counts=_SCALED, in_place=aten.leaky_relu_.default, new_memory=True),
    Operator((aten.elu,), counts=_EXPONENTIAL, in_place=aten.elu_.default, new_memory=True),
    Operator((aten.silu,), counts=per_number(functions=1, multiplies=1), in_place=aten.silu_.default, new_memory=True),
    Operator(
        (aten.gelu,), counts=per_number(functions=1, multiplies=2, adds=1), in_place=aten.gelu_.default, new_memory=True
    ),
    Operator((aten.mish,), counts=per_number(functions=2, multiplies=1), in_place=aten.mish_.default, new_memory=True),
    Operator((aten.sigmoid,), in_place=aten.sigmoid_.default, new_memory=True),
    Operator((aten.tanh,), in_place=aten.tanh_.default, new_memory=True),
    Operator(
        (aten.hardswish,),
        kind="pointwise",
        counts=per_number(comparisons=2, adds=1, multiplies=2),
        in_place=aten.hardswish_.default,
        new_memory=True,
        independent="first",
    ),
    Operator(
        (aten.hardsigmoid,),
        counts=per_number(comparisons=2, adds=1, multiplies=1),
        in_place=aten.hardsigmoid_.default,
        new_memory=True,
    ),
    Operator((aten.celu, aten.selu), counts=_EXPONENTIAL),
    Operator((aten.softplus,), counts=per_number(comparisons=1, functions=2, adds=1)),
    Operator((aten.prelu,), kind="pointwise", counts=_SCALED, independent="first"),
    Operator((aten._prelu_kernel,), kind="pointwise", counts=_SCALED),
    Operator((aten.clamp,), counts=_CLAMPED),
    Operator(
        (
            *(aten.abs, aten.neg, aten.sign, aten.maximum, aten.minimum, aten.clamp_min, aten.clamp_max),
            *(aten.gt, aten.ge, aten.lt, aten.le, aten.eq, aten.ne, aten.where, aten.threshold),
        ),
        counts=_COMPARED,
    ),
    Operator((aten.where.ScalarOther, aten.where.ScalarSelf), kind="pointwise", counts=_COMPARED),
    Operator((aten.log_sigmoid,), kind="pointwise"),
    Operator((aten.__and__, aten.__or__, aten.__xor__), independent="first"),
    Operator(
        (aten.multiply.Tensor, aten.divide.Tensor, aten.subtract.Tensor, aten.special_expit.default),
        kind="pointwise",
    ),
)
