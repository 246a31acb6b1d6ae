"""Signals are images of height one; what is no signal, or has other channels, is one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fullfield.errors import ImageError
from fullfield.image.open import open as open_file
from fullfield.image.signals import signal_image

SIGNAL = np.random.default_rng(0).normal(size=(2, 300))


@pytest.mark.parametrize("given", [SIGNAL, torch.from_numpy(SIGNAL), SIGNAL.T[None], np.asfortranarray(SIGNAL)])
def test_arrays_and_tensors_are_channels_and_samples(given: object) -> None:
    raster = signal_image(given, 2)
    assert raster.shape == (1, 300, 2)
    np.testing.assert_array_equal(raster.read(0, 1, 40, 90)[0], SIGNAL[:, 40:90].T)


@pytest.mark.parametrize("given", [SIGNAL[0], torch.from_numpy(SIGNAL[0]), SIGNAL[:1]])
def test_one_channel_needs_no_axis(given: object) -> None:
    np.testing.assert_array_equal(signal_image(given, 1).read(0, 1, 0, 300)[0, :, 0], SIGNAL[0])


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files_are_read_by_parts(order: str, tmp_path: Path) -> None:
    np.save(tmp_path / "signal.npy", np.array(SIGNAL, order=order))  # type: ignore[call-overload]
    raster = signal_image(open_file(tmp_path / "signal.npy"), 2)
    assert (raster.shape, raster.metadata.levels) == ((1, 300, 2), ((1, 300),))
    np.testing.assert_array_equal(raster.read(0, 1, 7, 200)[0], SIGNAL[:, 7:200].T)
    np.save(tmp_path / "line.npy", SIGNAL[1])
    np.testing.assert_array_equal(
        signal_image(open_file(tmp_path / "line.npy"), 1).read(0, 1, 3, 9)[0, :, 0], SIGNAL[1, 3:9]
    )


def test_samples_that_are_not_numbers_hold_nothing(tmp_path: Path) -> None:
    holes = SIGNAL.copy()
    holes[0, 10], holes[:, 20] = np.nan, np.nan
    np.save(tmp_path / "holes.npy", holes)
    mask = signal_image(open_file(tmp_path / "holes.npy"), 2).valid(0, 1, 0, 300)
    assert mask is not None
    assert np.flatnonzero(~mask[0]).tolist() == [20]


@pytest.mark.parametrize(
    ("given", "channels", "text"),
    [
        (SIGNAL, 1, r"has 2 channels of 300 samples, the network takes 1\n  fix: .*--bands 0"),
        (SIGNAL.T, 2, r"has 300 channels of 2 samples, the network takes 2\n  fix: .*signal.T"),
        (SIGNAL[0], 3, r"has 1 channel of 300 samples, the network takes 3"),
        (np.zeros((20, 30, 3)), 3, r"is an image of 20x30 px and 3 bands; the network takes signals"),
        (np.zeros((2, 3, 4, 5)), 2, "4 axes"),
        (np.zeros(0), 1, "no pixels"),
    ],
)
def test_what_is_no_such_signal_is_refused(given: object, channels: int, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        signal_image(given, channels)
