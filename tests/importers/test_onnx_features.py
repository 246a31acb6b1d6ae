"""scikit-learn's classifiers in ONNX files: windows as rows of numbers, and the operators of ``ai.onnx.ml``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import fullfield
from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx
from fullfield.model.model import Model

from .onnx_models import model, oracle, stored, windows  # noqa: TID252 - tests are no package

ML = "ai.onnx.ml"
RNG = np.random.default_rng(3)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, domain=ML, **attributes)


def of_features(nodes: Sequence[onnx.NodeProto], count: int | str = 12, **rest: Any) -> onnx.ModelProto:
    made = model(nodes, rest.pop("weights", {}), shape=("n", count), **rest)
    made.opset_import.append(helper.make_opsetid(ML, 3))
    return made


def linear(classes: int = 3, count: int = 12, **attributes: Any) -> onnx.NodeProto:
    weights = RNG.standard_normal(classes * count).tolist()
    names = {"classlabels_strings": [f"class {i}" for i in range(classes)]} | attributes
    return node("LinearClassifier", ["x"], ["label", "y"], coefficients=weights, intercepts=[0.1] * classes, **names)


def trees(*, classes: int = 3, one_class: bool = False, signed: bool = False, mode: str = "BRANCH_LEQ") -> Any:
    """Two trees: one of three leaves, one of a single leaf."""
    kinds = [0, 0, 0, 0] if one_class else [0, 1, 2, 0]
    return node(
        "TreeEnsembleClassifier", ["x"], ["label", "y"], nodes_treeids=[0, 0, 0, 0, 0, 1],
        nodes_nodeids=[0, 1, 2, 3, 4, 0], nodes_featureids=[2, 0, 0, 7, 0, 0],
        nodes_modes=[mode, "LEAF", "LEAF", mode, "LEAF", "LEAF"], nodes_values=[0.5, 0, 0, 0.25, 0, 0],
        nodes_truenodeids=[1, 0, 0, 2, 0, 0], nodes_falsenodeids=[3, 0, 0, 4, 0, 0], class_treeids=[0, 0, 0, 1],
        class_nodeids=[1, 2, 4, 0], class_ids=kinds, class_weights=[0.5, 0.25, -0.7 if signed else 0.75, 0.125],
        classlabels_int64s=list(range(classes)), post_transform="LOGISTIC" if signed else "NONE",
    )  # fmt: skip


def same_scores(made: onnx.ModelProto, folder: Path, *, atol: float, window: tuple[int, int] = (3, 4)) -> Any:
    """The model, after a scan was compared with its crops in ONNX Runtime."""
    net = load_onnx(stored(made, folder), window=window)
    height, width = window
    image = windows(1, (height + 4, width + 2, net.channels))[0]
    scores = fullfield.scan(net, image, step=2).array
    crops = [image[y : y + height, x : x + width] for y in (0, 2, 4) for x in (0, 2)]
    wanted = np.concatenate([oracle(made, crop.reshape(1, -1)) for crop in crops])
    np.testing.assert_allclose(scores.reshape(scores.shape[0], -1).T, wanted, rtol=0, atol=atol)
    return net


@pytest.mark.parametrize("step", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_a_linear_classifier_of_pixels_is_shared(step: str, tmp_path: Path) -> None:
    net = same_scores(of_features([linear(post_transform=step)]), tmp_path, atol=1e-5)
    assert net.class_names == ("class 0", "class 1", "class 2")
    assert all(row.shared for row in fullfield.inspect(net).rows)


@pytest.mark.parametrize("norm", ["L1", "L2", "MAX"])
def test_scaled_and_normalised_features(norm: str, tmp_path: Path) -> None:
    nodes = [
        node("Scaler", ["x"], ["s"], offset=RNG.standard_normal(12).tolist(), scale=[0.5] * 12),
        node("ArrayFeatureExtractor", ["s", "places"], ["f"]), node("Normalizer", ["f"], ["y"], norm=norm),
    ]  # fmt: skip
    same_scores(of_features(nodes, weights={"places": np.array([1, 5, 5, 11])}), tmp_path, atol=1e-5)


def test_zeros_stay_zeros_when_they_are_normalised(tmp_path: Path) -> None:
    made = of_features([node("Normalizer", ["x"], ["y"], norm="L1")])
    net = load_onnx(stored(made, tmp_path), window=(3, 4))
    assert not fullfield.scan(net, np.zeros((3, 4, 1)), step=1).array.any()


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"])
def test_trees(mode: str, tmp_path: Path) -> None:
    net = same_scores(of_features([trees(mode=mode)]), tmp_path, atol=1e-6)
    assert net.class_names == ("0", "1", "2")


@pytest.mark.parametrize("signed", [False, True])
def test_trees_that_store_one_of_two_classes(signed: bool, tmp_path: Path) -> None:
    same_scores(of_features([trees(classes=2, one_class=True, signed=signed)]), tmp_path, atol=1e-6)


def test_features_are_the_channels_of_one_pixel(tmp_path: Path) -> None:
    net = same_scores(of_features([trees()]), tmp_path, atol=1e-6, window=(1, 1))
    assert (net.window, net.channels) == ((1, 1), 12)


def test_a_table_of_names_and_scores(tmp_path: Path) -> None:
    table = node("ZipMap", ["y"], ["table"], classlabels_strings=["a", "b", "c"])
    made = of_features([linear(), table], outputs=("label", "table"))
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    assert load_onnx(stored(made, tmp_path), window=(3, 4)).class_names == ("a", "b", "c")
    with pytest.raises(CaptureError, match=r"output 'label' is the index of a class.*\n.*score='y'"):
        load_onnx(stored(made, tmp_path), window=(3, 4), score="label")


@pytest.mark.parametrize(
    ("count", "window", "said"),
    [
        (12, None, r"12 numbers a window.* not stated\n.*--window HEIGHTxWIDTH, whose product is 12; .*--window 1"),
        (16, None, r"row by row: --window 4x4"),
        (12, (5, 2), r"windows of 5x2 px have 10 in each channel"),
        (12, (2, 2), r"3 channels of 2x2 px could lie in it channel by channel or pixel by pixel"),
        ("m", (2, 2), r"any number of numbers a window"),
    ],
)
def test_features_that_fit_in_no_way_or_in_several_are_refused(
    count: Any, window: Any, said: str, tmp_path: Path
) -> None:
    made = of_features([linear(count=16 if count == "m" else count)], count)
    with pytest.raises(CaptureError, match=f"(?s){said}"):
        load_onnx(stored(made, tmp_path), window=window)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"]}, "compare in several ways"),
        ({"nodes_truenodeids": [0, 0, 0, 2, 0, 0]}, "leads back to itself"),
        ({"nodes_falsenodeids": [9, 0, 0, 4, 0, 0]}, "leads nowhere"),
        ({"class_ids": [0, 1, 7, 0]}, "leaves that are damaged"),
        ({"nodes_missing_value_tracks_true": [1, 0]}, "of 2 nodes where missing numbers lead, and has 6"),
        ({"post_transform": "PROBIT"}, "ends in the transform 'PROBIT'"),
    ],
    ids=str,
)
def test_trees_that_cannot_be_read_are_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=said):
        load_onnx(stored(of_features([with_attributes(trees(), changed)]), tmp_path), window=(3, 4))


def with_attributes(made: onnx.NodeProto, changed: dict[str, Any]) -> onnx.NodeProto:
    """The node with other attributes; those that are ``None`` are left out."""
    kept = [each for each in made.attribute if each.name not in changed]
    del made.attribute[:]
    new = (helper.make_attribute(*each) for each in changed.items() if each[1] is not None)
    made.attribute.extend([*kept, *new])
    return made


@torch.no_grad()
def given(net: Model, features: Any) -> Any:
    """A model's scores for windows of 3x4 px of one band."""
    return net(torch.from_numpy(features.reshape(-1, 1, 3, 4))).numpy()


