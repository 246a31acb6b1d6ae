"""Scans: the contract that every score is the crop's, whatever the network, image, step, tile and type."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import fullfield
from fullfield import BudgetError, Compute, FullfieldError, GeometryError, ImageError, UnsupportedError, Where
from fullfield.api.plan import plan
from fullfield.importers.load import load
from fullfield.model.model import Model
from tests.api import networks
from tests.api.networks import WINDOW, Attention, Branches, Gate, Positions, made, picture
from tests.requests import grouped, job_of

Make = Callable[[], nn.Module]
SHARED: list[Make] = [networks.unpadded, networks.padded, Branches]
WHOLE: list[Make] = [networks.gated, networks.normed, Attention, Positions]
ALL = SHARED + WHOLE
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def crops(net: Model, image: NDArray[np.floating], step: tuple[int, int]) -> NDArray[np.floating]:
    """The original network on every window, by itself. Shape: ``(k, y, x)``"""
    (h, w), (sy, sx) = net.window, step
    x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(net.dtype)
    rows, columns = (image.shape[0] - h) // sy + 1, (image.shape[1] - w) // sx + 1
    windows = [
        x[:, i * sy : i * sy + h, j * sx : j * sx + w] for i, j in itertools.product(range(rows), range(columns))
    ]
    with torch.inference_mode():
        scores = torch.cat([net(window[None]) for window in windows])
    return scores.double().numpy().T.reshape(-1, rows, columns)


def off(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Largest difference over the range of what is wanted."""
    assert found.shape == wanted.shape
    return float(np.abs(found.astype(np.float64) - wanted).max() / np.ptp(wanted))


@pytest.mark.parametrize("step", [1, 3, 4, 8, (5, 2), 25, (7, 30)])
@pytest.mark.parametrize("make", ALL)
def test_exact_scores_are_the_crops(make: Make, step: int | tuple[int, int]) -> None:
    net = made(make)
    image = picture(31, 34) if step == 1 else picture()
    pair = (step, step) if isinstance(step, int) else step
    wanted = crops(net, image, pair)
    for tile in (None, (9, 9)):  # as the plan likes, which may be as crops, and sharing all that can be shared
        scores = fullfield.scan(net, image, step=step, compute=Compute(tile=tile))
        assert scores.array.dtype == np.float64
        assert scores.mode == "exact"
        assert off(scores.array, wanted) <= 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [*SHARED, networks.gated, Attention])
def test_scores_have_the_network_s_type(make: Make, dtype: torch.dtype) -> None:
    net = made(make, dtype=dtype)
    image = picture().astype(np.float32)
    scores = fullfield.scan(net, image, step=4)
    kinds = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "float32"}
    assert scores.array.dtype == kinds[dtype]
    assert off(scores.array, crops(net, image, (4, 4))) <= TOLERANCE[dtype]


def test_a_module_turned_to_double_scans_in_float64() -> None:
    torch.manual_seed(0)
    module = networks.padded().eval()
    net = load(module, window=WINDOW)
    assert fullfield.scan(net, picture(), step=8).array.dtype == np.float32
    double = load(module.double(), window=WINDOW)
    assert off(fullfield.scan(double, picture(), step=8).array, crops(double, picture(), (8, 8))) <= 1e-12


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("tile", [(1, 1), (2, 3), (1, 40), (40, 1), (50, 50)])
def test_the_tile_does_not_show(make: Make, tile: tuple[int, int]) -> None:
    net = made(make)
    first = fullfield.scan(net, picture(), step=4, compute=Compute(tile=tile)).array
    assert off(first, crops(net, picture(), (4, 4))) <= 1e-9
    assert first.tobytes() == fullfield.scan(net, picture(), step=4, compute=Compute(tile=tile)).array.tobytes()


