"""scikit-learn's classifiers in ONNX files: windows as rows of numbers, and the operators of ``ai.onnx.ml``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import fullfield
from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx

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
        ({"nodes_missing_value_tracks_true": [1, 0, 0, 0, 0, 0]}, "missing numbers"),
        ({"post_transform": "PROBIT"}, "ends in the transform 'PROBIT'"),
    ],
    ids=str,
)
def test_trees_that_cannot_be_read_are_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    damaged = trees()
    kept = [each for each in damaged.attribute if each.name not in changed]
    del damaged.attribute[:]
    damaged.attribute.extend([*kept, *(helper.make_attribute(*each) for each in changed.items())])
    with pytest.raises(CaptureError, match=said):
        load_onnx(stored(of_features([damaged]), tmp_path), window=(3, 4))