def test_missing_numbers_follow_their_side_of_a_tree(tmp_path: Path) -> None:
    sides = {"nodes_missing_value_tracks_true": [1, 0, 0, 0, 0, 0]}
    made = of_features([with_attributes(trees(), sides)])
    net = load_onnx(stored(made, tmp_path), window=(3, 4))
    features = windows(1, (12,))
    for missing in (2, 7):
        features[0, missing] = np.nan
        np.testing.assert_allclose(given(net, features), oracle(made, features), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("replaced", [float("nan"), 0.0])
@pytest.mark.parametrize("put_in", [[7.0], np.arange(12.0).tolist()], ids=["one", "each"])
def test_numbers_put_in_place_of_others_and_thresholds(replaced: float, put_in: list[float], tmp_path: Path) -> None:
    nodes = [
        node("Binarizer", ["x"], ["b"], threshold=0.1),
        helper.make_node("Log", ["b"], ["l"]),  # -inf and 0
        helper.make_node("Sub", ["l", "l"], ["s"]),  # nan and 0
        node("Imputer", ["s"], ["y"], imputed_value_floats=put_in, replaced_value_float=replaced),
        helper.make_node("Add", ["y", "b"], ["z"]),
    ]
    made = of_features(nodes, outputs=("z",))
    net, x = load_onnx(stored(made, tmp_path), window=(3, 4)), windows(3, (12,))
    np.testing.assert_array_equal(given(net, x), oracle(made, x, "z"))


def test_an_imputer_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    made = of_features([node("Imputer", ["x"], ["y"], imputed_value_int64s=[1], replaced_value_int64=0)])
    with pytest.raises(CaptureError, match="does not state the real numbers"):
        load_onnx(stored(made, tmp_path), window=(3, 4))


def test_classes_of_the_nearest_neighbours(tmp_path: Path) -> None:
    """As scikit-learn's are written: the places of the least numbers, looked up in a list of classes."""
    nodes = [
        helper.make_node("TopK", ["x", "k"], ["nearest", "places"], largest=0),
        helper.make_node("Flatten", ["places"], ["flat"]),
        node("ArrayFeatureExtractor", ["classes", "flat"], ["found"]),
        helper.make_node("Reshape", ["found", "rows"], ["kinds"]),
        helper.make_node("Cast", ["places"], ["short"], to=TensorProto.INT32),
        helper.make_node("Gather", ["table", "short"], ["gathered"], axis=1),
        helper.make_node("ReduceSum", ["gathered", "first"], ["summed"], keepdims=0),
        helper.make_node("Cast", ["kinds"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["numbers", "summed"], ["y"]),
    ]
    weights = {
        "k": np.array([3]), "classes": RNG.integers(0, 5, 12), "rows": np.array([-1, 3]), "first": np.array([0]),
        "table": RNG.standard_normal((2, 12)).astype(np.float32),
    }  # fmt: skip
    same_scores(of_features(nodes, weights=weights), tmp_path, atol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (
            [node("ArrayFeatureExtractor", ["table", "i"], ["s"]), helper.make_node("Neg", ["s"], ["y"])],
            "what is there is no list",
        ),
        (
            [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "i"], ["y"])],
            "depend on the number of windows",
        ),
    ],
    ids=["a table", "a shape"],
)
def test_places_by_pixels_that_are_no_list(nodes: list[onnx.NodeProto], said: str, tmp_path: Path) -> None:
    index = helper.make_node("ArgMax", ["x"], ["i"], axis=1, keepdims=0)
    made = of_features([index, *nodes], weights={"table": np.zeros((2, 3), np.float32)})
    with pytest.raises(CaptureError, match=said):
        load_onnx(stored(made, tmp_path), window=(3, 4))


