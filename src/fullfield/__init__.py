"""Scores of an image classifier on every window of an image of any size, equal to those of the crops.

The verbs: ``load`` makes a ``Model`` of a file or a module, ``save`` writes it down, ``inspect`` describes it,
``convert`` makes it fully convolutional, ``scan`` runs it over an image and returns ``Scores``, ``verify`` compares
these with the crops and returns a ``Certificate``; ``decide`` makes one score a class of them, as a ``Decision``;
``plan`` says beforehand how a scan would run, as a ``Plan``, and ``tune`` measures what scores cheaper than exact ones
are worth, as a ``Tuning``; ``evaluate`` compares scores with ``Labels`` and returns an ``Evaluation``; ``open`` gives
an image of any size to be read by region.

``fullfield.layers`` has layers that torch lacks, ``fullfield.workbench`` tools to build and study networks by hand.

Importing this package imports no torch: every public name is looked up when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fullfield._version import __version__ as __version__

if TYPE_CHECKING:
    import fullfield.layers
    import fullfield.workbench  # noqa: F401 - makes both packages attributes, for type checkers too
    from fullfield.api.batch_output import BatchOutput as BatchOutput
    from fullfield.api.boxes import DetectedBoxes as DetectedBoxes
    from fullfield.api.convert import convert as convert
    from fullfield.api.decide import decide as decide
    from fullfield.api.detect import detect as detect
    from fullfield.api.evaluate import evaluate as evaluate
    from fullfield.api.export import export as export
    from fullfield.api.find_foreground import find_foreground as find_foreground
    from fullfield.api.find_foreground import save_foreground as save_foreground
    from fullfield.api.info import FileInfo as FileInfo
    from fullfield.api.info import info as info
    from fullfield.api.inspect import Report as Report
    from fullfield.api.inspect import inspect as inspect
    from fullfield.api.list_images import list_images as list_images
    from fullfield.api.plan import StepCost as StepCost
    from fullfield.api.plan import compare_steps as compare_steps
    from fullfield.api.plan import plan as plan
    from fullfield.api.scan import scan as scan
    from fullfield.api.scan_files import FileResult as FileResult
    from fullfield.api.scan_files import scan_files as scan_files
    from fullfield.api.scores import Scores as Scores
    from fullfield.api.scores import open_scores as open_scores
    from fullfield.api.segments import Segments as Segments
    from fullfield.api.tune import tune as tune
    from fullfield.api.verify import verify as verify
    from fullfield.decisions.decision import Decision as Decision
    from fullfield.decisions.decision import DecisionRegion as DecisionRegion
    from fullfield.decisions.evaluation.evaluation import Evaluation as Evaluation
    from fullfield.decisions.evaluation.labels import Labels as Labels
    from fullfield.decisions.rule import DecisionRule as DecisionRule
    from fullfield.decisions.segment import SegmentCount as SegmentCount
    from fullfield.decisions.segmentation import Segmentation as Segmentation
    from fullfield.decisions.temperature import Temperature as Temperature
    from fullfield.decisions.temperature import fit_temperature as fit_temperature
    from fullfield.engine.progress import Progress as Progress
    from fullfield.errors import ArgumentError as ArgumentError
    from fullfield.errors import BudgetError as BudgetError
    from fullfield.errors import CaptureError as CaptureError
    from fullfield.errors import FullfieldError as FullfieldError
    from fullfield.errors import GeometryError as GeometryError
    from fullfield.errors import ImageError as ImageError
    from fullfield.errors import ResumeError as ResumeError
    from fullfield.errors import UnsupportedError as UnsupportedError
    from fullfield.exporters import Exported as Exported
    from fullfield.exporters.detections import Detections as Detections
    from fullfield.geometry.placement import Placement as Placement
    from fullfield.image.listed import ListedImage as ListedImage
    from fullfield.image.open import ImageFile as ImageFile
    from fullfield.image.open import open as open
    from fullfield.image.raster import Georeference as Georeference
    from fullfield.image.raster import Raster as Raster
    from fullfield.image.selection import Selection as Selection
    from fullfield.importers.load import load as load
    from fullfield.jobs.candidates import Tuning as Tuning
    from fullfield.mask.background import Foreground as Foreground
    from fullfield.mask.where import Where as Where
    from fullfield.model.model import Model as Model
    from fullfield.model.preprocessing import Preprocessing as Preprocessing
    from fullfield.model.save import save as save
    from fullfield.planning.compute import Compute as Compute
    from fullfield.planning.plan import Plan as Plan
    from fullfield.planning.table import PlanTable as PlanTable
    from fullfield.store.encoding import Encoding as Encoding
    from fullfield.verification.certificate import Certificate as Certificate
    from fullfield.verification.target import Target as Target

# Public name -> the module that defines it under the same name. tests/test_package.py holds the two lists equal.
_HOME = {
    "ArgumentError": "fullfield.errors",
    "BatchOutput": "fullfield.api.batch_output",
    "BudgetError": "fullfield.errors",
    "CaptureError": "fullfield.errors",
    "Certificate": "fullfield.verification.certificate",
    "Compute": "fullfield.planning.compute",
    "Decision": "fullfield.decisions.decision",
    "DecisionRegion": "fullfield.decisions.decision",
    "DecisionRule": "fullfield.decisions.rule",
    "DetectedBoxes": "fullfield.api.boxes",
    "Detections": "fullfield.exporters.detections",
    "Encoding": "fullfield.store.encoding",
    "Evaluation": "fullfield.decisions.evaluation.evaluation",
    "Exported": "fullfield.exporters",
    "FileInfo": "fullfield.api.info",
    "FileResult": "fullfield.api.scan_files",
    "Foreground": "fullfield.mask.background",
    "FullfieldError": "fullfield.errors",
    "GeometryError": "fullfield.errors",
    "Georeference": "fullfield.image.raster",
    "ImageError": "fullfield.errors",
    "ImageFile": "fullfield.image.open",
    "Labels": "fullfield.decisions.evaluation.labels",
    "ListedImage": "fullfield.image.listed",
    "Model": "fullfield.model.model",
    "Placement": "fullfield.geometry.placement",
    "Plan": "fullfield.planning.plan",
    "PlanTable": "fullfield.planning.table",
    "Preprocessing": "fullfield.model.preprocessing",
    "Progress": "fullfield.engine.progress",
    "Raster": "fullfield.image.raster",
    "Report": "fullfield.api.inspect",
    "ResumeError": "fullfield.errors",
    "Scores": "fullfield.api.scores",
    "SegmentCount": "fullfield.decisions.segment",
    "Segmentation": "fullfield.decisions.segmentation",
    "Segments": "fullfield.api.segments",
    "Selection": "fullfield.image.selection",
    "StepCost": "fullfield.api.plan",
    "Target": "fullfield.verification.target",
    "Temperature": "fullfield.decisions.temperature",
    "Tuning": "fullfield.jobs.candidates",
    "UnsupportedError": "fullfield.errors",
    "Where": "fullfield.mask.where",
    "compare_steps": "fullfield.api.plan",
    "convert": "fullfield.api.convert",
    "decide": "fullfield.api.decide",
    "detect": "fullfield.api.detect",
    "evaluate": "fullfield.api.evaluate",
    "export": "fullfield.api.export",
    "find_foreground": "fullfield.api.find_foreground",
    "fit_temperature": "fullfield.decisions.temperature",
    "info": "fullfield.api.info",
    "inspect": "fullfield.api.inspect",
    "list_images": "fullfield.api.list_images",
    "load": "fullfield.importers.load",
    "open": "fullfield.image.open",
    "open_scores": "fullfield.api.scores",
    "plan": "fullfield.api.plan",
    "save_foreground": "fullfield.api.find_foreground",
    "save": "fullfield.model.save",
    "scan": "fullfield.api.scan",
    "scan_files": "fullfield.api.scan_files",
    "tune": "fullfield.api.tune",
    "verify": "fullfield.api.verify",
}

# Public packages: ``fullfield.layers.LocallyConnected2d``, ``fullfield.workbench.build``.
_PACKAGES = ("layers", "workbench")

__all__ = ["__version__", *_HOME]


if not TYPE_CHECKING:  # type checkers know the names above, and no others

    def __getattr__(name: str) -> Any:
        if name in _PACKAGES:
            return importlib.import_module(f"fullfield.{name}")
        if name not in _HOME:
            raise AttributeError(f"module 'fullfield' has no attribute {name!r}", name=name)
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
