"""Layers and values of files as scores, by the names that each format gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

import fullfield
from fullfield.errors import CaptureError
from fullfield.importers.load import load
from fullfield.importers.onnx import load_onnx

from .caffe_files import head, layer, make, trained  # noqa: TID252 - tests are no package
from .onnx_models import model, stored, windows  # noqa: TID252
from .t7_writer import Obj, dumps, longs, sequential  # noqa: TID252


def network() -> nn.Sequential:
    torch.manual_seed(3)
    names = {"stem": nn.Conv2d(3, 5, 3, stride=2, padding=1), "act": nn.ReLU(), "last": nn.Conv2d(5, 6, 3, padding=1)}
    end = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "head": nn.Linear(6, 4), "prob": nn.Softmax(1)}
    made = nn.Sequential()
    for name, part in (names | end).items():
        made.add_module(name, part)
    return made.eval()


NET = network()
X = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
BATCH = {0: torch.export.Dim.DYNAMIC}
WANTED = {
    "act": NET[:2](X).mean((2, 3)),
    "act:map": NET[:2](X).flatten(1),
    "avgpool": NET[:5](X),
    "flatten": NET[:5](X),
    "head": NET[:6](X),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network as a torch.export program, as fullfield's ONNX file and as that of torch's exporter."""
    folder = tmp_path_factory.mktemp("files")
    torch.export.save(torch.export.export(NET, (X,), dynamic_shapes=(BATCH,)), folder / "a.pt2")
    fullfield.save(load(NET, window=12, class_names=list("abcd")), folder / "a.onnx")
    torch.onnx.export(NET, (X,), folder / "b.onnx", dynamo=True, dynamic_shapes=(BATCH,), verbose=False)
    return {"pt2": folder / "a.pt2", "fullfield": folder / "a.onnx", "torch": folder / "b.onnx"}


@pytest.mark.filterwarnings("ignore")  # torch's exporter warns of itself
@pytest.mark.parametrize("kind", ["pt2", "fullfield", "torch"])
@pytest.mark.parametrize("score", WANTED)
def test_layers_have_one_name_in_every_format_of_a_network(kind: str, score: str, files: dict[str, Path]) -> None:
    if (kind, score) == ("fullfield", "flatten"):
        pytest.skip("fullfield's own files have no node for a flattening of one cell")
    found = load(files[kind], score=score, trust=True)
    torch.testing.assert_close(found(X), WANTED[score], rtol=0, atol=1e-6)
    assert (found.features is None) == (score == "head")
    assert found.class_names == (tuple("abcd") if (kind, score) == ("fullfield", "head") else None)


