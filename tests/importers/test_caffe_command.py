"""``fullfield convert`` on Caffe's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fullfield.cli import main
from fullfield.importers.caffe.importer import read_network

from .caffe_files import head, layer, make, trained  # noqa: TID252 - tests are no package

TEXT = (
    head(3, 11, 9)
    + layer("Convolution", "data", "c", "convolution_param { num_output: 4 kernel_size: 3 }")
    + layer("ReLU", "c", name="r")
    + layer("InnerProduct", "c", "fc", "inner_product_param { num_output: 5 }")
    + layer("Softmax", "fc", "prob")
)


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.output


def test_a_network_becomes_two_files_that_take_larger_images(tmp_path: Path) -> None:
    files, out = make(tmp_path, TEXT), (tmp_path / "fcn.prototxt", tmp_path / "fcn.caffemodel")
    code, text = run("convert", *files, "-o", *out)
    assert (code, "images from 11x9 px" in text) == (0, True)
    fcn = read_network(out[0], weights=out[1]).module.eval()
    x = torch.randn(1, 3, 14, 13)
    crop = trained(*files).module(x[:, :, 2:13, 3:12])
    assert torch.allclose(fcn(x)[:, :, 2, 3], crop, atol=1e-6)
    assert run("convert", *files, "-o", *out)[0] == 1
    code, text = run("convert", *files, "-o", *out, "--overwrite", "--json")
    assert json.loads(text) == {
        "written": [str(path) for path in out],
        "smallest": [11, 9],
        "channels": 3,
        "parameters": 1377,
    }


def test_definition_and_weights_become_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    code, text = run("convert", *make(tmp_path, TEXT), "-o", tmp_path / "fcn.onnx")
    assert (code, "maps of 5 scores" in text) == (0, True)


def test_wrong_calls_are_usage_errors(tmp_path: Path) -> None:
    files = make(tmp_path, TEXT)
    assert run("convert", files[0], "-o", tmp_path / "x.prototxt")[0] == 2
    assert run("convert", *files, "-o", tmp_path / "x.prototxt", tmp_path / "y", "--fold-batch-norm")[0] == 2
    assert run("convert", *files, tmp_path / "y", "-o", tmp_path / "x.onnx")[0] == 2
