"""Features of inner layers in scans, verification, tuning, stores and files, where they are no scores of classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import fullfield
from fullfield import Compute, Encoding, Target
from fullfield.cli import main
from fullfield.errors import FullfieldError
from fullfield.model.model import Model
from tests.oracle import shaken


class Padded(nn.Module):
    """Two padded convolutions and a head; a wide last map, as large networks have."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 5, 3, padding=1, stride=2), nn.Conv2d(5, width, 3, padding=1, stride=2)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.last(self.first(x).relu()).mean((2, 3)))
        return scores


def made(score: str, width: int = 6, dtype: torch.dtype = torch.float64) -> Model:
    torch.manual_seed(1)
    net = shaken(Padded(width)).to(dtype).eval()
    return fullfield.load(net, window=(16, 20), score=score, preprocessing="unit", name="padded")


IMAGE = np.random.default_rng(0).integers(0, 255, (41, 47, 3), dtype=np.uint8)
MODEL = made("last")


@pytest.mark.parametrize("score", ["last", "last:map", "first"])
@pytest.mark.parametrize("step", [4, (3, 5)])
def test_exact_features_equal_those_of_the_crops(score: str, step: int | tuple[int, int]) -> None:
    certificate = fullfield.verify(made(score), IMAGE, step=step, samples=9)
    assert certificate.verdict == "EXACT"
    assert certificate.relative <= 1e-9
    assert certificate.top1_agreement is None
    assert "top" not in str(certificate)


@pytest.mark.parametrize("method", ["atrous", "fragments", "shifted"])
def test_every_method_gives_the_features_of_the_crops(method: str) -> None:
    net = made("first")
    got = fullfield.scan(net, IMAGE, step=1, compute=Compute(method=method), where=fullfield.Where(region="0:20,0:24"))  # type: ignore[arg-type]
    pixels = torch.from_numpy(IMAGE.transpose(2, 0, 1).astype(np.float64) / 255)
    for i, j in ((0, 0), (2, 3), (4, 4)):
        crop = pixels[None, :, i : i + 16, j : j + 20]
        assert np.abs(got[:, i, j] - net(crop)[0].detach().numpy()).max() <= 1e-9 * np.ptp(got.array)


def test_context_and_the_fully_convolutional_network_have_features_too() -> None:
    certificate = fullfield.verify(MODEL, IMAGE, step=4, mode="context", samples=9)
    assert "of the features' range" in certificate.verdict
    assert "top" not in certificate.verdict
    crop = torch.from_numpy(IMAGE.transpose(2, 0, 1)[None, :, :16, :20].astype(np.float64) / 255)
    alone = fullfield.convert(MODEL)(crop)
    assert alone.shape == (1, 6, 1, 1)
    torch.testing.assert_close(alone.flatten(1), MODEL(crop), rtol=0, atol=1e-12)


def test_tuning_leaves_out_the_top_class() -> None:
    tuning = fullfield.tune(MODEL, IMAGE, step=4, samples=9)
    assert "same top" not in str(tuning).splitlines()[3]
    assert all(each.agreement is None for each in tuning.candidates)
    assert json.loads(json.dumps(tuning.to_dict()))["best"]["agreement"] is None
    found = fullfield.scan(MODEL, IMAGE, step=4, mode=Target(0.5))
    assert found.certificate is not None
    assert found.certificate.verdict.startswith("HOLDS")
    assert "top class" not in found.certificate.verdict


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": Encoding(labels=True)}, r"labels: means nothing for features"),
        ({"encoding": Encoding(activation="softmax")}, r"activation: means nothing for features"),
        ({"mode": Target(agreement=0.9)}, r"agreement: 0.9 of top classes: features \(last, mean .*\) have none"),
    ],
)
def test_what_only_classes_have_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(FullfieldError, match=message):
        fullfield.scan(MODEL, IMAGE, step=4, **options)  # type: ignore[arg-type]


def test_stores_and_saved_models_say_of_which_layer_the_features_are(tmp_path: Path) -> None:
    stored = fullfield.scan(MODEL, IMAGE, step=4, output=tmp_path / "a.zarr", verify=5)
    assert stored is not None
    assert stored.features == MODEL.features == "last, mean over 4x5 cells"
    again = fullfield.open_scores(tmp_path / "a.zarr")
    assert (again.features, again.class_names) == (stored.features, None)
    assert again.certificate is not None
    assert again.certificate.top1_agreement is None
    assert "6 x 7x7 float64 features (last, mean over 4x5 cells)" in repr(again)
    assert "channel 3" in again._repr_html_()
    channels = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]["ome"]["omero"]["channels"]
    assert channels[2]["label"] == "channel 2"
    fullfield.save(MODEL, tmp_path / "a.onnx")
    assert fullfield.load(tmp_path / "a.onnx").features == MODEL.features
    assert fullfield.info(tmp_path / "a.zarr").facts["features"] == MODEL.features


def test_only_some_channels_can_be_stored() -> None:
    found = fullfield.scan(MODEL, IMAGE, step=4, encoding=Encoding(classes=(4, 1)))
    assert found.map.spec.titles == ("channel 4", "channel 1")
    assert np.array_equal(found[1], fullfield.scan(MODEL, IMAGE, step=4)[1])


def test_two_thousand_features_a_window_are_scanned_and_stored_within_the_budget(tmp_path: Path) -> None:
    net = made("last", 2048, torch.float32)
    compute = Compute(budget="48MB")
    assert fullfield.plan(net, IMAGE, step=2, compute=compute).memory.total_bytes <= 48e6
    found = fullfield.scan(net, IMAGE, step=2, output=tmp_path / "a.zarr", compute=compute, verify=4)
    assert found is not None
    assert found.shape == (2048, 13, 14)
    assert found.certificate is not None
    assert found.certificate.verdict == "EXACT"


def test_the_command_line_tells_features_without_classes(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    fullfield.save(made("head", dtype=torch.float32), tmp_path / "a.onnx")
    model, image = str(tmp_path / "a.onnx"), str(tmp_path / "a.png")

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    said = run("scan", model, image, "--score", "last", "--step", "4", "--verify", "4")
    assert "map      7x7 cells, 6 features, float32, exact\nfeatures last, mean over 4x5 cells\n" in said
    assert "top" not in said
    assert "highest" not in said
    facts = json.loads(run("scan", model, image, "--score", "first:map", "--step", "4", "--json"))
    assert facts["features"] == "first, all 5x8x10 numbers"
    assert "top" not in facts
    assert "-> 6 features (last, mean over 4x5 cells)" in run("inspect", model, "--score", "last")
    assert json.loads(run("inspect", model, "--score", "last", "--json"))["scores_of"] == "last, mean over 4x5 cells"
    assert "features' range" in run("verify", model, image, "--score", "last", "--mode", "context", "--step", "4")
    assert "7x7 windows" in run("plan", model, image, "--score", "last", "--step", "4")
    assert "same top" not in run("tune", model, image, "--score", "last", "--step", "4").split("Error")[0]
    assert "6 scores" in run("convert", model, "--score", "last", "-o", str(tmp_path / "b.onnx"))
    assert fullfield.load(tmp_path / "b.onnx", window=(16, 20)).features == "last, mean over 4x5 cells"
    assert "did you mean 'last'" in run("scan", model, image, "--score", "lastt", code=1)
    assert "labels: means nothing for features" in run("scan", model, image, "--score", "last", "--labels", code=1)
    assert "features" in run("info", model, "--score", "last")
