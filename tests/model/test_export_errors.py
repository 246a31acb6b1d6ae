"""Modules that cannot be captured: the error names the cause."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError
from fullfield.model.torch_export import capture_module
from tests.model.networks import Small


def test_a_window_smaller_than_a_kernel_does_not_run() -> None:
    with pytest.raises(
        CaptureError, match=r"Small: does not run on windows of 2x2 px with 3 channels \(those of its f"
    ):
        capture_module(Small(), window=2)


def test_guessed_channels_are_said_to_be_guessed() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(2 * 9, 3))
    with pytest.raises(CaptureError, match=r"on windows of 3x3 px with 3 channels \(a guess\): .*\n  fix: .*channels="):
        capture_module(flat, window=3)
    with pytest.raises(CaptureError, match=r"on windows of 3x3 px with 4 channels: "):
        capture_module(flat, window=3, channels=4)


def test_networks_of_volumes_are_named() -> None:
    module = nn.Sequential(nn.Identity(), nn.Conv3d(3, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(CaptureError, match=r"takes volumes \(n, c, z, y, x\): its first convolution, 1, is a Conv3d"):
        capture_module(module, window=9)


def test_a_convolution_of_volumes_behind_one_of_images_is_not_blamed() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(9, 4, 3))
    with pytest.raises(CaptureError, match="does not run on windows of 9x9 px with 3 channels"):
        capture_module(module, window=9)


def test_more_than_an_image_is_what_the_module_lacks() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return (x * mask).mean((2, 3))

    with pytest.raises(CaptureError, match=r"Masked: does not run .* missing 1 required positional argument: 'mask'"):
        capture_module(Masked(), window=9)


@pytest.mark.parametrize(
    "change", [lambda y: y if float(y.sum()) > 0 else -y, lambda y: y + torch.linspace(0, 1, y.shape[0])[:, None]]
)
def test_control_flow_is_blamed_where_the_module_itself_runs(change: object) -> None:
    with pytest.raises(CaptureError, match=r"Small: cannot be exported: .*\n  fix: .*control flow"):
        capture_module(Small(change), window=9)  # type: ignore[arg-type]
