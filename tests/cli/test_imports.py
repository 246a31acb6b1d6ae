"""What a command imports, and that garbage collections rest while it does, and no longer."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from importlib.resources import files

import pytest

from fullfield.cli.imports import without_collections
from tests.processes import PATIENCE_S

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


AVOIDED = (  # what a scan of a picture does not need, and took a sixth of the time of its imports
    "rich",  # draws the bar, on terminals
    "numpy.ma",
    "PIL.TgaImagePlugin",  # one of forty formats that are rare
    "fullfield.jobs.tuning",
    "fullfield.decisions.segment",
    "fullfield.exporters.resample",
)
"""Modules."""


def test_a_scan_of_a_picture_imports_no_rare_formats_and_nothing_of_other_commands() -> None:
    data = files("fullfield") / "data"
    code = f"""
import sys
from fullfield.cli import main
main(["scan", {str(data / "rnet.onnx")!r}, {str(data / "astronaut.png")!r}, "--step", "200"], standalone_mode=False)
from fullfield.importers.onnx.functions import _composed
assert not _composed.cache_info().misses  # all operators are in the table
print(sorted(set({AVOIDED!r}) & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
