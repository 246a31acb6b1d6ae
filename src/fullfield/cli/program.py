"""The ``fullfield`` program: runs one command in a process of its own, which it ends at once."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

from fullfield.cli import main


def run() -> None:
    """Runs the command of the process's arguments.

    Python would take its own modules and torch's apart, one object after the other: a fifth of a second after the last
    line is printed. The process ends before that, after threads have ended and everything else that waits for the end
    was called, such as the removal of temporary files.

    Raises:
        SystemExit: always, with the command's exit code.
    """
    try:
        main(prog_name="fullfield")
    except SystemExit as ended:
        if isinstance(ended.code, int):
            _codes.append(ended.code)
        raise


def _end() -> None:
    """Ends the process if the command ended; what cannot be written is left to Python, which says so."""
    if not _codes:
        return
    with suppress(OSError, ValueError):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        os._exit(_codes[-1])


_codes: list[int] = []
atexit.register(_end)  # Python calls what was registered first last: importing ``fullfield.cli`` registers nothing
