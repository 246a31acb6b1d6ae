"""Imports the packages that maps are handed to, when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fullfield.errors import ImageError


def package(name: str, method: str, extra: str) -> Any:
    """A module of another package.

    Args:
        name: of the module.
        method: of ``Scores`` that needs it.
        extra: of fullfield that installs it.

    Raises:
        ImageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        needed = name.partition(".")[0]
        raise ImageError(method, f"needs the package {needed}", fix=f"pip install 'fullfield[{extra}]'") from error
