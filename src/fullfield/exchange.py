"""Exchanges two folders in one step, so that there is no moment at which a name has neither."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_HERE = -100  # AT_FDCWD: paths count from the current folder
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS


def exchanged(first: Path, second: Path) -> bool:
    """Exchanges the names of two files or folders of one disk; whether system and disk can.

    Source: renameat2(2), Linux 3.15 and glibc 2.28; renamex_np(2), macOS 10.12
    """
    names = os.fsencode(first), os.fsencode(second)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = library.renamex_np(*names, _EXCHANGE)
        else:
            failed = library.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE)
    except (AttributeError, OSError, TypeError):  # another system, or an older one
        return False
    return not failed
