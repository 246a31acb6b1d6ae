"""Maps the operators of ``ai.onnx.ml`` that scikit-learn's classifiers are exported to: linear ones, scalers, trees."""

from __future__ import annotations

import math

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.slicing import at_pixels
from fullfield.importers.onnx.values import Known, OnnxValue, Traced, flat_from

aten = torch.ops.aten

_COMPARISONS = {
    "BRANCH_LEQ": aten.le.Tensor, "BRANCH_LT": aten.lt.Tensor, "BRANCH_GTE": aten.ge.Tensor,
    "BRANCH_GT": aten.gt.Tensor, "BRANCH_EQ": aten.eq.Tensor, "BRANCH_NEQ": aten.ne.Tensor,
}  # fmt: skip
_LEAF = "LEAF"


@operator("ai.onnx.ml.Scaler")
def scaler(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``(x - offset) * scale``, of each feature or of all alike."""
    moved = b.call(aten.sub.Tensor, call.input(0), _reals(call, "offset", 0.0))
    return b.call(aten.mul.Tensor, moved, _reals(call, "scale", 1.0))


@operator("ai.onnx.ml.Normalizer")
def normalizer(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Each window's numbers over their norm; as they are where it is zero."""
    x, norm = call.input(0), call.text("norm", "MAX")
    if norm == "MAX":
        size = b.call(aten.amax.default, x, [-1], True)
    elif norm in ("L1", "L2"):
        size = b.call(aten.linalg_vector_norm.default, x, int(norm[1]), [-1], True)
    else:
        raise LayerRefused(f"norm {norm!r} is unknown")
    is_zero = b.call(aten.eq.Scalar, size, 0)
    return b.call(aten.div.Tensor, x, b.call(aten.where.ScalarSelf, is_zero, 1.0, size))


@operator("ai.onnx.ml.Binarizer")
def binarizer(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """One where the input is above the threshold, else zero."""
    above = b.call(aten.gt.Scalar, call.input(0), call.real("threshold", 0.0))
    return b.call(aten.to.dtype, above, call.input(0).dtype)


@operator("ai.onnx.ml.Imputer")
def imputer(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Other numbers in place of one number, or of those that are missing, of each feature or of all alike."""
    x, replaced = call.input(0), call.real("replaced_value_float", 0.0)
    if not call.attributes.get("imputed_value_floats"):
        raise LayerRefused("does not state the real numbers that it puts in")
    missing = b.call(aten.isnan.default, x) if math.isnan(replaced) else b.call(aten.eq.Scalar, x, replaced)
    return b.call(aten.where.self, missing, _reals(call, "imputed_value_floats", 0.0), x)


@operator("ai.onnx.ml.ArrayFeatureExtractor")
def features_at(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The features at constant places, or the entries of a constant list at places that depend on the pixels."""
    if isinstance(call.input(1), Traced):
        table = call.known(0)
        if len(table.shapes[0]) != 1:
            raise LayerRefused("its places depend on the pixels, and what is there is no list")
        low, high = flat_from(call.input(1).shapes, 0)
        return at_pixels(b, table, b.reshape(call.input(1), ([1, *low], [1, *high])), 0)
    places = call.known(1)
    if not places.fixed:
        raise LayerRefused("its places depend on the number of windows")
    return b.call(aten.index_select.default, call.input(0), -1, Known.constant(places.tensors[0].reshape(-1)))


@operator("ai.onnx.ml.LinearClassifier")
def linear_classifier(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue | None, OnnxValue]:
    """The class of the highest score, where that is a number, and scores ``x @ coefficients + intercepts``."""
    labels, weights = label_count(call), call.attributes.get("coefficients") or []
    features = call.input(0).shapes[0][-1]
    if len(weights) != labels * features:
        raise LayerRefused(f"has {len(weights)} coefficients for {labels} classes of {features} features")
    matrix = torch.tensor(weights, dtype=torch.float32).reshape(labels, features)
    shift = torch.tensor(call.attributes.get("intercepts") or [0.0] * labels, dtype=torch.float32)
    named = (_weight(call, "coefficients", matrix), _weight(call, "intercepts", shift))
    scores = b.call(aten.linear.default, call.input(0), *named)
    return _label(b, scores, call), transformed(b, scores, call)


@operator("ai.onnx.ml.TreeEnsembleClassifier")
def tree_ensemble(b: AtenBuilder, call: OnnxCall) -> tuple[OnnxValue | None, OnnxValue]:
    """The class of the highest sum, where that is a number, and the sums of the leaves that features lead to.

    Every tree is walked at once, one level after the other: ``node = where(x[feature] <= value, true, false)``, with
    leaves that lead to themselves.
    """
    trees, x = _Trees(call), call.input(0)
    low, high = ([shape[0], len(trees.roots)] for shape in x.shapes)
    node = b.expand(Known.constant(trees.roots[None]), (low, high))
    for _ in range(trees.depth):
        value = b.call(aten.gather.default, x, 1, _looked_up(b, trees.features, node))
        goes = b.call(trees.comparison, value, _looked_up(b, trees.values.to(x.dtype), node))
        if trees.missing.any():
            is_missing = b.call(aten.isnan.default, value)
            follows = b.call(aten.logical_and.default, is_missing, _looked_up(b, trees.missing, node))
            goes = b.call(aten.logical_or.default, goes, follows)
        node = b.call(aten.where.self, goes, *(_looked_up(b, each, node) for each in trees.children))
    scores = b.call(aten.sum.dim_IntList, _looked_up(b, trees.weights.to(x.dtype), node), [1])
    base = call.attributes.get("base_values") or []
    if base:
        scores = b.call(aten.add.Tensor, scores, Known.constant(torch.tensor(base, dtype=x.dtype)))
    if trees.of_one_class:
        other = b.call(aten.neg.default, scores) if trees.is_signed else b.call(aten.rsub.Scalar, scores, 1)
        scores = b.call(aten.cat.default, [other, scores], 1)
        if not trees.is_signed and call.text("post_transform", "NONE") != "NONE":
            raise LayerRefused("transforms the probabilities of two classes of which it stores one")
        return None, transformed(b, scores, call)
    return _label(b, scores, call), transformed(b, scores, call)


class _Trees:
    """All nodes of the trees in one table, by the attributes of their operator.

    Raises:
        LayerRefused: they are damaged, or compare in several ways.
    """

    def __init__(self, call: OnnxCall) -> None:
        places = {pair: at for at, pair in enumerate(zip(*self._lists(call, "treeids", "nodeids"), strict=True))}
        modes = [mode.decode() for mode in call.attributes.get("nodes_modes") or []]
        (trees, true, false, features) = self._lists(call, "treeids", "truenodeids", "falsenodeids", "featureids")
        values = call.attributes.get("nodes_values") or []
        kinds = set(modes) - {_LEAF}
        if not len(places) == len(modes) == len(values) == len(trees) or len(kinds) > 1:
            raise LayerRefused(f"has trees that are damaged, or that compare in several ways ({', '.join(kinds)})")
        missing = call.ints("nodes_missing_value_tracks_true") or [0] * len(modes)
        if len(missing) != len(modes):
            raise LayerRefused(f"says of {len(missing)} nodes where missing numbers lead, and has {len(modes)}")
        self.missing = torch.tensor(missing, dtype=torch.bool)
        kind = next(iter(kinds), "BRANCH_LEQ")
        if kind not in _COMPARISONS:
            raise LayerRefused(f"compares by {kind}, which is unknown")
        self.comparison = _COMPARISONS[kind]
        leaf = [mode == _LEAF for mode in modes]
        sides = [
            [at if leaf[at] else places.get((tree, side[at]), -1) for at, tree in enumerate(trees)]
            for side in (true, false)
        ]
        wide = call.input(0).shapes[0][-1]
        if min(map(min, sides)) < 0 or not all(0 <= f < wide for f in features):
            raise LayerRefused(f"has a tree that leads nowhere, or reads a feature beyond {wide}")
        self.children = [torch.tensor(side) for side in sides]
        self.roots = torch.tensor([at for at in range(len(trees)) if at == 0 or trees[at] != trees[at - 1]])
        self.depth = _depth(sides, self.roots.tolist(), leaf)
        self.features = torch.tensor([0 if leaf[at] else feature for at, feature in enumerate(features)])
        self.values = torch.tensor(values, dtype=torch.float32)
        self._leaves(call, places)

    def _leaves(self, call: OnnxCall, places: dict[tuple[int, ...], int]) -> None:
        """The table of what each leaf gives to each class."""
        listed = [
            [int(v) for v in call.attributes.get(f"class_{name}") or []] for name in ("treeids", "nodeids", "ids")
        ]
        weights = torch.tensor(call.attributes.get("class_weights") or [], dtype=torch.float32)
        classes = label_count(call)
        self.of_one_class = classes == 2 and len(set(listed[2])) == 1
        self.is_signed = bool((weights < 0).any())
        width = 1 if self.of_one_class else classes
        self.weights = torch.zeros(len(places), width)
        if len({*map(len, listed), len(weights)}) != 1 or any(not 0 <= kind < classes for kind in listed[2]):
            raise LayerRefused("has leaves that are damaged")
        for tree, node, kind, weight in zip(*listed, weights, strict=True):
            self.weights[places[tree, node], 0 if self.of_one_class else kind] += weight

    @staticmethod
    def _lists(call: OnnxCall, *names: str) -> list[list[int]]:
        return [call.ints(f"nodes_{name}") or [] for name in names]


def _depth(sides: list[list[int]], roots: list[int], leaf: list[bool]) -> int:
    """The comparisons on the longest way from a root to a leaf.

    Raises:
        LayerRefused: a way does not end.
    """
    level, depth = set(roots), 0
    while level := {side[at] for at in level if not leaf[at] for side in sides}:
        depth += 1
        if depth > len(leaf):
            raise LayerRefused("has a tree that leads back to itself")
    return depth


def _looked_up(b: AtenBuilder, table: torch.Tensor, node: OnnxValue) -> OnnxValue:
    """The entries of a table for nodes ``(n, trees)``."""
    return b.call(aten.index.Tensor, Known.constant(table), [node])


def _label(b: AtenBuilder, scores: OnnxValue, call: OnnxCall) -> OnnxValue | None:
    """The class of each window, the first of the highest score; none where classes have names, or one score for two."""
    labels = call.ints("classlabels_int64s") or call.ints("classlabels_ints") or []
    if not labels or len(labels) != scores.shapes[0][-1]:
        return None
    return b.call(aten.index.Tensor, Known.constant(torch.tensor(labels)), [b.call(aten.argmax.default, scores, -1)])


def transformed(b: AtenBuilder, scores: OnnxValue, call: OnnxCall) -> OnnxValue:
    """Scores after the operator's own last step."""
    step = call.text("post_transform", "NONE")
    if step == "NONE":
        return scores
    if step == "LOGISTIC":
        return b.call(aten.sigmoid.default, scores)
    if step == "SOFTMAX":
        return b.call(aten.softmax.int, scores, -1)
    raise LayerRefused(f"ends in the transform {step!r}")


def label_count(call: OnnxCall) -> int:
    """The number of classes."""
    names = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")
    return max(len(call.attributes.get(name) or []) for name in names)


def _reals(call: OnnxCall, name: str, default: float) -> Known:
    given = call.attributes.get(name) or [default]
    if len(given) not in (1, call.input(0).shapes[0][-1]):
        raise LayerRefused(f"{name} has {len(given)} numbers")
    return _weight(call, name, torch.tensor(given, dtype=call.input(0).dtype))


def _weight(call: OnnxCall, name: str, tensor: torch.Tensor) -> Known:
    return Known((tensor := tensor.to(call.input(0).dtype), tensor), f"{call.op.lower()}.{name}", learned=True)
