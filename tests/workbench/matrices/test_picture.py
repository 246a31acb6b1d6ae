"""The picture of a matrix: its entries at their positions, equal blocks in one colour."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fullfield import workbench
from fullfield.errors import GeometryError
from fullfield.layers import LocallyConnected2d


def colours(layer: nn.Module, size: int) -> np.ndarray:
    """The colour of each entry; zero for entries that are not stored."""
    unrolled = workbench.unroll(layer, size)
    pixels = np.asarray(unrolled.picture(scale=1)).astype(int)
    codes = pixels @ [1, 256, 65536]
    return np.where(unrolled.matrix.toarray() != 0, codes, 0)


def test_shared_blocks_have_one_colour() -> None:
    found = colours(nn.Conv2d(2, 3, 3, padding=1), 6)
    # one for each kernel, channel and row of the kernel
    assert len(np.unique(found)) - 1 == 3 * 2 * 3
    for k in range(5):  # the block one further down and right is the same
        assert (
            found[6 * k : 6 * k + 6, 6 * k : 6 * k + 6] == found[6 * k + 6 : 6 * k + 12, 6 * k + 6 : 6 * k + 12]
        ).all()


def test_unshared_blocks_have_colours_of_their_own() -> None:
    layer = LocallyConnected2d(1, 1, 5, 3)
    assert len(np.unique(colours(layer, 5))) - 1 == 3 * 3
    tied = LocallyConnected2d.from_conv(nn.Conv2d(1, 1, 3), 5)
    assert len(np.unique(colours(tied, 5))) - 1 == 3


def test_the_picture_is_white_where_nothing_is_read() -> None:
    unrolled = workbench.unroll(nn.Conv2d(1, 1, 3), 6)
    pixels = np.asarray(unrolled.picture(scale=1))
    blocks = pixels.reshape(4, 4, 6, 6, 3).swapaxes(1, 2)
    assert (blocks[0, 3] == 255).all()
    assert not (blocks[0, 2] == 255).all(-1).any()
    assert (pixels[unrolled.matrix.toarray() != 0] != 255).any(-1).all()


def test_the_picture_has_a_good_size() -> None:
    unrolled = workbench.unroll(nn.Conv2d(1, 1, 3), 6)
    assert unrolled.picture().size == (36 * 27, 16 * 27)
    assert unrolled.picture(scale=2).size == (72, 32)
    with pytest.raises(GeometryError, match="16x36 entries at 200 px each come to more than 4096 px"):
        unrolled.picture(scale=200)
    with torch.no_grad(), pytest.raises(GeometryError, match="at 1 px each"):
        workbench.unroll(nn.Conv2d(1, 1, 3), 80).picture()
