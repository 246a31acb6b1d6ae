"""Counts the modules of a Torch7 network before any is built: modules may be shared, but not contain themselves."""

from __future__ import annotations

from pathlib import Path

from fullfield.errors import CaptureError
from fullfield.importers.torch7.reader import LuaObject

DEEPEST = 100
"""The deepest nesting of containers."""
FREE_RUNS = 2_000
RUNS_PER_MODULE = 4
"""The most runs of modules in a window, for each module in the file, beyond those free."""


def survey(root: LuaObject, path: Path) -> list[LuaObject]:
    """The modules of a network, each once, its container after it.

    Raises:
        CaptureError: a module contains itself, containers are nested too deep, or shared modules run too often.
    """
    found = _Survey(path)
    runs, height = found.visit(root)
    most = FREE_RUNS + RUNS_PER_MODULE * len(found.modules)
    if height > DEEPEST:
        raise found.refusal(f"has containers nested more than {DEEPEST} deep")
    if runs > most:
        raise found.refusal(f"runs {runs:,} modules a window, more than the {most:,} of {len(found.modules)} modules")
    return found.modules


class _Survey:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.modules: list[LuaObject] = []
        self.known: dict[int, tuple[int, int]] = {}
        self.open: set[int] = set()

    def visit(self, module: LuaObject) -> tuple[int, int]:
        """Modules that run for one run of this one, itself included, and how deep they are nested."""
        key = id(module)
        if key in self.open:
            raise self.refusal("has modules that contain themselves")
        if len(self.open) > DEEPEST:
            raise self.refusal(f"has containers nested more than {DEEPEST} deep")
        if key not in self.known:
            self.open.add(key)
            inner = module.fields.get("modules")
            parts = [part for part in inner.values() if isinstance(part, LuaObject)] if isinstance(inner, dict) else []
            found = [self.visit(part) for part in parts]
            self.open.remove(key)
            self.modules.append(module)
            self.known[key] = 1 + sum(runs for runs, _ in found), 1 + max((deep for _, deep in found), default=0)
        return self.known[key]

    def refusal(self, what: str) -> CaptureError:
        """The error for the file."""
        return CaptureError(str(self.path), what, fix="save the network again")
