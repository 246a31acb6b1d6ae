"""Imports the packages of engines, with an error that names the extra."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from fullfield.errors import UnsupportedError
from fullfield.packages import raise_interrupt


def is_installed(name: str) -> bool:
    """Whether an engine's package is there, which its import may yet fail with; torch always is."""
    return importlib.util.find_spec(name) is not None


def check_installed(name: str) -> None:
    """Raises where an engine's package is missing, without importing it.

    Raises:
        UnsupportedError: it is not installed.
    """
    if not is_installed(name):
        raise _missing(name, "is not installed")


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
        raise _missing(name, f"cannot be imported ({error})") from error


def _missing(name: str, what: str) -> UnsupportedError:
    """The error that names the extra."""
    return UnsupportedError(name, what, fix=f'pip install "fullfield[{name}]", or use another engine')
