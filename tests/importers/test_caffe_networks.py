"""Whole Caffe networks: syntaxes, phases, weights, training attributes, preprocessing, and net surgery."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format

import fullfield
from fullfield.errors import CaptureError, ImageError, UnsupportedError
from fullfield.importers.caffe.importer import read_network
from fullfield.importers.caffe.schema import message
from fullfield.importers.caffe.weights import fill, parameter_groups
from fullfield.importers.caffe.writer import save_caffe
from fullfield.importers.load import load
from fullfield.model.preprocessing import Preprocessing

from .caffe_files import draw, head, layer, make, trained  # noqa: TID252 - tests are no package

cv2 = pytest.importorskip("cv2")


def conv(bottom: str, top: str, outputs: int, kernel: int, more: str = "") -> str:
    return layer(
        "Convolution", bottom, top, f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} }}"
    )


def connected(bottom: str, top: str, outputs: int) -> str:
    return layer("InnerProduct", bottom, top, f"inner_product_param {{ num_output: {outputs} }}")


def pool(bottom: str, top: str, kernel: int, stride: int, method: str = "MAX") -> str:
    return layer("Pooling", bottom, top, f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} }}")


def alexnet_like() -> str:
    """The two-group network at a tenth of its width, window 67."""
    text = head(3, 67, 67) + conv("data", "conv1", 8, 11, "stride: 4") + layer("ReLU", "conv1", name="relu1")
    text += layer("LRN", "conv1", "norm1", "lrn_param { local_size: 5 alpha: 0.01 }") + pool("norm1", "pool1", 3, 2)
    text += conv("pool1", "conv2", 12, 5, "pad: 2 group: 2") + layer("ReLU", "conv2", name="relu2")
    text += pool("conv2", "pool2", 3, 2) + conv("pool2", "conv3", 8, 3, "pad: 1 group: 2")
    text += connected("conv3", "fc6", 20) + layer("ReLU", "fc6", name="relu6") + layer("Dropout", "fc6", name="drop6")
    return text + connected("fc6", "fc8", 6) + layer("Softmax", "fc8", "prob")


def inception_like() -> str:
    text = head(3, 32, 32) + conv("data", "c", 8, 3, "pad: 1") + layer("PReLU", "c", name="p")
    text += pool("c", "s", 3, 2) + conv("s", "b1/1x1", 4, 1) + conv("s", "b2/reduce", 3, 1)
    text += conv("b2/reduce", "b2/3x3", 5, 3, "pad: 1")
    text += layer("Pooling", "s", "b3", "pooling_param { pool: MAX kernel_size: 3 stride: 1 pad: 1 }")
    text += layer("Concat", "b1/1x1 b2/3x3 b3", "out") + layer("BatchNorm", "out", name="bn")
    text += layer("Scale", "out", body="scale_param { bias_term: true }", name="sc") + layer("ReLU", "out", name="r")
    text += layer("Pooling", "out", "gap", "pooling_param { pool: AVE global_pooling: true }")
    return text + layer("Flatten", "gap", "flat") + connected("flat", "score", 5) + layer("Softmax", "score", "prob")


def residual_like() -> str:
    text = head(3, 24, 20) + conv("data", "a", 6, 3, "pad: 1 bias_term: false") + layer("BatchNorm", "a", name="bn1")
    text += layer("Scale", "a", body="scale_param { bias_term: true }", name="sc1") + layer("ReLU", "a", name="r1")
    text += conv("a", "b", 6, 3, "pad: 1") + layer("Eltwise", "a b", "sum") + layer("ReLU", "sum", name="r2")
    text += pool("sum", "q", 3, 2, "AVE") + connected("q", "fc", 4)
    return text


NETS = {"alexnet": alexnet_like, "inception": inception_like, "residual": residual_like}


def opencv(prototxt: Path, model: Path, x: torch.Tensor) -> np.ndarray:
    net = cv2.dnn.readNetFromCaffe(str(prototxt), str(model))
    net.setInput(x.numpy())
    return np.asarray(net.forward())


@pytest.mark.parametrize("name", NETS)
def test_a_loaded_network_gives_what_opencv_gives(name: str, tmp_path: Path) -> None:
    files = make(tmp_path, NETS[name]())
    network = load(files[0], weights=files[1])
    x = torch.randn(3, network.channels, *network.window)
    theirs = np.concatenate([opencv(*files, window[None]).reshape(1, -1) for window in x])
    assert np.abs(network(x).detach().numpy() - theirs).max() < 2e-5
    assert {"conv1", "c", "a"} & {node.meta["path"] for node in network.graph.graph.nodes}


@pytest.mark.parametrize("name", NETS)
def test_surgery_equals_the_network_at_its_window_and_opencv_at_two_sizes(name: str, tmp_path: Path) -> None:
    files = make(tmp_path, NETS[name]())
    network = trained(*files)
    written = save_caffe(network, tmp_path / "fcn.prototxt", tmp_path / "fcn.caffemodel")
    again = trained(*written)
    window = torch.randn(1, *network.shape)
    score, again_score = network.module(window).flatten(), again.module(window).flatten()
    assert torch.allclose(score, again_score, atol=1e-5)
    assert load(written[0], weights=written[1]).classes == score.numel()
    for more in (0, 33):
        x = torch.randn(1, 3, network.shape[1] + more, network.shape[2] + more)
        ours, theirs = again.module(x).detach().numpy(), opencv(*written, x)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 2e-5
        assert (ours.size > score.numel()) == (more > 0)


def test_surgery_names_layers_as_the_tutorial_does_and_keeps_their_attributes(tmp_path: Path) -> None:
    text = head(3, 9, 9) + conv("data", "c", 4, 3)
    text += layer("InnerProduct", "c", "fc6", "param { lr_mult: 10 } inner_product_param { num_output: 5 "
                  'weight_filler { type: "gaussian" std: 0.25 } }') + layer("ReLU", "fc6", name="relu6")  # fmt: skip
    files = make(tmp_path, text, surgery=True)
    lines = files[0].read_text()
    assert 'name: "fc6-conv"' in lines
    assert "kernel_size: 7" in lines
    assert "std: 0.25" in lines
    network = trained(*files)
    assert [type(m).__name__ for m in network.module.children()] == ["Conv2d", "Conv2d", "ReLU"]
    assert [g["lr"] for g in parameter_groups(network.module, lr=0.1)] == pytest.approx([0.1, 1.0])


def test_surgery_refuses_what_reads_the_whole_window_naming_all_of_it(tmp_path: Path) -> None:
    text = head(4, 6, 6) + layer("MVN", "data", "m") + layer("Flatten", "m", "f") + layer("Softmax", "f", "y")
    network = trained(*make(tmp_path, text))
    with pytest.raises(UnsupportedError, match=r"m \(MVN\).*y \(Softmax\)"):
        save_caffe(network, tmp_path / "f.prototxt", tmp_path / "f.caffemodel")
    assert not (tmp_path / "f.prototxt").exists()


def test_files_are_not_overwritten_unasked(tmp_path: Path) -> None:
    files = make(tmp_path, residual_like())
    network = trained(*files)
    with pytest.raises(ImageError, match="exists already"):
        save_caffe(network, *files)
    with pytest.raises(ImageError, match="both files"):
        save_caffe(network, tmp_path / "x", tmp_path / "x")
    with pytest.raises(ImageError, match="there is no folder"):
        save_caffe(network, tmp_path / "no" / "x", tmp_path / "y")


V1 = """
name: "V1" input: "data" input_dim: 10 input_dim: 3 input_dim: 17 input_dim: 17
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  weight_decay: 0 convolution_param { num_output: 6 kernel_size: 3 stride: 2 group: 3 engine: CAFFE } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "pool1" type: POOLING bottom: "conv1" top: "pool1" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layers { name: "norm1" type: LRN bottom: "pool1" top: "norm1" lrn_param { local_size: 3 alpha: 0.1 beta: 0.75 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "norm1" top: "fc" inner_product_param { num_output: 4 } }
layers { name: "prob" type: SOFTMAX bottom: "fc" top: "prob" }
"""
V0 = """
name: "V0" input: "data" input_dim: 10 input_dim: 3 input_dim: 17 input_dim: 17
layers { layer { name: "pad0" type: "padding" pad: 1 } bottom: "data" top: "pad0" }
layers { layer { name: "conv1" type: "conv" num_output: 6 kernelsize: 3 stride: 2 group: 3 blobs_lr: 1 blobs_lr: 2
  weight_decay: 1 weight_decay: 0 weight_filler { type: "gaussian" std: 0.01 } } bottom: "pad0" top: "conv1" }
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "conv1" top: "pool1" }
layers { layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.75 } bottom: "pool1" top: "norm1" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.3 } bottom: "norm1" top: "norm1" }
layers { layer { name: "fc" type: "innerproduct" num_output: 4 } bottom: "norm1" top: "fc" }
layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
"""


@pytest.mark.parametrize("text", [V0, V1])
def test_the_old_syntaxes_give_what_opencv_gives_of_their_upgrade(text: str, tmp_path: Path) -> None:
    prototxt, model = make(tmp_path, text)
    network = load(prototxt, weights=model)
    assert (network.name, network.window, network.classes) == (text.split('"')[1], (17, 17), 4)
    upgraded = save_caffe(trained(prototxt, model), tmp_path / "u.prototxt", tmp_path / "u.caffemodel", surgery=False)
    x = torch.randn(1, 3, 17, 17)
    assert np.abs(network(x).detach().numpy() - opencv(*upgraded, x)).max() < 2e-6
    groups = parameter_groups(network.graph, lr=0.1, weight_decay=0.5)
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in groups] == [(0.1, 0.5, 3), (0.2, 0.0, 1)]
    torch.optim.SGD(groups)


def test_a_caffemodel_of_the_second_syntax_is_known_and_read(tmp_path: Path) -> None:
    prototxt, model = make(tmp_path, V1)
    x = torch.randn(2, 3, 17, 17)
    before = load(prototxt, weights=model)(x)
    old = message("NetParameter", raw=False)()
    text_format.Parse(V1, old, allow_unknown_field=True)
    old = message("NetParameter").FromString(old.SerializeToString())
    new = {layer.name: layer for layer in message("NetParameter").FromString(model.read_bytes()).layer}
    for entry in old.layers:
        entry.blobs.extend(new[entry.name].blobs)
    (tmp_path / "old.onnx").write_bytes(old.SerializeToString())
    assert torch.equal(load(tmp_path / "old.onnx")(x), before)
    assert torch.equal(load(prototxt, weights=tmp_path / "old.onnx")(x), before)


def test_opencv_reads_the_old_syntax_alike(tmp_path: Path) -> None:
    prototxt, model = make(tmp_path, V1)
    x = torch.randn(1, 3, 17, 17)
    assert np.abs(load(prototxt, weights=model)(x).detach().numpy() - opencv(prototxt, model, x)).max() < 2e-6


def test_legacy_four_dimensional_blobs_and_numbers_one_by_one_are_read(tmp_path: Path) -> None:
    prototxt, model = make(tmp_path, residual_like())
    x = torch.randn(2, 3, 24, 20)
    before = load(prototxt, weights=model)(x)
    net = message("NetParameter").FromString(model.read_bytes())
    written = message("NetParameter", raw=False)()
    written.ParseFromString(net.SerializeToString())
    for entry in written.layer:
        for blob in entry.blobs:
            shape = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
            blob.ClearField("shape")
            blob.num, blob.channels, blob.height, blob.width = shape
    legacy = message("NetParameter").FromString(written.SerializeToString())
    for entry in legacy.layer:
        for blob in entry.blobs:
            numbers = np.frombuffer(b"".join(blob.data), "<f4")
            blob.ClearField("data")
            blob.MergeFromString(b"".join(b"\x2d" + value.tobytes() for value in numbers))  # field 5, 32 bits
    model.write_bytes(legacy.SerializeToString())
    assert torch.equal(load(prototxt, weights=model)(x), before)


def test_doubles_are_read(tmp_path: Path) -> None:
    prototxt, model = make(tmp_path, residual_like())
    x = torch.randn(2, 3, 24, 20)
    before = load(prototxt, weights=model)(x)
    net = message("NetParameter").FromString(model.read_bytes())
    for entry in net.layer:
        for blob in entry.blobs:
            blob.double_data.append(np.frombuffer(blob.data[0], "<f4").astype("<f8").tobytes())
            blob.ClearField("data")
    model.write_bytes(net.SerializeToString())
    assert torch.equal(load(prototxt, weights=model)(x), before)


def test_a_caffemodel_alone_carries_its_structure(tmp_path: Path) -> None:
    prototxt, model = make(tmp_path, inception_like())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(load(model)(x), load(prototxt, weights=model)(x))


TRAINING = """
name: "train_val"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true crop_size: 20 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 }
  data_param { source: "lmdb" batch_size: 256 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { mirror: false crop_size: 16 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 }
  data_param { source: "lmdb" batch_size: 50 backend: LMDB } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def test_a_training_file_gives_its_test_phase_with_the_softmax_of_its_loss(tmp_path: Path) -> None:
    network = load(make(tmp_path, TRAINING)[0])
    assert (network.window, network.channels, network.classes) == ((16, 16), 3, 3)
    assert torch.allclose(network(torch.randn(4, 3, 16, 16)).sum(1), torch.ones(4))
    wanted = Preprocessing(scale=0.5, mean=(52, 58.5, 61.5), order="BGR", value_range=(0, 255))
    assert network.preprocessing == wanted
    assert load(make(tmp_path, TRAINING)[0], score="fc").classes == 3


def test_a_mean_in_another_file_must_be_given(tmp_path: Path) -> None:
    text = TRAINING.replace("mean_value: 104 mean_value: 117 mean_value: 123", 'mean_file: "mean.binaryproto"')
    (tmp_path / "t.prototxt").write_text(text)
    with pytest.raises(CaptureError, match=r"mean\.binaryproto"):
        load(tmp_path / "t.prototxt")
    assert load(tmp_path / "t.prototxt", preprocessing="caffe").preprocessing.order == "BGR"


def test_fillers_draw_the_weights_of_a_file_without_any(tmp_path: Path) -> None:
    body = 'convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: "%s" } bias_filler { value: 0.5 } }'
    bounds = {"xavier": (3 / 100) ** 0.5, "uniform": 1.0}
    for kind in ("xavier", "msra", "gaussian", "uniform", "positive_unitball"):
        path = tmp_path / f"{kind}.prototxt"
        path.write_text(head(4, 9, 9) + layer("Convolution", "data", "c", body % kind))
        module = read_network(path).module
        weight = module.get_submodule("c").weight.detach()
        assert (module.get_submodule("c").bias == 0.5).all()
        if kind in bounds:
            assert 0.9 * bounds[kind] < weight.max() <= bounds[kind]
        elif kind == "positive_unitball":
            assert torch.allclose(weight.sum((1, 2, 3)), torch.ones(50))
        else:
            assert float(weight.std()) == pytest.approx(0.02**0.5 if kind == "msra" else 1.0, rel=0.1)


def test_fillers_draw_nothing_for_a_network_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("drew weights")

    monkeypatch.setattr("fullfield.importers.caffe.weights.fill", refused)
    large = 'inner_product_param { num_output: %d weight_filler { type: "xavier" } }'
    wide = head(3, 100, 100) + layer("InnerProduct", "data", "a", large % 10_000)
    assert "fillers would draw 1200040000 bytes" in bad(tmp_path, wide)
    assert "a bottom of 2 dimensions" in bad(tmp_path, wide + conv("a", "c", 2, 3))
    assert "'magic'" in bad(tmp_path, head() + conv("data", "c", 2, 3) + conv("c", "d", 2, 3, MAGIC))


MAGIC = 'weight_filler { type: "magic" }'


def test_the_bilinear_filler_is_that_of_interpolation() -> None:
    kernel = torch.empty(2, 1, 4, 4)
    fill(kernel, message("FillerParameter")(type="bilinear"))
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(kernel, (ramp[:, None] * ramp).expand(2, 1, 4, 4))


@pytest.mark.parametrize(
    ("removed", "what"),
    [("crop_size: 16", "does not state its window"), ('top: "data" top: "label"', "has no input layer")],
)
def test_weights_alone_ask_for_the_deploy_prototxt(tmp_path: Path, removed: str, what: str) -> None:
    prototxt, model = make(tmp_path, TRAINING)
    net = message("NetParameter")()
    net.ParseFromString(model.read_bytes())
    text = message("NetParameter")()
    text_format.Parse(TRAINING.replace(removed, ""), text, allow_unknown_field=True)
    text.layer.remove(text.layer[0])  # of the training phase
    text.layer[1].blobs.extend(net.layer[1].blobs)
    model.write_bytes(text.SerializeToString())
    with pytest.raises(CaptureError, match=f"is a .caffemodel without its .prototxt, and {what}") as caught:
        load(model)
    assert 'load the deploy .prototxt that belongs to it, with weights="net.caffemodel"' in caught.value.fix
    assert load(prototxt, weights=model).classes == 3


def bad(tmp_path: Path, text: str, **options: object) -> str:
    (tmp_path / "bad.prototxt").write_text(text)
    with pytest.raises(CaptureError) as caught:
        load(tmp_path / "bad.prototxt", **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_all_unknown_layers_are_named_at_once(tmp_path: Path) -> None:
    text = head() + layer("PriorBox", "data", "a") + layer("Normalize", "a", "b") + layer("Normalize", "b", "c")
    assert "Normalize (2), PriorBox (1)" in bad(tmp_path, text)
    old = V1.replace("type: RELU", "type: SWISHY").replace("type: LRN", "type: FANCY")
    assert "FANCY, SWISHY" in bad(tmp_path, old)


def test_fields_that_change_nothing_are_passed_over(tmp_path: Path) -> None:
    more = "engine: CAFFE } propagate_down: true phase: TEST loss_weight: 1 loss_param { ignore_label: 255 "
    text = "force_backward: true state { phase: TEST level: 0 stage: 'deploy' } debug_info: false\n" + head()
    text += conv("data", "c", 2, 16, more) + layer("Flatten", "c", "f")
    prototxt, model = make(tmp_path, text)
    assert load(prototxt, weights=model).classes == 2


REFUSALS = {
    "text cut short": (head()[:-8], "damaged"),
    "no layers": ('name: "n"\n', "no layers"),
    "no input": (conv("data", "c", 2, 3), "no input layer"),
    "no window": (
        'layer { name: "d" type: "Data" top: "data" }' + conv("data", "c", 2, 3), "does not state its window"
    ),
    "unknown value": (head() + conv("dato", "c", 2, 3), "dato, which no earlier layer computes"),
    "two scores": (head() + conv("data", "a", 2, 3) + conv("data", "b", 2, 3), "2 outputs: a, b"),
    "groups": (head() + conv("data", "c", 4, 3, "group: 2"), "3 -> 4 channels in 2 groups"),
    "kernel too large": (head() + conv("data", "c", 4, 33), r"c \(Convolution\)"),
    "too many weights": (head() + connected("data", "c", 2**31), "bytes allowed"),
    "too large a window": (head(3, 2**20, 2**20) + conv("data", "c", 4, 3), "bytes allowed"),
    "too much work": (head(3, 2000, 2000) + conv("data", "c", 2, 1999, "pad: 900") , "multiply-adds"),
    "batch statistics": (head() + layer("BatchNorm", "data", "b", "batch_norm_param { use_global_stats: false }"),
                         "use_global_stats"),
    "batch reshaped": (head() + layer("Reshape", "data", "r", "reshape_param { shape { dim: -1 dim: 3 } }"), "batch"),
    "batch joined": (head() + layer("Concat", "data data", "r", "concat_param { axis: 0 }"), "is the batch"),
    "stochastic": (head() + pool("data", "p", 2, 2, "STOCHASTIC"), "stochastic"),
    "even lrn": (head() + layer("LRN", "data", "l", "lrn_param { local_size: 4 }"), "odd"),
    "filler": (head() + conv("data", "c", 2, 3, 'weight_filler { type: "magic" }'), "magic"),
    "map": (head() + conv("data", "c", 2, 3), "score vector"),
    "mixed": (head() + "layers { }", "mixes"),
    "misspelt": (head() + conv("data", "c", 2, 3, "strid: 2 # kind: of\n dilate: 'size: 3'"),
                 r"does not know: strid \(line 2, meant as stride\?\), dilate \(line 3, meant as dilation\?\)"),
    "misspelt block": (head() + conv("data", "c", 2, 3, "weight_fillers { std: 1 magic: 2 }"),
                       r"does not know: weight_fillers \(line 2, meant as weight_filler\?\)\n"),
    "another's field": (head() + layer("ReLU", "data", "r", "relu_param { negative_slope: 0 engine: CUDNN max: 6 }"),
                        r"does not know: max \(line 2\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_is_wrong(case: str, tmp_path: Path) -> None:
    text, reason = REFUSALS[case]
    assert re.search(reason, bad(tmp_path, text))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    a, b = make(tmp_path, residual_like(), name="a"), make(tmp_path, inception_like(), name="b")
    with pytest.raises(CaptureError, match="has no weights for a, bn1, sc1, b, fc"):
        load(a[0], weights=b[1])
    wider = tmp_path / "wider.prototxt"
    wider.write_text(residual_like().replace("num_output: 4", "num_output: 5"))
    with pytest.raises(CaptureError, match=r"fc \(InnerProduct\).*4x720.*5x720"):
        load(wider, weights=a[1])
    with pytest.raises(CaptureError, match=r"is a \.prototxt"):
        load(a[1], weights=a[0])
    with pytest.raises(CaptureError, match="leave out weights="):
        load(Path(fullfield.__file__).parent / "data" / "rnet.onnx", weights=a[1])


def test_another_window_can_be_asked_for(tmp_path: Path) -> None:
    prototxt, model = make(tmp_path, inception_like())
    network = load(prototxt, weights=model, window=(40, 36))
    assert network(torch.randn(2, 3, 40, 36)).shape == (2, 5)


def test_a_loaded_network_is_written_as_onnx_and_back(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from fullfield.model.save import save

    prototxt, model = make(tmp_path, alexnet_like())
    network = load(prototxt, weights=model)
    x = torch.randn(2, 3, 67, 67)
    assert torch.allclose(load(save(network, tmp_path / "n.onnx"))(x), network(x), atol=1e-6)


def test_the_drawn_numbers_differ_between_layers() -> None:
    """The comparison above would pass on zeros alone."""
    linear = torch.nn.Linear(8, 8)
    draw(linear)
    assert linear.weight.unique().numel() > 8


SHARED = (
    head(3, 9, 9)
    + layer("Convolution", "data", "a", 'param { name: "w" lr_mult: 3 } param { name: "b" lr_mult: 2 decay_mult: 0 } '
            'convolution_param { num_output: 3 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } }')
    + layer("Convolution", "a", "b", 'param { name: "w" } param { name: "b" lr_mult: 2 } '
            'convolution_param { num_output: 3 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } }')
    + layer("InnerProduct", "b", "f", "param { lr_mult: 0 } inner_product_param { num_output: 4 }")
)  # fmt: skip


def factors(module: torch.nn.Module) -> list[tuple[float, float, int]]:
    groups = parameter_groups(module, lr=1.0, weight_decay=0.5)
    return [(g["lr"], g["weight_decay"], sum(p.numel() for p in g["params"])) for g in groups]


def test_factors_stay_with_copies_and_moved_modules(tmp_path: Path) -> None:
    prototxt, model = make(tmp_path, SHARED)
    network, module = load(prototxt, weights=model), trained(prototxt, model).module
    wanted = [(1.0, 0.5, 4), (2.0, 0.0, 3), (3.0, 0.5, 81)]
    for one in (network.graph, network.to("cpu").graph, network.to(torch.float64).graph, copy.deepcopy(network.graph)):
        assert factors(one) == wanted
    for one in (module, copy.deepcopy(module).double(), pickle.loads(pickle.dumps(module))):
        assert factors(one) == wanted
    assert factors(torch.nn.Sequential(module, torch.nn.Linear(4, 2))) == [(1.0, 0.5, 14), *wanted[1:]]


def test_parameters_shared_by_name_are_one(tmp_path: Path) -> None:
    module = trained(*make(tmp_path, SHARED)).module
    assert module.a.weight is module.b.weight
    assert module.a.bias is module.b.bias
    module(torch.randn(1, 3, 9, 9)).sum().backward()
    assert module.a.weight.grad is not None


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('param { name: "w" }', 'param { name: "w" lr_mult: 5 }', "another lr_mult: lr_mult 5.0 and 3.0"),
        ('param { name: "w" } param { name: "b" lr_mult: 2 }', 'param { name: "b" }', "'b' of 3, but needs 3x3x3x3"),
    ],
)
def test_layers_that_share_a_parameter_must_agree(old: str, new: str, what: str, tmp_path: Path) -> None:
    assert old in SHARED
    (tmp_path / "net.prototxt").write_text(SHARED.replace(old, new))
    with pytest.raises(CaptureError, match=what):
        load(tmp_path / "net.prototxt")
