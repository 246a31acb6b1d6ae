"""Tiles sent to a device, in whatever order its streams run."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fullfield.engine.engines.cuda.transfers import Pending, Transfers
from tests.engine.engines.cuda.fake_device import FakeDevice, FakeStream


def sums(pixels: Tensor, scores: Tensor) -> None:
    """The sum of each row, as scores ``(y, 1, 2)``: itself and its negative."""
    rows = pixels.sum((0, 2))
    scores.copy_(torch.stack([rows, -rows], 1).unsqueeze(1))


def tile(number: int, rows: int) -> np.ndarray:
    return np.random.default_rng(number).random((3, rows, 5), np.float32)


def expected(pixels: np.ndarray) -> np.ndarray:
    rows = torch.from_numpy(pixels).sum((0, 2)).numpy()
    return np.stack([rows, -rows])[:, :, None]


def send(transfers: Transfers, pixels: np.ndarray) -> Pending:
    """Begins a tile, and spoils its pixels as soon as that returns."""
    given = pixels.copy()
    pending = transfers.begin(given, (pixels.shape[1], 1, 2), torch.float32, sums)
    given.fill(np.nan)
    return pending


def check(device: FakeDevice, rows: list[int], take: Callable[[int], int]) -> None:
    """Sends tiles of so many rows; takes the scores of some of those begun after each, and of all in the end."""
    transfers, begun = Transfers(device), []
    for number, count in enumerate(rows):
        begun.append(send(transfers, tile(number, count)))
        taken = take(number)
        np.testing.assert_array_equal(begun[taken](), expected(tile(taken, rows[taken])))
    for number, pending in enumerate(begun):
        np.testing.assert_array_equal(pending(), expected(tile(number, rows[number])))


@pytest.mark.parametrize("eager", [True, False])
def test_scores_are_those_of_their_tiles(eager: bool) -> None:
    check(FakeDevice(eager=eager), [4, 4, 7, 2, 7], lambda number: max(0, number - 1))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_in_any_order_of_the_streams_and_of_those_who_wait(seed: int, rows: list[int]) -> None:
    order = random.Random(seed)
    check(FakeDevice(order), rows, lambda number: order.randint(0, number))


def test_a_tile_that_is_not_taken_yet_leaves_its_slot_with_its_scores() -> None:
    transfers = Transfers(FakeDevice())
    begun = [send(transfers, tile(number, 3)) for number in range(6)]
    for number, pending in enumerate(begun):
        np.testing.assert_array_equal(pending(), expected(tile(number, 3)))


def test_two_tiles_are_on_their_way_before_one_is_waited_for() -> None:
    device = FakeDevice()
    transfers = Transfers(device)
    for number in range(2):
        send(transfers, tile(number, 3))
    assert isinstance(device.computing, FakeStream)
    assert device.computing.done == 0
    send(transfers, tile(2, 3))
    assert 0 < device.computing.done < device.computing.queued


@pytest.mark.parametrize("stream", ["computing", "fetching"])
def test_a_stream_that_does_not_wait_for_the_one_before_is_noticed(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = FakeDevice()
    monkeypatch.setattr(getattr(device, stream), "wait_for", lambda event: None)
    with pytest.raises(AssertionError):
        check(device, [4, 4, 7, 2, 7], lambda number: number)


def test_a_slot_that_is_used_too_early_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullfield.engine.engines.cuda.transfers._Slot.finish", lambda slot: None)
    with pytest.raises(AssertionError):
        check(FakeDevice(), [4, 4, 4, 4], lambda number: max(0, number - 2))


def test_work_runs_after_what_the_caller_queued_on_its_own_stream() -> None:
    device = FakeDevice()
    assert isinstance(device.computing, FakeStream)
    send(Transfers(device), tile(0, 3))
    assert device.computing.caught_up == 1


def test_the_tile_after_one_that_failed_has_its_scores() -> None:
    def fail(pixels: Tensor, scores: Tensor) -> None:
        raise torch.OutOfMemoryError("no")

    transfers = Transfers(FakeDevice(eager=True))
    first = send(transfers, tile(0, 3))
    for _ in range(3):
        with pytest.raises(torch.OutOfMemoryError):
            transfers.begin(tile(1, 4), (4, 1, 2), torch.float32, fail)
    np.testing.assert_array_equal(first(), expected(tile(0, 3)))
    np.testing.assert_array_equal(send(transfers, tile(2, 5))(), expected(tile(2, 5)))
