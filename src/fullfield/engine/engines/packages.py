"""Imports the packages of engines, with an error that names the extra."""

from __future__ import annotations

import importlib
from typing import Any

from fullfield.errors import UnsupportedError
from fullfield.packages import raise_interrupt


def import_engine(name: str) -> Any:
    """An engine's package.

    Raises:
        UnsupportedError: it is not installed, or does not import.
        KeyboardInterrupt: it was interrupted while it was imported, which extension modules report as an ImportError.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise_interrupt(error)
        fix = f'pip install "fullfield[{name}]", or use another engine'
        raise UnsupportedError(name, f"cannot be imported ({error})", fix=fix) from error
