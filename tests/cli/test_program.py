"""The program ends with its exit code, after all that waits for the end, and before Python takes modules apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import PATIENCE_S

RUN = """
import atexit, sys, threading, time
assert not atexit._ncallbacks()
import fullfield.cli
assert not atexit._ncallbacks()  # what is registered before the program's own end would not be called
from fullfield.cli.program import run
sys.argv = ["fullfield", *{arguments!r}]
{before}
run()
"""
AFTER = """
class Module:
    def __del__(self): print("taken apart")
atexit.register(lambda: print("called at the end"))
threading.Thread(target=lambda: (time.sleep(0.2), print("thread ended"))).start()
sys.modules["module_of_objects"] = Module()
"""


def process(arguments: list[str], before: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    code = RUN.format(arguments=arguments, before=before)
    command = [sys.executable, "-c", code]
    given = {"capture_output": True, "timeout": PATIENCE_S, "check": False} | settings
    return subprocess.run(command, text=True, **given)  # type: ignore[call-overload, no-any-return]


def test_the_program_ends_after_threads_and_callbacks_but_leaves_modules_as_they_are() -> None:
    lines = process(["--version"], AFTER).stdout.splitlines()
    assert lines[0].startswith("fullfield, version")
    assert lines[1:] == ["thread ended", "called at the end"]


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["inspect", "missing.onnx"], 1), (["scan"], 2)])
def test_the_program_ends_with_the_exit_code_of_the_command(arguments: list[str], code: int) -> None:
    found = process(arguments)
    assert found.returncode == code
    assert "Traceback" not in found.stderr


def test_an_error_in_the_program_itself_keeps_its_traceback() -> None:
    found = process(
        [], "import fullfield.cli.program as p\ndef broken(**_): raise LookupError('torn')\np.main = broken"
    )
    assert found.returncode == 1
    assert "LookupError: torn" in found.stderr


def test_a_code_that_is_no_number_is_left_to_python() -> None:
    found = process([], "import fullfield.cli.program as p\ndef ends(**_): sys.exit('words')\np.main = ends")
    assert (found.returncode, found.stderr) == (1, "words\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_what_cannot_be_written_at_the_end_is_an_error() -> None:
    before = "import fullfield.cli.program as p\ndef writes(**_):\n    print('scores'); sys.exit(0)\np.main = writes"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        found = process([], before, capture_output=False, stdout=full, stderr=subprocess.PIPE, env=buffered)
    assert found.returncode == 120
    assert "No space left" in found.stderr


def test_the_program_runs_as_a_module_too() -> None:
    command = [sys.executable, "-m", "fullfield", "inspect", "missing.onnx"]
    found = subprocess.run(command, text=True, capture_output=True, timeout=PATIENCE_S, check=False)
    assert found.returncode == 1
    assert "missing.onnx" in found.stderr
    assert "Traceback" not in found.stderr
