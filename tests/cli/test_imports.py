"""Garbage collections rest while large packages are imported, and no longer."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys

import pytest

from fullfield.cli.imports import without_collections

COUNTED = """
import gc
counts = []
gc.callbacks.append(lambda phase, info: counts.append(phase))
from fullfield.cli.imports import without_collections
counts.clear()
with without_collections():
    import torch
print(len(counts), gc.isenabled(), gc.get_freeze_count() > 10_000)
"""


def test_no_garbage_is_collected_while_torch_is_imported() -> None:
    found = subprocess.run([sys.executable, "-c", COUNTED], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["0", "True", "True"]


@pytest.mark.parametrize("collected", [True, False])
def test_collections_resume_after_an_error_unless_they_rested_before(*, collected: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collected else gc.disable)()
        with pytest.raises(ModuleNotFoundError, match="no_such_thing"), without_collections():
            importlib.import_module("no_such_thing")
        assert gc.isenabled() == collected
    finally:
        gc.unfreeze()
        (gc.enable if before else gc.disable)()