@pytest.mark.parametrize("step", [4, 3])
@pytest.mark.parametrize("make", SHARED)
def test_the_tile_does_not_show_in_context_mode(make: Make, step: int) -> None:
    net = made(make)
    whole = fullfield.scan(net, picture(), step=step, mode="context", compute=Compute(tile=(50, 50))).array
    for tile in ((1, 1), (3, 2), (1, 7)):
        assert (
            off(fullfield.scan(net, picture(), step=step, mode="context", compute=Compute(tile=tile)).array, whole)
            <= 1e-9
        )


@pytest.mark.parametrize("size", [(20, 24), (20, 53), (49, 24), (33, 47), (61, 67)])
def test_any_size_of_image_from_one_window_up(size: tuple[int, int]) -> None:
    net = made(networks.padded)
    image = picture(*size)
    scores = fullfield.scan(net, image, step=5)
    wanted = crops(net, image, (5, 5))
    assert scores.placement.shape == wanted.shape[1:]
    assert np.abs(scores.array - wanted).max() <= 1e-9 * np.ptp(crops(net, picture(), (5, 5)))


@pytest.mark.parametrize("window", [(16, 16), (17, 23), (29, 18)])
def test_any_window(window: tuple[int, int]) -> None:
    torch.manual_seed(3)
    net = load(networks.padded().double().eval(), window=window)
    assert off(fullfield.scan(net, picture(), step=6).array, crops(net, picture(), (6, 6))) <= 1e-9


def test_the_default_step_is_the_network_s_stride() -> None:
    assert fullfield.scan(made(networks.padded), picture()).placement.step == (4, 4)
    assert fullfield.scan(made(Attention), picture()).placement.step == (4, 4)


def test_every_kind_of_image_gives_the_same_scores(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 56, 3), dtype=np.uint8)
    net = made(networks.padded).with_preprocessing("imagenet")
    Image.fromarray(pixels).save(tmp_path / "p.png")
    wanted = fullfield.scan(net, pixels, step=8).array
    others: list[object] = [
        torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
        Image.fromarray(pixels),
        tmp_path / "p.png",
        str(tmp_path / "p.png"),
    ]
    for other in others:
        np.testing.assert_array_equal(fullfield.scan(net, other, step=8).array, wanted)
    preprocessed = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert off(wanted, crops(net, preprocessed, (8, 8))) <= 1e-9


def test_modules_and_files_that_know_their_window_are_scanned_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = networks.padded().eval()
    module.pretrained_cfg = {"input_size": (3, *WINDOW)}  # type: ignore[assignment]
    wanted = fullfield.scan(load(module, window=WINDOW), picture(), step=8).array
    np.testing.assert_array_equal(fullfield.scan(module, picture(), step=8).array, wanted)
    path = fullfield.save(load(module, window=WINDOW), tmp_path / "n.onnx")
    assert off(fullfield.scan(path, picture(), step=8).array, wanted.astype(np.float64)) <= 1e-4


def test_scale_resizes_the_image_once_before_the_scan() -> None:
    net = made(networks.padded)
    image = picture(80, 100)
    scores = fullfield.scan(net, image, step=4, scale=0.5)
    assert scores.placement.scanned == (40, 50)
    assert scores.placement.image == (80, 100)
    assert scores.placement.centre(0, 0) == (20.0, 24.0)
    source = job_of(net, image, step=4, scale=0.5).source
    assert off(scores.array, crops(net, source.read(0, 40, 0, 50).transpose(1, 2, 0), (4, 4))) <= 1e-9


