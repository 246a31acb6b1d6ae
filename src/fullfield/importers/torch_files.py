"""Reads ``.pt2`` programs and pickled modules, from trusted files only: both formats can run code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fullfield.errors import CaptureError, first_line
from fullfield.importers.checkpoints.packages import import_pickled
from fullfield.importers.checkpoints.state_dict import StateDict, state_in
from fullfield.importers.foreign import USE_ONNX, pickled_packages, recognised_pickle
from fullfield.layers.recurrent import OF_OPERATORS
from fullfield.model.by_window import for_each_window


@dataclass(frozen=True)
class ProgramFile:
    """A ``.pt2`` file's network, and what the file fixes of its input.

    Args:
        shape: channels, height and width; of a signal ``(n, c, t)`` the height is one.
        batch: windows.
    """

    module: torch.fx.GraphModule
    shape: tuple[int, int, int] | None = None
    batch: int | None = None

    @property
    def has_states(self) -> bool:
        """Whether it has recurrent layers, whose states of a fixed batch torch reads beyond their end for another."""
        return any(node.target in OF_OPERATORS for node in self.module.graph.nodes)

    def for_each_window(self, name: str) -> torch.fx.GraphModule:
        """The network for any number of windows, of one for a fixed number of images.

        Raises:
            CaptureError: the file fixes no such number, or torch cannot run it for each window.
        """
        if self.shape is None or self.batch is None:
            raise CaptureError(name, "has no fixed batch of images", fix="export it for images")
        return for_each_window(self.module, self.batch, self.shape, name)


def read_program(path: Path) -> ProgramFile:
    """The program in a ``.pt2`` file."""
    try:
        program = torch.export.load(path)
        module = program.module(check_guards=False)
    except Exception as error:  # torch raises many types for a damaged archive
        raise _unreadable(path, error) from error
    inputs = set(program.graph_signature.user_inputs)
    shapes = [n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder" and n.name in inputs]
    plain = torch.fx.GraphModule(module, module.graph)
    fixed = len(shapes) == 1 and len(shapes[0]) in (3, 4) and all(isinstance(size, int) for size in shapes[0][1:])
    if not fixed:
        return ProgramFile(plain)
    batch, channels, *sides = shapes[0]
    fixed_batch = batch if isinstance(batch, int) and len(sides) == 2 else None
    return ProgramFile(plain, (channels, *([1, *sides][-2:])), fixed_batch)


def read_pickle(path: Path) -> nn.Module | StateDict:
    """The module or the weights in a file that ``torch.save`` or ``pickle`` wrote. Runs code that the file holds."""
    import_pickled(pickled_packages(path), str(path))
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # unpickling runs code of the file, which can raise anything
        raise _unreadable(path, error) from error
    if isinstance(loaded, nn.Module):
        return loaded
    if (state := state_in(path, loaded)) is not None:
        return state
    held = loaded if isinstance(loaded, dict) else {"model": getattr(loaded, "model", None)}  # of a Learner of fastai
    for key in ("model", "state_dict", "module", "net"):
        if isinstance(module := held.get(key), nn.Module):
            return module
    what = f"holds a {type(loaded).__name__}, neither a module nor weights"
    raise CaptureError(str(path), what, fix="save the module, or its state_dict()")


def _unreadable(path: Path, error: Exception) -> CaptureError:
    missing = _missing_class(error)
    if missing is not None:
        fix = f"install the package that defines it, or put its source on PYTHONPATH; or, where it runs, {USE_ONNX}"
        if (foreign := recognised_pickle(path)) is not None:
            fix = f"pip install fastai; or, {foreign.fix}"
        return CaptureError(str(path), f"needs {missing}, which cannot be imported here", fix=fix)
    why = f"{type(error).__name__}: {first_line(error)}"
    return CaptureError(str(path), f"cannot be read ({why})", fix="export it again with the torch installed here")


def _missing_class(error: Exception) -> str | None:
    """The class or module that unpickling could not import."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the Python module {error.name}"
    found = re.search(r"Can't get attribute '([^']+)' on <module '([^']+)'", str(error))
    if isinstance(error, AttributeError) and found:
        return f"the class {found[1]} of the Python module {found[2]}"
    return None
