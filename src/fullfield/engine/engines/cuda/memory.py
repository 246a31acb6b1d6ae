"""Compares what a tile takes with a GPU's memory, and says what to change where it is short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fullfield.errors import BudgetError
from fullfield.planning import Plan

_FIX = "pass a smaller budget (--budget) or tile (--tile), or free memory of the device"


def memory_of(device: torch.device) -> tuple[int, int]:
    """Bytes of a GPU that are free, those that torch keeps for later included; and all of them."""
    free, total = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total


def check_device_memory(plan: Plan, device: torch.device) -> None:
    """Passes if a tile of a plan is predicted to fit the free memory of a GPU; always on other devices.

    Raises:
        BudgetError: it does not.
    """
    if device.type != "cuda":
        return
    free, total = memory_of(device)
    if plan.memory.tile_bytes > free:
        what = f"{_tile_of(plan)}, and {free / 1e6:.0f} of {total / 1e6:.0f} MB are free"
        raise BudgetError(str(device), what, fix=_FIX)


@contextmanager
def clear_memory_errors(plan: Plan, device: torch.device) -> Iterator[None]:
    """Turns a GPU's being out of memory into one clear error.

    Raises:
        BudgetError: it is.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        text = f"out of memory: {_tile_of(plan)}"
        if device.type == "cuda":
            free, total = memory_of(device)
            text += f"; {free / 1e6:.0f} of {total / 1e6:.0f} MB are free"
        raise BudgetError(str(device), text, fix=_FIX) from error


def _tile_of(plan: Plan) -> str:
    """What a tile is predicted to take, in words."""
    rows, columns = plan.tile
    return f"a tile of {rows}x{columns} windows is predicted to take {plan.memory.tile_bytes / 1e6:.0f} MB"
