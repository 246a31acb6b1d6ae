"""Damaged Caffe files end in one of fullfield's errors or in a network; never in another exception, or slowly."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
import torch

from fullfield.errors import FullfieldError
from fullfield.importers.caffe.importer import read_network
from fullfield.importers.load import load

from .caffe_files import head, layer, make  # noqa: TID252 - tests are no package
from .mutations import mutations  # noqa: TID252

TEXT = (
    head(3, 14, 13)
    + layer("Convolution", "data", "c", "convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 }")
    + layer("BatchNorm", "c", name="bn") + layer("Scale", "c", body="scale_param { bias_term: true }", name="s")
    + layer("ReLU", "c", name="r") + layer("LRN", "c", "l", "lrn_param { local_size: 3 }")
    + layer("Pooling", "l", "p", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }")
    + layer("Slice", "p", "u v", "slice_param { slice_point: 2 }") + layer("Eltwise", "u v", "e")
    + layer("Reshape", "e", "q", "reshape_param { shape { dim: 0 dim: -1 } }")
    + layer("InnerProduct", "q", "f", "inner_product_param { num_output: 3 }") + layer("Softmax", "f", "prob")
)  # fmt: skip


def fuzz(folder: Path, count: int) -> tuple[int, int]:
    """Damaged definitions and weights in turn; how many were refused and how many read."""
    prototxt, model = make(folder, TEXT)
    bad_text, bad_model = folder / "bad.prototxt", folder / "bad.caffemodel"
    refused = read = 0
    texts = mutations(prototxt.read_bytes(), count // 3, 1)
    models = mutations(model.read_bytes(), count // 3, 2)
    alone = mutations(model.read_bytes(), count // 3, 3)
    for number, (text, weights, both) in enumerate(zip(texts, models, alone, strict=True)):
        for which, data in enumerate((text, weights, both)):
            (bad_text if which == 0 else bad_model).write_bytes(data)
            first = prototxt if which == 1 else bad_text if which == 0 else bad_model
            beside = {0: model, 1: bad_model, 2: None}[which]
            started = time.process_time()
            try:
                if number % 100 == 0:
                    load(first, weights=beside)
                else:
                    read_network(first, weights=beside)
                read += 1
            except FullfieldError:
                refused += 1
            assert time.process_time() - started < 20
    return refused, read


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_damaged_files_end_in_clear_errors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    refused, read = fuzz(tmp_path, 300)
    assert refused > 60
    assert read > 30


@pytest.mark.slow
def test_20000_damaged_files_end_in_clear_errors_in_bounded_memory(tmp_path: Path) -> None:
    before = peak_bytes()
    refused, read = fuzz(tmp_path, 20_000)
    assert refused + read >= 19_998
    assert peak_bytes() - before < 6 * 2**30