@pytest.mark.parametrize("kind", ["LinearClassifier", "TreeEnsembleClassifier"])
def test_the_class_of_the_highest_score_is_computed_where_it_is_read(kind: str, tmp_path: Path) -> None:
    first = linear(classlabels_ints=[3, 5, 9]) if kind == "LinearClassifier" else trees()
    first = with_attributes(first, {"classlabels_strings": None})
    nodes = [
        first,
        helper.make_node("Cast", ["label"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["number", "column"], ["one"]),
        helper.make_node("Concat", ["y", "one"], ["both"], axis=1),
    ]
    made = of_features(nodes, weights={"column": np.array([-1, 1])}, outputs=("both",))
    net, x = load_onnx(stored(made, tmp_path), window=(3, 4)), windows(5, (12,))
    np.testing.assert_allclose(given(net, x), oracle(made, x, "both"), rtol=0, atol=1e-5)


def support_vectors(counts: Sequence[int], kernel: str, *, likely: bool = False) -> onnx.NodeProto:
    """A classifier with as many support vectors for each class, of 12 features."""
    pairs = len(counts) * (len(counts) - 1) // 2
    numbers: dict[str, Any] = {
        "support_vectors": RNG.standard_normal(12 * sum(counts)).tolist(), "vectors_per_class": list(counts),
        "coefficients": RNG.standard_normal(sum(counts) * (len(counts) - 1)).tolist(),
        "rho": RNG.standard_normal(pairs).tolist(), "kernel_type": kernel, "kernel_params": [0.1, 0.5, 3.0],
        "classlabels_ints": list(range(len(counts))),
    }  # fmt: skip
    if likely:
        numbers |= {"prob_a": (-RNG.random(pairs) - 0.5).tolist(), "prob_b": RNG.standard_normal(pairs).tolist()}
    return with_attributes(node("SVMClassifier", ["x"], ["label", "y"]), numbers)


@pytest.mark.parametrize("likely", [False, True], ids=["decisions", "probabilities"])
@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("counts", [(3, 2), (2, 4, 3, 1)])
def test_support_vectors(counts: tuple[int, ...], kernel: str, likely: bool, tmp_path: Path) -> None:
    same_scores(of_features([support_vectors(counts, kernel, likely=likely)]), tmp_path, atol=2e-5)


def test_decisions_between_two_classes_by_the_logistic_function(tmp_path: Path) -> None:
    made = with_attributes(support_vectors((3, 2), "RBF"), {"post_transform": "LOGISTIC"})
    same_scores(of_features([made]), tmp_path, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kernel_type": "CUBIC"}, "kernel 'CUBIC' is unknown"),
        ({"rho": [0.5]}, "has rho that do not fit 3 classes"),
        ({"prob_a": [0.5]}, "has prob_a, prob_b that do not fit 3 classes"),
        ({"support_vectors": None}, "has support_vectors that do not fit 3 classes"),
        ({"classlabels_ints": [0, 1]}, "has vectors_per_class that do not fit 2 classes"),
        ({"post_transform": "SOFTMAX"}, "transforms the decisions between more than two classes"),
    ],
    ids=str,
)
def test_support_vectors_that_cannot_be_read_are_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    damaged = with_attributes(support_vectors((2, 2, 2), "RBF"), changed)
    with pytest.raises(CaptureError, match=said):
        load_onnx(stored(of_features([damaged]), tmp_path), window=(3, 4))
