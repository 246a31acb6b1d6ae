"""Notices that an image was changed while it was read: its scores would be a mixture of two images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fullfield.image.blob import local_path
from fullfield.image.checks import ChangedError
from fullfield.image.open import open_raster, opened_state
from fullfield.image.raster import ArrayRaster, Raster


def check_state(raster: Raster) -> None:
    """Compares what is known at once of an image on this machine with what it was when it was opened.

    Of a file that is its size and time of change, which takes microseconds; of a folder its identity, which takes some
    hundredths of a second. URLs and the other files of an image are compared by ``check_identity`` only.

    Raises:
        ChangedError: they differ.
    """
    opened = raster.metadata.opened
    if opened is None or isinstance(raster, ArrayRaster):  # whose pixels were read when it was opened
        return
    if opened.state is None:
        if any(local_path(each) is not None for each in (opened.path, *opened.selection.stack)):
            check_identity(raster)
        return
    state = opened_state(opened.path, opened.selection.stack)
    if state != opened.state:
        now = "it is gone" if state is None else f"now it has {state[0]} bytes, changed at {state[1]} ns"
        raise _changed(raster, f"it had {opened.state[0]} bytes, changed at {opened.state[1]} ns; {now}")


def check_identity(raster: Raster) -> None:
    """Opens the image again, and compares its identity with the one that it had.

    Raises:
        ImageError: they differ (ChangedError), or it can no longer be opened.
    """
    opened = raster.metadata.opened
    if opened is None or isinstance(raster, ArrayRaster):
        return
    if opened.state is not None:
        check_state(raster)
    again = open_raster(opened.path, selection=replace(opened.selection, percentiles=None))
    try:
        changes = list(_differences(raster.metadata.identity, again.metadata.identity))
    finally:
        again.close()
    if changes:
        raise _changed(raster, "; ".join(f"{name} was {old}, now it is {new}" for name, old, new in changes[:2]))


def _changed(raster: Raster, how: str) -> ChangedError:
    return ChangedError(
        raster.name,
        f"was changed while it was scanned: {how}",
        fix="scan it anew once nothing writes to it (--restart); or put the old file back, and the scan resumes",
    )


def _differences(old: Any, new: Any, name: str = "identity") -> Iterator[tuple[str, Any, Any]]:
    """Name, old and new value of what differs in two values of JSON."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), str(key))
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        for ours, theirs in zip(old, new, strict=True):
            yield from _differences(ours, theirs, name)
    elif old != new:
        yield name, old, new