def chain() -> onnx.ModelProto:
    """Scores, their softmax, the index of the greatest, a table of both, and an embedding."""
    weights = {"w": windows(4, (3, 1, 1)), "labels": np.array([b"a", b"b", b"c", b"d"], object)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["map"], name="/body/conv/Conv"),
        helper.make_node("Relu", ["map"], ["active"], name="/body/act/Relu"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"], name="/pool/GlobalAveragePool"),
        helper.make_node("Flatten", ["pooled"], ["logits"], name="/Flatten"),
        helper.make_node("Softmax", ["logits"], ["prob"], axis=1),
        helper.make_node("ArgMax", ["prob"], ["index"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["labels", "index"], ["label"], domain="ai.onnx.ml"),
        helper.make_node("ZipMap", ["prob"], ["table"], domain="ai.onnx.ml", classlabels_strings=list("abcd")),
        helper.make_node("Mystery", ["logits"], ["beside"], domain="unknown"),
        helper.make_node("TopK", ["logits", "two"], ["values", "places"]),
    ]
    made = model(nodes, {"w": weights["w"], "two": np.array([2])}, outputs=("prob",))
    made.graph.initializer.append(helper.make_tensor("labels", onnx.TensorProto.STRING, [4], weights["labels"]))
    return made


def with_outputs(folder: Path, *names: str) -> Path:
    made = chain()
    del made.graph.output[:]
    made.graph.output.extend(helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    return stored(made, folder)


@pytest.mark.parametrize(
    ("outputs", "chosen", "labels"),
    [
        (("prob", "index"), None, None),
        (("index", "prob"), None, None),
        (("label", "table"), None, tuple("abcd")),
        (("logits", "values", "places"), None, None),
        (("logits", "prob"), None, None),
        (("label", "table"), "table", tuple("abcd")),
        (("label", "table"), 1, tuple("abcd")),
        (("label", "table"), -1, tuple("abcd")),
        (("label", "table"), "-1:map", tuple("abcd")),
        (("prob", "beside"), "prob", None),
        (("index",), "logits", None),
        (("index",), "prob", None),
    ],
)
def test_only_what_the_scores_need_is_read(
    outputs: tuple[str, ...], chosen: int | str | None, labels: tuple[str, ...] | None, tmp_path: Path
) -> None:
    found = load_onnx(with_outputs(tmp_path, *outputs), score=chosen)
    x = torch.from_numpy(windows(2, (3, 9, 10)))
    plain = torch.einsum("nchw,kc->nkhw", x, torch.from_numpy(windows(4, (3, 1, 1)))[:, :, 0, 0]).relu().mean((2, 3))
    logits = chosen == "logits" or outputs[1:2] == ("values",)
    torch.testing.assert_close(found(x), plain if logits else plain.softmax(1), rtol=0, atol=1e-6)
    assert (found.features, found.class_names) == (None, labels)


@pytest.mark.parametrize(
    ("score", "features"),
    [
        ("map", "map, mean over 9x10 cells"),
        ("/body/act/Relu", "/body/act/Relu, mean over 9x10 cells"),
        ("body", "body, mean over 9x10 cells"),
        ("body.conv:map", "body.conv, all 4x9x10 numbers"),
        ("pooled", None),
    ],
)
def test_values_nodes_and_groups_of_nodes_are_layers(score: str, features: str | None, tmp_path: Path) -> None:
    assert load_onnx(with_outputs(tmp_path, "prob"), score=score).features == features


@pytest.mark.parametrize("output", ["index", "label", "places"])
def test_an_index_is_refused_with_the_name_of_the_scores(output: str, tmp_path: Path) -> None:
    scores = "logits" if output == "places" else "prob"
    for score in (None, output, 0):
        with pytest.raises(CaptureError, match=f"index of a class, not .*\n  fix: .* score='{scores}'"):
            load_onnx(with_outputs(tmp_path, output), score=score)


def test_outputs_of_the_highest_scores_alone_are_refused_with_the_name_of_all_scores(tmp_path: Path) -> None:
    said = r"has 2 outputs .*, all of the classes with the highest scores\n  fix: .* score='logits', --score logits"
    with pytest.raises(CaptureError, match=said):
        load_onnx(with_outputs(tmp_path, "values", "places"))


@pytest.mark.parametrize("kind", [onnx.TensorProto.INT64, onnx.TensorProto.BOOL])
def test_an_output_of_integers_beside_one_of_reals_is_no_score(kind: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["scores"]),
        helper.make_node("Greater", ["scores", "limit"], ["above"]),
        helper.make_node("Cast", ["above"], ["label"], to=kind),
    ]  # fmt: skip
    made = model(nodes, {"limit": np.float32(0)}, outputs=("label", "scores"))
    made.graph.output[0].type.tensor_type.elem_type = kind
    x = torch.from_numpy(windows(2, (3, 9, 10)))
    torch.testing.assert_close(load_onnx(stored(made, tmp_path))(x), x.mean((2, 3)), rtol=0, atol=1e-6)


def test_several_outputs_that_may_be_scores_are_listed(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"has 2 outputs \(0: logits, 1: pooled\)"):
        load_onnx(with_outputs(tmp_path, "logits", "pooled"))
    with pytest.raises(CaptureError, match=r"layer 'active2'; its outputs are 0: prob\n  fix: did you mean 'active'"):
        load_onnx(with_outputs(tmp_path, "prob"), score="active2")


CONV = layer("Convolution", "data", "conv", "convolution_param { num_output: 4 kernel_size: 3 }", name="first")
HEAD = layer("Pooling", "conv", "gap", "pooling_param { pool: AVE global_pooling: true }")
FC = layer("InnerProduct", "gap", "fc", "inner_product_param { num_output: 5 }")


def test_caffes_values_and_layers_are_chosen_by_name(tmp_path: Path) -> None:
    text = head() + CONV + layer("ReLU", "conv", name="relu") + HEAD + FC + layer("Softmax", "fc", "prob")
    box = layer("InnerProduct", "gap", "box", "inner_product_param { num_output: 4 }")
    paths = make(tmp_path, text + box)
    net = trained(*paths)
    x = torch.randn(2, 3, 16, 16)
    conv = net.module.eval().relu(net.module.first(x))  # type: ignore[operator]
    for name, wanted, features in (
        ("conv", conv.mean((2, 3)), "conv, mean over 14x14 cells"),
        ("relu:map", conv.flatten(1), "relu, all 4x14x14 numbers"),
        ("gap", conv.mean((2, 3)), "gap"),
        ("fc", net.module.fc(conv.mean((2, 3), keepdim=True)).flatten(1), None),  # type: ignore[operator]
        (None, net.module.fc(conv.mean((2, 3), keepdim=True)).flatten(1).softmax(1), None),  # type: ignore[operator]
    ):
        found = load(paths[0], weights=paths[1], score=name)
        torch.testing.assert_close(found(x), wanted, rtol=0, atol=1e-5)
        assert found.features == features
    with pytest.raises(CaptureError, match="no value and no layer 'conf'\n  fix: name one of conv"):
        load(paths[0], weights=paths[1], score="conf")


def test_torch7s_modules_are_chosen_by_number(tmp_path: Path) -> None:
    numbers = windows(8, (3, 9))
    conv = Obj("nn.SpatialConvolutionMM", nInputPlane=3, nOutputPlane=8, kW=3, kH=3, dW=1, dH=1, padW=0, padH=0,
               weight=numbers.reshape(8, 27), bias=numbers[:, 0, 0].copy())  # fmt: skip
    linear = Obj("nn.Linear", weight=windows(5, (8 * 16,)), bias=windows(5, ()))
    view = Obj("nn.View", size=longs(128), numElements=128)
    (tmp_path / "a.t7").write_bytes(dumps(sequential(sequential(conv, Obj("nn.Tanh")), view, linear)))
    whole, x = load(tmp_path / "a.t7", window=6, score="1:map"), torch.randn(2, 3, 6, 6)
    found = load(tmp_path / "a.t7", window=6, score="1")
    assert (found.classes, found.features) == (8, "1, mean over 4x4 cells")
    torch.testing.assert_close(whole(x).reshape(2, 8, 16).mean(2), found(x), rtol=0, atol=1e-6)
    assert load(tmp_path / "a.t7", window=6, score="1.1").features == "1.1, mean over 4x4 cells"
