"""Scans of signals give the original network's scores of every window, in every form in which signals come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import Compute, Where
from fullfield.errors import GeometryError
from tests.oracle import difference
from tests.signal_networks import M5, Gated, Recurrent, ready, signal_crops


def test_raw_audio_is_shared_exactly(tmp_path: Path) -> None:
    module, signal = ready(M5), torch.randn(1, 9000, dtype=torch.float64)
    model = fullfield.load(module, window=2000)
    assert repr(model) == "Model('M5', window 2000 samples, 1 channels -> 4 scores, torch.float64)".replace(
        "torch.", ""
    )
    scores = fullfield.scan(model, signal.numpy(), step=160)
    wanted = signal_crops(module, signal, 2000, 160)
    assert scores.shape == (4, 1, 44)
    assert difference(torch.from_numpy(np.asarray(scores)[:, 0]), wanted) <= 1e-9
    np.save(tmp_path / "signal.npy", signal[0].numpy())
    for same in (signal[0].numpy(), signal, str(tmp_path / "signal.npy")):
        np.testing.assert_array_equal(np.asarray(fullfield.scan(model, same, step=160)), np.asarray(scores))


def test_an_unpadded_network_on_signals_is_shared_in_its_stride() -> None:
    plan = fullfield.plan(fullfield.load(ready(M5), window=2000), np.zeros((1, 9000)))
    assert plan.step == (1, 256)
    assert all(place.shared for place in plan.places.values())


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_heads_run_per_window(kind: type[nn.RNNBase]) -> None:
    module, signal = ready(lambda: Recurrent(kind, bidirectional=True)), torch.randn(2, 400, dtype=torch.float64)
    model = fullfield.load(module, window=100)
    compute = Compute(tile=(1, 11))
    scores = fullfield.scan(model, signal, step=30, compute=compute)
    assert difference(torch.from_numpy(np.asarray(scores)[:, 0]), signal_crops(module, signal, 100, 30)) <= 1e-9
    places = fullfield.plan(model, signal, step=30, compute=compute).places
    assert [place.shared for name, place in places.items() if "conv" in name] == [True]


def test_gates_and_norms_slide_in_other_modes_and_one_window_is_the_same() -> None:
    module, signal = ready(Gated), torch.randn(2, 260, dtype=torch.float64)
    model = fullfield.load(module, window=64)
    wanted = signal_crops(module, signal, 64, 20)
    exact = fullfield.scan(model, signal, step=20, compute=Compute(tile=(1, 3)))
    assert difference(torch.from_numpy(np.asarray(exact)[:, 0]), wanted) <= 1e-9
    for mode in ("context", 2):
        one = fullfield.scan(model, signal[:, :64], step=20, mode=mode)  # type: ignore[arg-type]
        assert difference(torch.from_numpy(np.asarray(one)[:, 0]), wanted[:, :1]) <= 1e-9
        many = fullfield.scan(model, signal, step=20, mode=mode)  # type: ignore[arg-type]
        assert difference(torch.from_numpy(np.asarray(many)[:, 0]), wanted) > 1e-6


def test_regions_and_edges_count_samples() -> None:
    module, signal = ready(M5), torch.randn(1, 9000, dtype=torch.float64)
    model = fullfield.load(module, window=2000)
    wanted = signal_crops(module, signal[:, 1000:6000], 2000, 160)
    for region in ("1000:6000", (1000, 6000), "0:1,1000:6000", ((0, 1), (1000, 6000)), (slice(1000, 6000),)):
        scores = fullfield.scan(model, signal, step=160, where=Where(region=region))  # type: ignore[arg-type]
        assert difference(torch.from_numpy(np.asarray(scores)[:, 0]), wanted) <= 1e-9
    padded = torch.nn.functional.pad(signal[:, None], (1000, 1000), mode="reflect")[:, 0]
    scores = fullfield.scan(model, signal, step=160, where=Where(edge="reflect"))
    found = torch.from_numpy(np.asarray(scores)[:, 0])
    assert difference(found, signal_crops(module, padded, 2000, 160)[:, : found.shape[1]]) <= 1e-9


def test_a_step_along_two_axes_is_refused() -> None:
    model = fullfield.load(ready(M5), window=2000)
    with pytest.raises(
        GeometryError, match=r"step: \(2, 160\) are two numbers, a signal has one axis\n  fix: write step=160"
    ):
        fullfield.scan(model, np.zeros(3000), step=(2, 160))


def test_a_region_of_one_axis_is_refused_for_images() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten())
    with pytest.raises(GeometryError, match="region: '3:20' has one axis, the image has two"):
        fullfield.scan(fullfield.load(module, window=8), np.zeros((30, 30, 3), np.uint8), where=Where(region="3:20"))


def test_verification_runs_windows_of_the_signal() -> None:
    model = fullfield.load(ready(M5), window=2000)
    scores = fullfield.scan(model, np.random.default_rng(0).normal(size=6000), step=400, verify=3)
    assert scores.certificate is not None
    assert scores.certificate.verdict.startswith("EXACT")


def test_what_is_for_images_alone_is_refused() -> None:
    model = fullfield.load(ready(M5), window=2000)
    with pytest.raises(GeometryError, match=r"scale: 0\.5: signals are not resampled"):
        fullfield.scan(model, np.zeros(3000), scale=0.5)
    with pytest.raises(GeometryError, match="skip_background: a signal has no background"):
        fullfield.scan(model, np.zeros(3000), where=Where(skip_background=True))


def test_a_mask_of_samples_says_where_to_look() -> None:
    model, mask = fullfield.load(ready(M5), window=2000), np.zeros((1, 6000), np.uint8)
    mask[0, 3000:3100] = 1
    scores = fullfield.scan(model, np.random.default_rng(0).normal(size=6000), step=500, where=Where(mask=mask))
    assert np.flatnonzero(~np.isnan(np.asarray(scores)[0, 0])).tolist() == [3, 4, 5, 6]
