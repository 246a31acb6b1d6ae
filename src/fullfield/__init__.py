"""Scores of an image classifier on every window of an image of any size, equal to those of the crops.

The verbs: ``capture`` and ``load`` make a ``Classifier``, ``save`` writes it down, ``inspect`` describes it,
``convert`` makes it fully convolutional, ``scan`` runs it over an image and returns ``Scores``, ``verify`` compares
these with the crops and returns a ``Certificate``; ``plan`` says beforehand how a scan would run, as a ``Plan``, and
``tune`` measures what scores cheaper than exact ones are worth, as a ``Tuning``; ``open`` gives an image of any size
to be read by region.

Importing this package imports no torch: every public name is looked up when it is first used.
"""

import importlib
import inspect as _inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fullfield._version import __version__ as __version__

if TYPE_CHECKING:
    from fullfield.api.build import build as build
    from fullfield.api.build import describe as describe
    from fullfield.api.convert import convert as convert
    from fullfield.api.export import export as export
    from fullfield.api.inspect import Report as Report
    from fullfield.api.inspect import inspect as inspect
    from fullfield.api.matrices import to_conv as to_conv
    from fullfield.api.matrices import to_fc as to_fc
    from fullfield.api.matrices import unroll as unroll
    from fullfield.api.plan import plan as plan
    from fullfield.api.scan import scan as scan
    from fullfield.api.scan_to import scan_to as scan_to
    from fullfield.api.trials import Tuning as Tuning
    from fullfield.api.tune import tune as tune
    from fullfield.api.verify import verify as verify
    from fullfield.capture.classifier import Classifier as Classifier
    from fullfield.capture.load import load as load
    from fullfield.capture.preprocessing import Preprocessing as Preprocessing
    from fullfield.capture.save import save as save
    from fullfield.capture.torch_module import capture as capture
    from fullfield.errors import BudgetError as BudgetError
    from fullfield.errors import CaptureError as CaptureError
    from fullfield.errors import FullfieldError as FullfieldError
    from fullfield.errors import GeometryError as GeometryError
    from fullfield.errors import ImageError as ImageError
    from fullfield.errors import ResumeError as ResumeError
    from fullfield.errors import UnsupportedError as UnsupportedError
    from fullfield.io.kept import Keep as Keep
    from fullfield.io.open import open as open
    from fullfield.io.scores import Scores as Scores
    from fullfield.io.stored import StoredScores as StoredScores
    from fullfield.io.stored import open_scores as open_scores
    from fullfield.plan.plan import Plan as Plan
    from fullfield.verify.certificate import Certificate as Certificate

# Public name -> the module that defines it under the same name. tests/test_package.py holds the two lists equal.
_HOME = {
    "BudgetError": "fullfield.errors",
    "CaptureError": "fullfield.errors",
    "Certificate": "fullfield.verify.certificate",
    "Classifier": "fullfield.capture.classifier",
    "FullfieldError": "fullfield.errors",
    "GeometryError": "fullfield.errors",
    "ImageError": "fullfield.errors",
    "Keep": "fullfield.io.kept",
    "Plan": "fullfield.plan.plan",
    "Preprocessing": "fullfield.capture.preprocessing",
    "Report": "fullfield.api.inspect",
    "ResumeError": "fullfield.errors",
    "Scores": "fullfield.io.scores",
    "StoredScores": "fullfield.io.stored",
    "Tuning": "fullfield.api.trials",
    "UnsupportedError": "fullfield.errors",
    "build": "fullfield.api.build",
    "capture": "fullfield.capture.torch_module",
    "convert": "fullfield.api.convert",
    "describe": "fullfield.api.build",
    "export": "fullfield.api.export",
    "inspect": "fullfield.api.inspect",
    "load": "fullfield.capture.load",
    "open": "fullfield.io.open",
    "open_scores": "fullfield.io.stored",
    "plan": "fullfield.api.plan",
    "save": "fullfield.capture.save",
    "scan": "fullfield.api.scan",
    "scan_to": "fullfield.api.scan_to",
    "to_conv": "fullfield.api.matrices",
    "to_fc": "fullfield.api.matrices",
    "tune": "fullfield.api.tune",
    "unroll": "fullfield.api.matrices",
    "verify": "fullfield.api.verify",
}
# Verbs that are also the name of a layer: the layer's package is made callable, so that both meanings hold.
_LAYERS = frozenset({"capture", "convert", "plan", "verify"})

__all__ = ["__version__", *_HOME]


def _public(name: str) -> Any:
    return getattr(importlib.import_module(_HOME[name]), name)


class _CallableLayer(ModuleType):
    """A layer's package that can be called as the verb of the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _public(self.__name__.removeprefix("fullfield."))(*args, **kwargs)

    @property
    def __signature__(self) -> _inspect.Signature:
        return _inspect.signature(_public(self.__name__.removeprefix("fullfield.")))


class _Package(ModuleType):
    """This package: public names on first use, and layers that are verbs too."""

    def __getattr__(self, name: str) -> Any:
        if name in _LAYERS:
            return importlib.import_module(f"fullfield.{name}")
        if name in _HOME:
            value = _public(name)
            setattr(self, name, value)
            return value
        raise AttributeError(f"module 'fullfield' has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds every imported submodule to its parent exactly here, whoever imports it and when.
        if name in _LAYERS and type(value) is ModuleType:
            value.__class__ = _CallableLayer
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(__all__)


sys.modules[__name__].__class__ = _Package
