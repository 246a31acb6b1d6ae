"""Layouts against torch's own views: what the bookkeeping says a tensor looks like is what it looks like."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import given

from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.layers.custom_operators import neighbourhood

BATCH = 5


def materialised(canonical: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The original tensor from its canonical form ``(n, *channels, y, x)``."""
    rank = len(layout.channels)
    place, channel = {"n": 0, "y": rank + 1, "x": rank + 2}, iter(range(1, rank + 1))
    order = [next(channel) if s == "c" else place[s] for dim in layout.dims for s in dim]
    order += [i for i in range(rank + 3) if i not in order]
    return canonical.permute(order).reshape(layout.shape(BATCH))


def regrouped(draw: Any, shape: tuple[int, ...]) -> list[int]:
    """Another shape of as many elements: neighbours merged, sizes split, ones put in."""
    sizes = list(shape)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(1, len(sizes) - 1)) if len(sizes) > 1 else 0
        kind = draw(st.sampled_from(["merge", "split", "one"]))
        if kind == "merge" and at and at + 1 < len(sizes):
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        elif kind == "split" and at:
            part = draw(st.sampled_from([d for d in range(1, sizes[at] + 1) if sizes[at] % d == 0]))
            sizes[at : at + 1] = [part, sizes[at] // part]
        elif kind == "one" and at:
            sizes.insert(at, 1)
    return sizes


@given(st.data())
def test_views_and_permutations_say_what_torch_does(data: Any) -> None:
    channels, height, width = data.draw(st.tuples(st.sampled_from([1, 4, 6, 8]), st.integers(1, 8), st.integers(1, 8)))
    original = torch.arange(BATCH * channels * height * width).reshape(BATCH, channels, height, width)
    layout, canonical = Layout.plain(channels, height, width), original
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            order = [0, *data.draw(st.permutations(range(1, original.dim())))]
            original = original.permute(order)
            layout, channel_order = layout.permuted(order)
            canonical = canonical.permute(
                [0, *(1 + i for i in channel_order), canonical.dim() - 2, canonical.dim() - 1]
            )
        else:
            shape = regrouped(data.draw, tuple(original.shape))
            viewed = layout.viewed(shape, BATCH)
            if isinstance(viewed, Refusal):
                assert viewed.reason
                return
            original = original.reshape(shape)
            blocks = layout.height // viewed.height, layout.width // viewed.width
            if blocks != (1, 1):
                order = layout.block_order()
                canonical = neighbourhood(canonical, blocks, blocks, (0, 0), (1, 1))
                canonical = canonical.permute([0, *(1 + i for i in order), canonical.dim() - 2, canonical.dim() - 1])
            layout = viewed
            canonical = canonical.reshape(BATCH, *layout.channels, layout.height, layout.width)
        assert layout.shape(BATCH) == tuple(original.shape)
        assert torch.equal(materialised(canonical, layout), original)


def refusal(layout: Layout, shape: tuple[int, ...]) -> str:
    found = layout.viewed(shape, BATCH)
    assert isinstance(found, Refusal)
    return found.reason


def test_rows_are_split_into_blocks_only_and_windows_never_mixed() -> None:
    plain = Layout.plain(4, 6, 6)
    assert refusal(plain, (BATCH, 4, 4, 9)) == "regroups dimensions in a way that mixes positions"
    assert refusal(plain, (BATCH, 4, 6, 6, 2)) == "regroups dimensions in a way that mixes positions"
    assert refusal(plain, (BATCH * 4, 6, 6)) == "mixes the windows of a batch"
    assert refusal(plain, (1, BATCH, 4, 6, 6)) == "mixes the windows of a batch"


def test_channels_on_both_sides_of_positions_do_not_merge() -> None:
    split = Layout.plain(4, 3, 3).viewed((BATCH, 2, 2, 3, 3), BATCH)
    assert isinstance(split, Layout)
    apart, _ = split.permuted((0, 1, 3, 4, 2))
    assert refusal(apart, (BATCH, 36)) == "interleaves channels with positions"


def test_a_dimension_tells_its_channels_and_its_axes() -> None:
    plain = Layout.plain(4, 3, 1)
    assert [plain.channel_index(d) for d in range(4)] == [None, 0, None, None]
    assert [plain.spatial(d) for d in range(4)] == [None, None, ("y",), ("x",)]
    flat = plain.viewed((BATCH, 12), BATCH)
    assert isinstance(flat, Layout)
    assert flat.spatial(1) is None
    assert flat.channel_index(1) is None
    assert flat.size("y") == 3
    assert flat.size("c") == 4
    assert plain.is_plain
    assert not flat.is_plain
    assert not plain.single


def test_a_dimension_of_one_can_go() -> None:
    plain = Layout.plain(1, 3, 3)
    assert plain.without(1).shape(BATCH) == (BATCH, 3, 3)
    assert plain.without(1).channels == ()
    assert Layout.plain(4, 1, 3).without(2).shape(BATCH) == (BATCH, 4, 3)
