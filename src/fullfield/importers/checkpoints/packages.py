"""Imports timm, torchvision, transformers and safetensors, only when a checkpoint needs them."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from fullfield.errors import CaptureError
from fullfield.packages import CANNOT_IMPORT, import_packages

_TOUCHED = ("torchvision", "torchvision.datasets", "torchvision.ops", "torchvision.ops.misc", "torchvision.transforms")
_OPERATORS = "torchvision._meta_registrations"
_FUNCTIONAL = "torchvision.transforms.functional"


def package(name: str, where: str) -> Any:
    """A module of another library, whose extra is called as its package.

    Raises:
        CaptureError: it is not installed, or cannot be imported.
    """
    extra = name.partition(".")[0].replace("huggingface_hub", "safetensors")
    return import_packages(name, extra=extra, where=where, kind=CaptureError)[0]


def timm_package(where: str) -> Any:
    """The library timm, also where the torchvision that it imports is missing or does not fit torch.

    Raises:
        CaptureError: timm is not installed.
    """
    if "timm" in sys.modules:
        return package("timm", where)
    with _torchvision_stand_in():
        return package("timm", where)


def transformers_package(where: str) -> Any:
    """The library transformers, which imports torchvision where that is installed.

    Raises:
        CaptureError: transformers is not installed.
    """
    _torchvision_imports()
    return package("transformers", where)


def torchvision_models(where: str) -> Any:
    """The module ``torchvision.models``.

    Raises:
        CaptureError: torchvision is not installed.
    """
    _torchvision_imports()
    return package("torchvision.models", where)


def import_pickled(names: Collection[str], where: str) -> None:
    """Imports those of the packages that a pickle names which fail to import by themselves, for torchvision's sake."""
    if {"torchvision", "transformers"}.intersection(names):
        _torchvision_imports()
    if "timm" in names and find_spec("timm") is not None:
        timm_package(where)


def _torchvision_imports() -> bool:
    """Whether torchvision imports: as it is, or else without what it says of its compiled operators.

    A build for another torch has none of these operators, which no classifier uses. One that works is not touched.
    """
    try:
        import_module("torchvision")
    except ModuleNotFoundError:
        _forget("torchvision")
        return False
    except CANNOT_IMPORT:
        _forget("torchvision")
    else:
        return True
    sys.modules[_OPERATORS] = ModuleType(_OPERATORS)
    try:
        import_module("torchvision")
    except CANNOT_IMPORT:
        _forget("torchvision")
        return False
    return True


@contextmanager
def _torchvision_stand_in() -> Iterator[None]:
    """Lets timm's imports of torchvision succeed, for as long as timm is imported, where the real one does not import.

    timm's networks use none of it; its transforms of training images do, and are not called.
    """
    if _torchvision_imports():
        yield
        return
    made: dict[str, ModuleType] = {name: _StandIn(name) for name in (*_TOUCHED, _FUNCTIONAL)}
    for name, module in made.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(made[parent], child, module)
    made[_FUNCTIONAL].InterpolationMode = _InterpolationMode  # type: ignore[attr-defined]
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)


def _forget(name: str) -> None:
    """Drops a library that was imported in part."""
    for each in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[each]


class _InterpolationMode(Enum):
    """torchvision's names of interpolations."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class _StandIn(ModuleType):
    """A module in which every public name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)
        made = type(name, (), {"__module__": self.__name__})
        setattr(self, name, made)
        return made
