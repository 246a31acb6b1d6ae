"""Maps ``SVMClassifier`` of ``ai.onnx.ml``: support vectors that decide between each two classes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.classical import label_count, transformed
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue
from fullfield.layers import custom_operators as own

aten = torch.ops.aten


@operator("ai.onnx.ml.SVMClassifier")
def svm_classifier(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue | None, OnnxValue]:
    """Each class's probability, or, where the file has none, the decision between each two; labels are not computed.

    A decision ``sum(coefficients * kernel(x, vectors)) + rho`` is above zero for the first of two classes. Of two
    classes in all the numbers are the decision's negative and the decision.
    """
    vectors = _Vectors.of(call)
    near = _kernel(b, call, vectors.rows)
    decisions = b.call(aten.linear.default, near, Known.constant(vectors.weights), Known.constant(vectors.shift))
    if vectors.slopes is None:
        if vectors.classes == 2:
            decisions = b.call(aten.cat.default, [b.call(aten.neg.default, decisions), decisions], 1)
        elif call.text("post_transform", "NONE") != "NONE":
            raise LayerRefused("transforms the decisions between more than two classes")
        return None, transformed(b, decisions, call)
    scaled = b.call(aten.mul.Tensor, decisions, Known.constant(vectors.slopes))
    first = b.call(aten.sigmoid.default, b.call(aten.neg.default, b.call(aten.add.Tensor, scaled, vectors.offsets)))
    return None, transformed(b, b.call(own.coupled_probabilities.default, first, vectors.classes), call)


@dataclass(frozen=True)
class _Vectors:
    """The support vectors of a classifier.

    Args:
        rows: the vectors ``(v, features)``.
        weights: of each vector in each decision between two classes.
        shift: of each decision.
        slopes: with ``offsets``, what makes a probability of each decision; ``None`` where the file has none.
    """

    classes: int
    rows: torch.Tensor
    weights: torch.Tensor
    shift: torch.Tensor
    slopes: torch.Tensor | None
    offsets: Known

    @classmethod
    def of(cls, call: OnnxCall) -> _Vectors:
        """The vectors by the attributes of their operator.

        Raises:
            LayerRefused: there are none, or their numbers do not fit.
        """
        counts, classes = call.ints("vectors_per_class") or [], label_count(call)
        numbers = {
            name: torch.tensor(call.attributes.get(name) or [], dtype=torch.float32)
            for name in ("support_vectors", "coefficients", "rho", "prob_a", "prob_b")
        }
        total, wide, pairs = sum(counts), call.input(0).shapes[0][-1], len(counts) * (len(counts) - 1) // 2
        sizes = {"support_vectors": total * wide, "coefficients": total * (len(counts) - 1), "rho": pairs}
        sizes |= {name: pairs for name in ("prob_a", "prob_b") if numbers["prob_a"].numel()}
        wrong = [name for name, size in sizes.items() if numbers[name].numel() != size]
        if len(counts) != classes or classes < 2 or min(counts) < 0 or wrong:
            raise LayerRefused(f"has {', '.join(wrong) or 'vectors_per_class'} that do not fit {classes} classes")
        return cls(
            classes,
            numbers["support_vectors"].reshape(total, wide),
            _decision_weights(numbers["coefficients"].reshape(classes - 1, total), counts),
            numbers["rho"],
            numbers["prob_a"] if numbers["prob_a"].numel() else None,
            Known.constant(numbers["prob_b"]),
        )


def _decision_weights(coefficients: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """The weights of all vectors in the decision between each two classes, of whose vectors alone they are not zero."""
    ends = torch.tensor([0, *counts]).cumsum(0).tolist()
    pairs = list(combinations(range(len(counts)), 2))
    weights = torch.zeros(len(pairs), coefficients.shape[1])
    for at, (low, high) in enumerate(pairs):
        for of, other in ((low, high - 1), (high, low)):
            weights[at, ends[of] : ends[of + 1]] = coefficients[other, ends[of] : ends[of + 1]]
    return weights


def _kernel(b: AtenBuilder, call: OnnxCall, rows: torch.Tensor) -> OnnxValue:
    """The kernel of each window's features ``(n, features)`` and each vector: ``(n, v)``."""
    kind, x = call.text("kernel_type", "LINEAR"), call.input(0)
    gamma, shift, degree = (*(float(each) for each in call.attributes.get("kernel_params") or []), 0.0, 0.0, 0.0)[:3]
    if kind == "RBF":
        apart = b.call(aten.sub.Tensor, b.call(aten.unsqueeze.default, x, 1), Known.constant(rows.to(x.dtype)))
        square = b.call(aten.sum.dim_IntList, b.call(aten.mul.Tensor, apart, apart), [-1])
        return b.call(aten.exp.default, b.call(aten.mul.Scalar, square, -gamma))
    product = b.call(aten.linear.default, x, Known.constant(rows.to(x.dtype)))
    if kind == "LINEAR":
        return product
    moved = b.call(aten.add.Scalar, b.call(aten.mul.Scalar, product, gamma), shift)
    if kind == "POLY":
        return b.call(aten.pow.Tensor_Scalar, moved, degree)
    if kind == "SIGMOID":
        return b.call(aten.tanh.default, moved)
    raise LayerRefused(f"its kernel {kind!r} is unknown")
