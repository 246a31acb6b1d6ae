"""What a scan is asked to do, checked before the image is read."""

from pathlib import Path

import pytest
import torch
from torch import nn

import fullfield
from fullfield import ArgumentError, Compute, FullfieldError, GeometryError, ImageError, Where
from fullfield.jobs.request import OutputRequest, ScanRequest
from fullfield.planning import EXACT, Borders

MODEL = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
IMAGE = torch.rand(3, 30, 32)


def model() -> fullfield.Model:
    return fullfield.load(MODEL, window=8)


def test_a_request_holds_what_was_asked_for_in_one_form() -> None:
    request = ScanRequest.parse(model(), IMAGE, step=4, mode=(2, 7), compute=Compute(tile=3), samples=5)
    assert (request.step, request.borders, request.compute.tile_shape) == ((4, 4), Borders(2, 7), (3, 3))
    assert (request.samples, request.where.edge, request.target) == (5, "valid", None)
    assert ScanRequest.parse(model(), IMAGE).borders == EXACT


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"step": 0}, GeometryError, "step: 0 is not one or two positive integers"),
        ({"mode": "exactly"}, GeometryError, "mode: 'exactly' is not known"),
        ({"verify": -1}, GeometryError, "verify: -1 is not a positive integer"),
        ({"existing": "replace"}, GeometryError, "existing: 'replace' is not known"),
        ({"stride": 4}, ArgumentError, "write step=32"),
        ({"overlap": 0.5}, ArgumentError, "write step=: px between neighbouring windows"),
        ({"batch_size": 8}, ArgumentError, r"write compute=Compute\(tile="),
        ({"region": "0:4,0:4"}, ArgumentError, r"write where=Where\(region=...\)"),
        ({"border": 2}, ArgumentError, r"write mode=2"),
        ({"keep": None}, ArgumentError, r"write encoding=Encoding"),
        ({"compute": Compute(world=2)}, GeometryError, "world: scores in memory"),
    ],
)
def test_what_means_nothing_is_refused_with_what_to_write(
    given: dict[str, object], kind: type[FullfieldError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        fullfield.scan(model(), IMAGE, **given)  # type: ignore[call-overload]


@pytest.mark.parametrize("verb", [fullfield.plan, fullfield.verify, fullfield.tune])
def test_every_verb_suggests_the_argument_that_was_meant(verb: object) -> None:
    with pytest.raises(ArgumentError, match="step=32"):
        verb(model(), IMAGE, stride=4)  # type: ignore[operator]


def test_exact_with_a_border_is_no_longer_two_arguments_that_contradict() -> None:
    with pytest.raises(ArgumentError):
        fullfield.scan(model(), IMAGE, mode="exact", border=0)  # type: ignore[call-overload]


def test_an_output_is_a_store_or_a_file_of_a_known_format(tmp_path: Path) -> None:
    assert OutputRequest.parse(tmp_path / "a.zarr", "resume").is_store
    assert not OutputRequest.parse(tmp_path / "a.tif", "resume").is_store
    with pytest.raises(ImageError, match="names no format"):
        OutputRequest.parse(tmp_path / "a.txt", "resume")
    (tmp_path / "b.tif").write_bytes(b"x")
    with pytest.raises(ImageError, match="exists already"):
        OutputRequest.parse(tmp_path / "b.tif", "resume")
    assert OutputRequest.parse(tmp_path / "b.tif", "overwrite").overwrite


def test_a_scan_in_a_region_and_beyond_the_edge_is_one_record() -> None:
    whole = fullfield.scan(model(), IMAGE, step=4, where=Where(edge="reflect"))
    part = fullfield.scan(model(), IMAGE, step=4, where=Where(region="0:16,0:32", edge="reflect"))
    assert whole.shape[1:] == (8, 8)
    assert part.shape[1:] == (4, 8)
