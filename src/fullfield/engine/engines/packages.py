"""Imports the packages of engines, which extras of the same names install."""

from __future__ import annotations

from typing import Any

from fullfield import packages
from fullfield.errors import UnsupportedError

_MISSING = "is not installed; another engine can run it"


def check_engine(name: str) -> None:
    """Raises where an engine's package is missing, without importing it.

    Raises:
        UnsupportedError: it is not installed.
    """
    packages.check_installed(name, extra=name, where=name, what=_MISSING, kind=UnsupportedError)


def import_engine(name: str) -> Any:
    """An engine's package.

    Raises:
        UnsupportedError: it is not installed, or cannot be imported.
        KeyboardInterrupt: as of ``import_packages``.
    """
    return packages.import_packages(name, extra=name, where=name, what=_MISSING, kind=UnsupportedError)[0]
