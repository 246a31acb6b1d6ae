"""The activation that a network ends in is known, and no scan, picture or export applies it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

import fullfield
from fullfield import Encoding, ImageError
from fullfield.model.model import Model
from tests.importers.caffe_files import head, layer, make
from tests.importers.onnx_models import model as onnx_model

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)


class Ending(nn.Module):
    """Five scores, and what follows them."""

    def __init__(self, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 8)
        nn.init.normal_(self.conv.weight, std=1e-3)
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.conv(x))


def ending(after: Callable[[Tensor], Tensor]) -> Model:
    return fullfield.load(Ending(after).double(), window=8)


def halves(y: Tensor, each: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([each(y[:, :2]), each(y[:, 2:])], 1).flatten(1)


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (lambda y: F.softmax(y.flatten(1), 1), "softmax"),
        (lambda y: F.softmax(y, 1), "softmax"),
        (lambda y: y.softmax(-3).squeeze(-1).squeeze(-1), "softmax"),
        (lambda y: torch.special.softmax(y.flatten(1), 1), "softmax"),
        (lambda y: y.flatten(1).unsqueeze(1).transpose(1, 2).softmax(1)[:, :, 0], "softmax"),
        (lambda y: y.sigmoid().flatten(1), "sigmoid"),
        (lambda y: torch.special.expit(y).flatten(1), "sigmoid"),
        (lambda y: halves(y, torch.sigmoid), "sigmoid"),
        (lambda y: F.log_softmax(y.flatten(1), 1), "log_softmax"),
        (lambda y: F.logsigmoid(y.flatten(1)), "log_sigmoid"),
        (lambda y: y.flatten(1), None),
        (lambda y: halves(y, lambda part: part.softmax(1)), None),
        (lambda y: torch.cat([y[:, :2].sigmoid(), y[:, 2:]], 1).flatten(1), None),
        (lambda y: y.flatten(1)[:, None].softmax(1)[:, 0], None),
        (lambda y: 0.5 * y.flatten(1).softmax(1), None),
    ],
)
def test_the_last_operator_that_computes_names_the_activation(
    after: Callable[[Tensor], Tensor], found: str | None
) -> None:
    assert ending(after).ends_in == found


@pytest.mark.parametrize("opset", [11, 17])
def test_the_softmax_of_an_onnx_file_is_known(opset: int, tmp_path: Path) -> None:
    nodes = [helper.make_node("GlobalMaxPool", ["x"], ["p"]), helper.make_node("Softmax", ["p"], ["y"], axis=1)]
    onnx.save(onnx_model(nodes, opset=opset), tmp_path / "net.onnx")
    assert fullfield.load(tmp_path / "net.onnx").ends_in == "softmax"


def test_the_softmax_of_a_caffe_file_is_known(tmp_path: Path) -> None:
    pool = layer("Pooling", "data", "p", "pooling_param { pool: MAX global_pooling: true }")
    definition, weights = make(tmp_path, head() + pool + layer("Softmax", "p", "y"))
    assert fullfield.load(definition, weights=weights).ends_in == "softmax"


def scanned(after: Callable[[Tensor], Tensor], **encoding: Any) -> NDArray[np.floating]:
    return fullfield.scan(ending(after), IMAGE, step=4, encoding=Encoding(**encoding)).array


@pytest.mark.parametrize(
    ("activation", "own"),
    [
        ("softmax", lambda y: y.flatten(1).softmax(1)),
        ("sigmoid", lambda y: y.flatten(1).sigmoid()),
        ("softmax", lambda y: F.log_softmax(y.flatten(1), 1)),
    ],
)
def test_probabilities_of_scan_and_network_are_the_same(activation: Any, own: Callable[[Tensor], Tensor]) -> None:
    found = scanned(own, activation=activation)
    np.testing.assert_allclose(found, scanned(lambda y: y.flatten(1), activation=activation), rtol=0, atol=1e-12)


def test_probabilities_of_the_network_itself_can_be_compared_with_its_crops() -> None:
    net = ending(lambda y: y.flatten(1).softmax(1))
    scores = fullfield.scan(net, IMAGE, step=4, encoding=Encoding(activation="softmax"), verify=8)
    assert scores.activation == "softmax"
    assert scores.certificate is not None
    assert scores.certificate.relative <= 1e-9


@pytest.mark.parametrize(
    ("wanted", "own"),
    [
        ("sigmoid", lambda y: y.flatten(1).softmax(1)),
        ("softmax", lambda y: y.flatten(1).sigmoid()),
        ("sigmoid", lambda y: F.log_softmax(y.flatten(1), 1)),
        ("sigmoid", lambda y: F.logsigmoid(y.flatten(1))),
    ],
)
def test_an_activation_of_probabilities_of_another_kind_is_refused(
    wanted: Any, own: Callable[[Tensor], Tensor]
) -> None:
    with pytest.raises(ImageError, match=rf"activation: .* went through \w+ already: {wanted}"):
        scanned(own, activation=wanted)


@pytest.mark.parametrize("output", [None, "map.zarr", "map.npz"])
def test_no_picture_applies_the_networks_own_softmax_again(output: str | None, tmp_path: Path) -> None:
    place = None if output is None else tmp_path / output
    scores = fullfield.scan(ending(lambda y: y.flatten(1).softmax(1)), IMAGE, step=4, output=place)
    if place is not None and place.suffix == ".zarr":
        scores = fullfield.open_scores(place)
    assert scores is not None
    for activation in ("softmax", "sigmoid"):
        with pytest.raises(ImageError, match="leave it out"):
            scores.class_map(0, activation)  # type: ignore[arg-type]


def test_labels_went_through_no_activation() -> None:
    net = ending(lambda y: y.flatten(1).softmax(1))
    assert fullfield.scan(net, IMAGE, step=4, encoding=Encoding(labels=True)).activation is None
