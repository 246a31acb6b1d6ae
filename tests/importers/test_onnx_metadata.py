"""What other programs write to ONNX files, and next to model files, on window, pixels and classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator

from fullfield.errors import CaptureError
from fullfield.importers.load import load
from fullfield.importers.onnx import load_onnx
from fullfield.model.preprocessing import Preprocessing

from .onnx_models import flat, model, oracle, stored, windows  # noqa: TID252 - tests are no package

NODES = [helper.make_node("GlobalAveragePool", ["x"], ["g"]), helper.make_node("Flatten", ["g"], ["y"])]


def file(folder: Path, shape: tuple[int | str, ...] = ("n", 3, 9, 10), **entries: str) -> Path:
    made = model(NODES, shape=shape)
    for key, value in entries.items():
        made.metadata_props.add(key=key.replace("__", "."), value=value)
    return stored(made, folder)


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ({"names": "{0: 'cat', 1: 'dog', 2: \"cow's\"}"}, ("cat", "dog", "cow's")),
        ({"names": "['cat', 'dog', 'cow']"}, ("cat", "dog", "cow")),
        ({"names": "{0: 'cat', 1: 'dog'}"}, None),  # of another number of classes
        ({"names": "{1: 'cat', 2: 'dog', 3: 'cow'}"}, None),
        ({"names": "__import__('os').abort()"}, None),
        ({"names": "(" * 5000}, None),
        ({"character": "0\n180\nmirrored"}, ("0", "180", "mirrored")),
        ({"names": "['a', 'b']", "character": "0\n180\nmirrored"}, ("0", "180", "mirrored")),
    ],
)
def test_class_names_of_ultralytics_and_paddle(
    entries: dict[str, str], names: tuple[str, ...] | None, tmp_path: Path
) -> None:
    assert load_onnx(file(tmp_path, **entries)).class_names == names


@pytest.mark.parametrize("size", ["[9, 10]", "(9, 10)"])
def test_the_image_size_of_ultralytics_is_the_window_of_a_free_input(size: str, tmp_path: Path) -> None:
    assert load_onnx(file(tmp_path, ("n", 3, "h", "w"), imgsz=size)).window == (9, 10)
    assert load_onnx(file(tmp_path, imgsz="[640, 640]")).window == (9, 10)  # the input's own
    assert load_onnx(file(tmp_path, ("n", 3, "h", "w"), imgsz="640")).window == (640, 640)


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        ({"Image__BitmapPixelFormat": "Bgr8"}, Preprocessing(order="BGR", value_range=(0, 255))),
        (
            {"Image__NominalPixelRange": "Normalized_0_1", "Image__BitmapPixelFormat": "Rgb8"},
            Preprocessing(scale=1 / 255, order="RGB", value_range=(0, 255)),
        ),
        (
            {"Image__NominalPixelRange": "Normalized_1_1"},
            Preprocessing(scale=1 / 127.5, mean=(1.0,), value_range=(0, 255)),
        ),
    ],
)
def test_onnx_entries_on_pixels(entries: dict[str, str], wanted: Preprocessing, tmp_path: Path) -> None:
    assert load_onnx(file(tmp_path, **entries)).preprocessing == wanted


def test_labels_next_to_a_file_are_its_class_names_where_they_fit(tmp_path: Path) -> None:
    path = file(tmp_path)
    labels = tmp_path / "labels.txt"
    for text, names in (("cat\ndog\ncow\n", ("cat", "dog", "cow")), ("cat\ndog\n", None), ("\n\ncow", None)):
        labels.write_text(text)
        assert load(path).class_names == names
    labels.write_text("cat\ndog\n")
    assert load(path).about[-1] == ("class names", "labels.txt next to it has 2 names for 3 scores, and is not used")
    labels.write_text("cat\ndog\ncow\n")
    assert load(path, score="g").class_names == ("cat", "dog", "cow")
    assert load(path, class_names=["a", "b", "c"]).class_names == ("a", "b", "c")
    assert load(file(tmp_path, names="['x', 'y', 'z']")).class_names == ("x", "y", "z")


@pytest.mark.parametrize("heads", [(2, 2), (4, 2), (4, 1)])
def test_attention_is_read_as_the_operators_that_onnx_defines_it_by(heads: tuple[int, int], tmp_path: Path) -> None:
    queries, keys = heads
    nodes = [
        helper.make_node("Reshape", ["x", "size"], ["t"]),
        helper.make_node("MatMul", ["t", "wq"], ["q"]),
        helper.make_node("MatMul", ["t", "wk"], ["k"]),
        helper.make_node("Attention", ["q", "k", "k"], ["z"], q_num_heads=queries, kv_num_heads=keys),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    weights = {"size": np.array([0, -1, 10]), "wq": windows(10, (4 * queries,)), "wk": windows(10, (4 * keys,))}
    made = model(nodes, weights, opset=23)
    x = windows(3, (3, 9, 10))
    found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).detach().numpy()
    wanted = np.asarray(ReferenceEvaluator(made).run(None, {"x": x})[0])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)


def test_operators_that_would_become_too_many_are_refused(tmp_path: Path) -> None:
    chain = [helper.make_node("Attention", [f"v{i}"] * 3, [f"v{i + 1}"]) for i in range(501)]
    chain[0].input[:] = ["x"] * 3
    chain[-1].output[:] = ["y"]
    with pytest.raises(CaptureError, match="has 501 operators that ONNX defines by others, too many to replace"):
        load_onnx(stored(model(chain, opset=23), tmp_path))


@pytest.mark.parametrize("shape", [(6, 7), (12, 14)])
def test_maps_cut_or_padded_to_a_size_are_read_as_what_onnx_defines(shape: tuple[int, int], tmp_path: Path) -> None:
    made = flat("CenterCropPad", {"s": np.array(shape)}, inputs=["s"], opset=18, axes=[2, 3])
    x = windows(2, (3, 9, 10))
    found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, oracle(made, x), rtol=0, atol=0)
