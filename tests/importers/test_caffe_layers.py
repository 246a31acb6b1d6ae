"""Every Caffe layer equals that of OpenCV's importer of the same files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from .caffe_files import head, layer, make, trained  # noqa: TID252 - tests are no package

cv2 = pytest.importorskip("cv2")

CONV = "convolution_param { num_output: 6 kernel_size: 3 }"

ONE_LAYER = {
    "conv": ("Convolution", "convolution_param { num_output: 5 kernel_size: 3 }"),
    "conv without bias": ("Convolution", "convolution_param { num_output: 5 kernel_size: 3 bias_term: false }"),
    "conv padded, strided": ("Convolution", "convolution_param { num_output: 5 kernel_size: 3 pad: 1 stride: 2 }"),
    "conv in groups": ("Convolution", "convolution_param { num_output: 8 kernel_size: 3 group: 4 }"),
    "conv depthwise": ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 group: 4 pad: 1 }"),
    "conv dilated": ("Convolution", "convolution_param { num_output: 5 kernel_size: 3 dilation: 2 pad: 2 }"),
    "conv unequal": (
        "Convolution",
        "convolution_param { num_output: 5 kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2 stride_h: 2 stride_w: 1 }",
    ),
    "deconv": ("Deconvolution", "convolution_param { num_output: 5 kernel_size: 4 stride: 2 pad: 1 }"),
    "deconv in groups": (
        "Deconvolution",
        "convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 bias_term: false }",
    ),
    "max": ("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"),
    "max padded": ("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }"),
    "max unequal": (
        "Pooling",
        "pooling_param { pool: MAX kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 3 pad_h: 0 pad_w: 1 }",
    ),
    "mean": ("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"),
    "mean padded": ("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
    "mean, last window clipped": ("Pooling", "pooling_param { pool: AVE kernel_size: 4 stride: 3 pad: 1 }"),
    "global mean": ("Pooling", "pooling_param { pool: AVE global_pooling: true }"),
    "global max": ("Pooling", "pooling_param { pool: MAX global_pooling: true }"),
    "fully connected": ("InnerProduct", "inner_product_param { num_output: 7 }"),
    "relu": ("ReLU", ""),
    "leaky": ("ReLU", "relu_param { negative_slope: 0.1 }"),
    "prelu": ("PReLU", ""),
    "prelu shared": ("PReLU", "prelu_param { channel_shared: true }"),
    "elu": ("ELU", ""),
    "sigmoid": ("Sigmoid", ""),
    "tanh": ("TanH", ""),
    "abs": ("AbsVal", ""),
    "bnll": ("BNLL", ""),
    "power": ("Power", "power_param { power: 2 scale: 0.5 shift: 1.5 }"),
    "lrn across": ("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 }"),
    "lrn within": ("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 norm_region: WITHIN_CHANNEL }"),
    "dropout": ("Dropout", "dropout_param { dropout_ratio: 0.4 }"),
    "softmax": ("Softmax", ""),
    "batch norm": ("BatchNorm", "batch_norm_param { eps: 0.01 }"),
    "scale": ("Scale", "scale_param { bias_term: true }"),
    "flatten": ("Flatten", ""),
    "reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 11 dim: 2 } }"),
    "mvn": ("MVN", "mvn_param { eps: 1e-9 }"),
}


def compare(prototxt: Path, model: Path, shape: tuple[int, ...], bound: float = 2e-6) -> None:
    """Compares both importers on one random window; the bound is relative to the largest value."""
    x = np.random.default_rng(5).standard_normal((1, *shape)).astype(np.float32)
    network = trained(prototxt, model)
    ours = network.module(torch.from_numpy(x)).detach().numpy()
    net = cv2.dnn.readNetFromCaffe(str(prototxt), str(model))
    net.setInput(x)
    theirs = net.forward()
    assert ours.shape == theirs.shape or ours.size == theirs.size == max(ours.shape)
    assert np.abs(ours.reshape(theirs.shape) - theirs).max() <= bound * max(1.0, np.abs(theirs).max())


@pytest.mark.parametrize("case", ONE_LAYER)
@pytest.mark.parametrize("size", [(12, 11), (13, 10)])
def test_a_layer_gives_what_opencv_gives(case: str, size: tuple[int, int], tmp_path: Path) -> None:
    kind, body = ONE_LAYER[case]
    if case == "reshape":
        size = (11, 10)
    compare(*make(tmp_path, head(4, *size) + layer(kind, "data", "y", body)), (4, *size))


JOINTS = {
    "sum": ("Eltwise", "eltwise_param { operation: SUM }"),
    "weighted sum": ("Eltwise", "eltwise_param { operation: SUM coeff: 1 coeff: -0.5 }"),
    "product": ("Eltwise", "eltwise_param { operation: PROD }"),
    "largest": ("Eltwise", "eltwise_param { operation: MAX }"),
    "concat": ("Concat", ""),
    "concat by its old name": ("Concat", "concat_param { concat_dim: 1 }"),
}


@pytest.mark.parametrize("case", JOINTS)
def test_a_joint_gives_what_opencv_gives(case: str, tmp_path: Path) -> None:
    kind, body = JOINTS[case]
    text = head(3, 9, 8) + layer("Convolution", "data", "a", CONV) + layer("Convolution", "data", "b", CONV)
    compare(*make(tmp_path, text + layer(kind, "a b", "y", body)), (3, 9, 8))


def test_slices_and_splits_give_what_opencv_gives(tmp_path: Path) -> None:
    text = head(3, 9, 8) + layer("Convolution", "data", "c", CONV)
    text += layer("Slice", "c", "s t u", "slice_param { slice_point: 1 slice_point: 4 }")
    text += layer("Split", "t", "t1 t2") + layer("Eltwise", "t1 t2", "e") + layer("Concat", "u e s", "y")
    compare(*make(tmp_path, text), (3, 9, 8))


def test_a_crop_gives_what_opencv_gives(tmp_path: Path) -> None:
    text = head(3, 12, 11) + layer("Convolution", "data", "small", CONV)
    text += layer("Convolution", "data", "big", "convolution_param { num_output: 6 kernel_size: 1 }")
    text += layer("Crop", "big small", "c", "crop_param { axis: 2 offset: 1 offset: 2 }")
    compare(*make(tmp_path, text + layer("Eltwise", "c small", "y")), (3, 12, 11))


def test_layers_in_place_replace_what_they_read(tmp_path: Path) -> None:
    text = head(3, 12, 12) + layer("Convolution", "data", "c", CONV)
    text += layer("BatchNorm", "c", "c", name="bn") + layer(
        "Scale", "c", "c", "scale_param { bias_term: true }", name="s"
    )
    text += (
        layer("ReLU", "c", "c", name="r") + layer("Convolution", "c", "d", CONV) + layer("PReLU", "d", "d", name="p")
    )
    text += layer("InnerProduct", "d", "f", "inner_product_param { num_output: 4 }") + layer("Softmax", "f", "prob")
    compare(*make(tmp_path, text), (3, 12, 12))


def test_a_pool_padded_beyond_half_its_kernel_divides_by_its_area_in_the_padded_map(tmp_path: Path) -> None:
    """Against a walk over the windows, as in ``pooling_layer.cpp``."""
    k, s, p, n = 3, 2, 2, 7
    for method in ("AVE", "MAX"):
        body = f"pooling_param {{ pool: {method} kernel_size: {k} stride: {s} pad: {p} }}"
        files = make(tmp_path, head(1, n, n) + layer("Pooling", "data", "y", body))
        x = torch.arange(float(n * n)).reshape(1, 1, n, n) - 20
        count = -(-(n + 2 * p - k) // s) + 1
        count -= (count - 1) * s >= n + p
        wanted = torch.empty(count, count)
        for i in range(count):
            for j in range(count):
                y0, x0 = i * s - p, j * s - p
                y1, x1 = min(y0 + k, n + p), min(x0 + k, n + p)
                area = (y1 - y0) * (x1 - x0)
                part = x[0, 0, max(y0, 0) : min(y1, n), max(x0, 0) : min(x1, n)]
                wanted[i, j] = part.sum() / area if method == "AVE" else part.max()
        assert torch.allclose(trained(*files).module(x)[0, 0], wanted, atol=1e-5)


def test_lrn_across_channels_has_its_k_which_opencv_leaves_out(tmp_path: Path) -> None:
    body = "lrn_param { local_size: 5 alpha: 0.5 beta: 0.75 k: 2 }"
    files = make(tmp_path, head(7, 4, 4) + layer("LRN", "data", "y", body))
    x = torch.randn(2, 7, 4, 4)
    energy = torch.stack([(x[:, max(0, c - 2) : c + 3] ** 2).sum(1) for c in range(7)], 1)
    assert torch.allclose(trained(*files).module(x), x / (2 + 0.5 / 5 * energy) ** 0.75, atol=1e-6)
