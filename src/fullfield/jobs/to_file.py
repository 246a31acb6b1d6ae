"""Runs a scan whose scores become a file: they go to a store beside it first, which is then converted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fullfield.engine.progress import OnProgress
from fullfield.exporters import SUFFIXES, export
from fullfield.jobs.request import OutputRequest, ScanRequest
from fullfield.jobs.to_store import scan_to_store
from fullfield.store.stored_map import StoredMap

OUTPUTS = SUFFIXES


def scan_to_file(request: ScanRequest, output: OutputRequest, progress: OnProgress | None = None) -> StoredMap | None:
    """The scores of every window in a file.

    Returns:
        The finished map in the store beside the file, which the caller removes; ``None`` where other processes have yet
        to finish their blocks.

    Raises:
        FullfieldError: as for ``scan_to_store``; or the map cannot be written in the file's format.
    """
    existing = "resume" if output.overwrite else output.existing
    found = scan_to_store(request, replace(output, path=store_beside(output.path), existing=existing), progress)
    if found is not None:
        export(found, output.path, overwrite=output.overwrite, progress=progress)
    return found


def store_beside(path: Path) -> Path:
    """The store from which a file is made."""
    return path.with_name(path.name + ".zarr")
