"""Imports packages that extras install, when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from fullfield.errors import FullfieldError, ImageError


def import_packages(
    *names: str, extra: str, where: str, what: str | None = None, kind: type[FullfieldError] = ImageError
) -> tuple[Any, ...]:
    """Modules of packages that an extra installs.

    Args:
        names: of the modules.
        extra: of fullfield.
        where: what needs them, for the error.
        what: the error's text; by default that the first package is needed.
        kind: of the error.

    Raises:
        FullfieldError: of this kind: one is not installed, or cannot be imported.
        KeyboardInterrupt: it was interrupted while it was imported, which extension modules report as an ImportError.

    Examples:
        >>> json, path = import_packages("json", "os.path", extra="geo", where="a.tif")
        >>> json.loads("1"), path.basename("b/c")
        (1, 'c')
    """
    try:
        return tuple(importlib.import_module(name) for name in names)
    except ImportError as error:
        raise_interrupt(error)
        text = what or f"needs the package {names[0].partition('.')[0]}"
        raise kind(where, text, fix=f"pip install 'fullfield[{extra}]'") from error


def raise_interrupt(error: BaseException) -> None:
    """Raises the KeyboardInterrupt that an error of an import came from, if it came from one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise cause from error
        cause = cause.__cause__ or cause.__context__