def test_a_network_without_weights_is_scanned_too() -> None:
    class Bright(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.max_pool2d(x, 3, 2, 1).mean((2, 3))

    net = load(Bright(), window=16, channels=3)
    image = picture(40, 40).astype(np.float32)
    assert off(fullfield.scan(net, image, step=4).array, crops(net, image, (4, 4))) <= 1e-4


def test_scores_say_where_they_lie_and_what_made_them() -> None:
    net = made(networks.padded)
    scores = fullfield.scan(net, picture(), step=(4, 8), mode="context", compute=Compute(budget="1GB"))
    assert scores.placement.window == WINDOW
    assert scores.placement.step == (4, 8)
    assert scores.placement.shape == (8, 5)
    assert scores.placement.image == scores.placement.scanned == (50, 61)
    told = scores.provenance
    assert told["fullfield"] == fullfield.__version__
    assert told["model"] == net.name
    assert told["model_hash"] == net.hash
    assert told["settings"]["step"] == [4, 8]
    assert told["settings"]["mode"] == scores.mode == "context"
    assert scores.certificate is None


def test_class_names_come_along() -> None:
    torch.manual_seed(0)
    names = ("a", "b", "c", "d", "e")
    net = load(networks.unpadded().eval(), window=WINDOW, class_names=names)
    assert fullfield.scan(net, picture(), step=8).class_names == names


def test_scores_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    scores = fullfield.scan(made(networks.padded), picture(), step=8, verify=6)
    scores.save(tmp_path / "s.zarr")
    back = fullfield.open_scores(tmp_path / "s.zarr")
    np.testing.assert_array_equal(back.array, scores.array)
    assert back.placement == scores.placement
    assert back.provenance == scores.provenance
    assert back.certificate == scores.certificate
    assert back.certificate is not None
    assert back.certificate.verdict == "EXACT"


@pytest.mark.parametrize("make", SHARED)
@pytest.mark.parametrize("size", [(48, 56), (50, 61), (53, 71)])
def test_context_scores_are_the_converted_module_s_on_the_whole_image(make: Make, size: tuple[int, int]) -> None:
    net = made(make)
    image = picture(*size)
    scores = fullfield.scan(net, image, mode="context")
    x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        wanted = fullfield.convert(net)(x)[0].numpy()
    rows, columns = scores.placement.shape
    assert off(scores.array, wanted[:, :rows, :columns]) <= 1e-9


def test_context_differs_where_layers_pad_and_nowhere_else() -> None:
    padded, unpadded = made(networks.padded), made(networks.unpadded)
    assert off(fullfield.scan(padded, picture(), mode="context").array, crops(padded, picture(), (4, 4))) > 1e-3
    assert off(fullfield.scan(unpadded, picture(), mode="context").array, crops(unpadded, picture(), (4, 4))) <= 1e-9


@pytest.mark.parametrize(
    ("make", "reason"),
    [(networks.tokens, "attention"), (Attention, "position embedding"), (Positions, "position embedding")],
)
def test_context_refuses_by_name_what_has_no_meaning_in_it(make: Make, reason: str) -> None:
    with pytest.raises(UnsupportedError, match="not fully convolutional") as caught:
        fullfield.scan(made(make), picture(), step=8, mode="context")
    assert reason in caught.value.what
    assert 'mode="exact"' in caught.value.fix
    assert off(fullfield.scan(made(make), picture(), step=8).array, crops(made(make), picture(), (8, 8))) <= 1e-9


def test_the_border_goes_from_context_to_exact() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * WINDOW[0] * WINDOW[1], 5)).double().eval()
    net = load(module, window=WINDOW)
    wanted = crops(net, picture(), (5, 5))
    found = {b: fullfield.scan(net, picture(), step=5, mode=b).array for b in (0, 1, 2, 3, 4, 5, 40)}
    errors = [float(np.abs(f - wanted).mean()) for f in found.values()]
    np.testing.assert_array_equal(found[0], fullfield.scan(net, picture(), step=5, mode="context").array)
    assert off(fullfield.scan(net, picture(), step=5, mode="exact").array, wanted) <= 1e-9
    assert off(found[5], wanted) <= 1e-9
    assert off(found[40], wanted) <= 1e-9
    assert errors[:5] == sorted(errors[:5], reverse=True)
    assert errors[1] < 0.75 * errors[0]
    assert fullfield.scan(net, picture(), step=5, mode=(0, 99)).mode == "context"
    assert off(fullfield.scan(net, picture(), step=5, mode=(0, 99)).array, wanted) <= 1e-9


