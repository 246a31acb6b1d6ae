"""Imports packages that extras install, when they are needed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from fullfield.errors import FullfieldError, ImageError, first_line

CANNOT_IMPORT = (ImportError, RuntimeError, OSError, AttributeError)
"""What an import raises of a package that is missing, or a build for other versions of what it imports."""


def import_packages(
    *names: str, extra: str, where: str, what: str | None = None, kind: type[FullfieldError] = ImageError
) -> tuple[Any, ...]:
    """Modules of packages that an extra installs.

    Args:
        names: of the modules.
        extra: of fullfield.
        where: what needs them, for the error.
        what: the error's text where one is not installed; by default that the first package is needed.
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
    except CANNOT_IMPORT as error:
        raise_interrupt(error)
        if isinstance(error, ModuleNotFoundError) and _package(error.name or "") in map(_package, names):
            raise _missing(names[0], extra, where, what, kind) from error
        text = f"needs the package {_package(names[0])}, which cannot be imported ({first_line(error)})"
        raise kind(where, text, fix=f"pip install --upgrade 'fullfield[{extra}]'") from error


def is_installed(name: str) -> bool:
    """Whether a package is there, which its import may yet fail with."""
    return importlib.util.find_spec(name) is not None


def check_installed(
    name: str, *, extra: str, where: str, what: str | None = None, kind: type[FullfieldError] = ImageError
) -> None:
    """Passes if a package is installed, without importing it; arguments and error as of ``import_packages``.

    Raises:
        FullfieldError: of this kind: it is not installed.
    """
    if not is_installed(name):
        raise _missing(name, extra, where, what, kind)


def _missing(name: str, extra: str, where: str, what: str | None, kind: type[FullfieldError]) -> FullfieldError:
    return kind(where, what or f"needs the package {_package(name)}", fix=f"pip install 'fullfield[{extra}]'")


def _package(name: str) -> str:
    """The package of a module."""
    return name.partition(".")[0]


def raise_interrupt(error: BaseException) -> None:
    """Raises the KeyboardInterrupt that an error of an import came from, if it came from one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            raise cause from error
        cause = cause.__cause__ or cause.__context__
