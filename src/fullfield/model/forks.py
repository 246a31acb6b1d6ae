"""Lets a process compute that was forked from one that computed with several threads."""

from __future__ import annotations

import functools
import os

import torch

from fullfield.errors import ArgumentError


class _Process:
    """Whether this process was forked from one that had computed."""

    forked = False


@functools.cache
def compute_after_forks() -> None:
    """Lets processes that are forked from this one compute, with one thread.

    OpenMP's other threads stay in the parent; a child that counted on them would wait for them without end.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    _Process.forked = True


def check_threads(threads: int | None) -> None:
    """Checks that this process can compute with a number of threads.

    Raises:
        ArgumentError: it was forked, and cannot have more than one.
    """
    if _Process.forked and threads is not None and threads > 1:
        raise ArgumentError(
            "threads",
            f"{threads} cannot be started in a process that was forked after its parent computed",
            fix='leave it out for one thread, or start the process with multiprocessing.get_context("spawn")',
        )