def test_gates_slide_with_a_border() -> None:
    net = made(networks.gated)
    assert fullfield.scan(net, picture(), step=4, mode=3).mode == "context"
    assert off(fullfield.scan(net, picture(), step=4).array, crops(net, picture(), (4, 4))) <= 1e-9


@pytest.mark.parametrize("edge", ["reflect", "replicate", "constant"])
@pytest.mark.parametrize("size", [(50, 61), (13, 40), (9, 7), (20, 24)])
@pytest.mark.parametrize("step", [(4, 4), (7, 3)])
def test_beyond_the_edge_the_image_is_continued(edge: str, size: tuple[int, int], step: tuple[int, int]) -> None:
    net = made(networks.padded)
    image = picture(*size)
    scores = fullfield.scan(net, image, step=step, where=Where(edge=edge))
    assert scores.placement.shape == tuple(-(-n // s) for n, s in zip(size, step, strict=True))
    assert scores.placement.centre(0, 0) == (0.0, 0.0)
    assert scores.placement.centre(2, 1) == (2.0 * step[0], 1.0 * step[1])
    top, bottom, left, right = scores.placement.padding
    modes: dict[str, Any] = {"replicate": "edge"}
    continued = np.pad(image, ((top, bottom), (left, right), (0, 0)), mode=modes.get(edge, edge))
    wanted = crops(net, continued, step)
    found = scores.array
    assert off(found, wanted[:, : found.shape[1], : found.shape[2]]) <= 1e-9


def test_the_module_is_as_it_was_after_a_scan() -> None:
    torch.manual_seed(0)
    module = networks.padded()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    net = load(module, window=WINDOW)
    hashed = net.hash
    fullfield.scan(net, picture(), step=8)
    fullfield.scan(net, picture(), step=8, mode="context")
    assert net.hash == hashed
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def holed(value: float) -> NDArray[np.floating]:
    """An image with one pixel that is no number."""
    image = picture()
    image[3, 4, 1] = value
    return image


BAD: list[tuple[str, dict[str, Any], type[FullfieldError], str, str]] = [
    ("small image", {"image": picture(19, 60)}, ImageError, "19x60 px is smaller than the window of 20x24", "scale="),
    ("channels", {"image": np.zeros((50, 60, 4))}, ImageError, "4 channels", ""),
    ("NaN", {"image": holed(float("nan"))}, ImageError, "NaN", ""),
    ("infinity", {"image": holed(float("inf"))}, ImageError, "infinit", ""),
    ("no image", {"image": object()}, ImageError, "object", ""),
    ("missing file", {"image": "no-such-file.png"}, ImageError, "no-such-file.png", ""),
    ("step 0", {"step": 0}, GeometryError, "0 is not one or two positive integers", "1 or more"),
    ("step -3", {"step": (4, -3)}, GeometryError, "(4, -3)", "1 or more"),
    ("step 1.5", {"step": 1.5}, GeometryError, "1.5", "1 or more"),
    ("step text", {"step": "fine"}, GeometryError, "'fine'", "1 or more"),
    ("step true", {"step": True}, GeometryError, "True", "1 or more"),
    ("three steps", {"step": (4, 4, 4)}, GeometryError, "(4, 4, 4)", "1 or more"),
    ("step object", {"step": {}}, GeometryError, "{}", "1 or more"),
    ("mode", {"mode": "fast"}, GeometryError, "'fast'", 'use "exact", "context"'),
    ("mode type", {"mode": None}, GeometryError, "None is not one or two integers", 'use "exact", "context"'),
    ("edge", {"edge": "mirror"}, GeometryError, "'mirror'", "reflect"),
    ("edge type", {"edge": ["valid"]}, GeometryError, "['valid']", "reflect"),
    ("border", {"mode": -1}, GeometryError, "-1", "border cells"),
    ("border pair", {"mode": (1, -2)}, GeometryError, "(1, -2)", "border cells"),
    ("border text", {"mode": "all"}, GeometryError, "'all'", "border cells"),
    ("border float", {"mode": 1.5}, GeometryError, "1.5", "border cells"),
    ("border triple", {"mode": (1, 2, 3)}, GeometryError, "(1, 2, 3)", "border cells"),
    ("budget text", {"budget": "plenty"}, BudgetError, "'plenty'", "2GB"),
    ("budget 0", {"budget": 0}, BudgetError, "0 is no size", "2GB"),
    ("budget -1", {"budget": -1}, BudgetError, "-1", "2GB"),
    ("budget 1", {"budget": 1}, BudgetError, "window by window", "at least"),
    ("tile 0", {"tile": (0, 4)}, GeometryError, "(0, 4)", "1 or more"),
    ("tile int", {"tile": 4.5}, GeometryError, "4.5", "1 or more"),
    ("tile text", {"tile": "big"}, GeometryError, "'big'", "1 or more"),
    ("tile triple", {"tile": (1, 2, 3)}, GeometryError, "(1, 2, 3)", "1 or more"),
    ("scale 0", {"scale": 0}, ImageError, "0", ""),
    ("scale text", {"scale": "half"}, ImageError, "half", ""),
    ("scale NaN", {"scale": float("nan")}, ImageError, "nan", ""),
    ("scale too small", {"scale": 0.1}, ImageError, "smaller than the window", "scale="),
    ("verify", {"verify": -4}, GeometryError, "-4", ""),
]


@pytest.mark.parametrize(("options", "kind", "what", "fix"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_input_is_one_error_that_says_where_what_and_how_to_mend_it(
    options: dict[str, Any], kind: type[FullfieldError], what: str, fix: str
) -> None:
    options = {"image": picture(), "step": 8} | options
    with pytest.raises(FullfieldError) as caught:
        fullfield.scan(made(networks.padded), options.pop("image"), **grouped(options))
    assert type(caught.value) is kind
    assert what in str(caught.value)
    assert fix in caught.value.fix
    assert caught.value.where
    assert len(caught.value.fix) > 5


@pytest.mark.parametrize("net", [None, 3, torch.zeros(3)])
def test_what_is_no_network_is_refused(net: Any) -> None:
    with pytest.raises(FullfieldError, match="is not a model"):
        fullfield.scan(net, picture())


def test_a_window_that_is_wrong_for_the_model_is_refused() -> None:
    with pytest.raises(FullfieldError, match="does not run on windows of 40x40 px"):
        load(Branches().eval(), window=40)
    with pytest.raises(FullfieldError, match="20x24"):
        fullfield.convert(made(Branches), window=40)


def test_a_result_that_exists_is_kept(tmp_path: Path) -> None:
    scores = fullfield.scan(made(networks.padded), picture(), step=8)
    scores.save(tmp_path / "s.npz")
    with pytest.raises(ImageError, match="exists"):
        scores.save(tmp_path / "s.npz")
    scores.save(tmp_path / "s.npz", overwrite=True)


def test_a_plan_is_what_a_scan_follows() -> None:
    net = made(networks.padded)
    made_plan = plan(net, picture(), step=3, compute=Compute(budget="1GB", tile=(4, 5)))
    scores = fullfield.scan(net, picture(), step=3, compute=Compute(budget="1GB", tile=(4, 5)))
    assert made_plan.shape == scores.placement.shape
    assert list(made_plan.tile) == scores.provenance["settings"]["compute"]["tile"] == [4, 5]
    assert made_plan.budget_bytes == 10**9
    with pytest.raises(GeometryError):
        plan(net, picture(), step=0)


def test_a_gate_can_be_the_whole_network() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(Gate(3), nn.AdaptiveMaxPool2d(1), nn.Flatten()).double().eval()
    net = load(module, window=WINDOW, channels=3)
    assert off(fullfield.scan(net, picture(), step=6).array, crops(net, picture(), (6, 6))) <= 1e-9


def test_scans_of_one_image_are_saved_as_equal_bytes(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 4), nn.Flatten()).eval()
    for name in ("a.npz", "b.npz"):
        fullfield.scan(fullfield.load(module, window=4), np.ones((9, 9), np.float32)).save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
