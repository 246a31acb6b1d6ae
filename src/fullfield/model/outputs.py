"""Chooses the scores among what a module returns: tensors in tuples, dicts and records, by index or name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fullfield.errors import CaptureError

_DEPTH = 6  # levels of nested collections that are looked through


class ScoreOutput(nn.Module):
    """A module that returns the chosen output of another as ``(n, k)``.

    Shape: ``(n,)``, ``(n, k)``, or ``(n, …, k, …)`` with all other sizes 1 -> ``(n, k)``

    Args:
        module: the other.
        score: index or name of the output with the scores; names of nested outputs are joined by dots. It may be left
            out where there is one tensor.
    """

    def __init__(self, module: nn.Module, score: int | str | None) -> None:
        super().__init__()
        self.module = module
        self.score = score

    def forward(self, x: Tensor) -> Tensor:
        """The scores of windows ``(n, c, h, w)``.

        Raises:
            CaptureError: the outputs have no tensor of this name, or several and none is chosen.
        """
        result = self.module(x)
        return as_vectors(choose(result, self.score, type(self.module).__name__), x.shape[0])


def as_vectors(scores: Tensor, windows: int) -> Tensor:
    """One number a window, and vectors with dimensions of size 1, as ``(n, k)``; other tensors as they are.

    Args:
        scores: of the windows.
        windows: their number; during an export a symbol, as then is each size that depends on it.
    """
    sizes = scores.shape
    if len(sizes) == 1 and type(sizes[0]) is type(windows) and sizes[0] == windows:
        return scores.unsqueeze(1)
    if len(sizes) > 2 and sum(not (isinstance(size, int) and size == 1) for size in sizes[1:]) <= 1:
        return scores.flatten(1)
    return scores


def choose(result: Any, score: int | str | None, name: str) -> Tensor:
    """The tensor among a network's outputs that holds the scores.

    Args:
        result: what the network returns.
        score: index of an output; its name; or names and indices of nested ones, joined by dots.
        name: of the network, for the error.

    Raises:
        CaptureError: there is no such tensor, or there are several.

    Examples:
        >>> import torch
        >>> choose({"logits": torch.zeros(2, 5), "aux": [torch.zeros(2, 3)]}, "aux.0", "net").shape
        torch.Size([2, 3])
    """
    found = tensors_of(result)
    if not found:
        what = f"returns {_kind(result)}, which holds no tensor"
        raise CaptureError(name, what, fix="wrap it in a module that returns its scores")
    if score is not None:
        path = _path(result, score)
        chosen = {key: tensor for key, tensor in found.items() if key == path or key.startswith(f"{path}.")}
        if isinstance(result, Tensor) and score in (0, -1):
            chosen = found
        if not chosen:
            raise CaptureError(
                "score", f"{score!r} is no output of {name}, which returns {_listed(found)}", fix=_fix(found)
            )
        found = chosen
    if len(found) > 1:
        what = f"is to be one tensor; {name} returns {len(found)}: {_listed(found)}"
        raise CaptureError("scores", what, fix=_fix(found))
    return next(iter(found.values()))


def tensors_of(result: Any, path: str = "", depth: int = 0) -> dict[str, Tensor]:
    """All tensors in nested tuples, lists, dicts, named tuples and records, by their dotted names."""
    if isinstance(result, Tensor):
        return {path: result}
    found: dict[str, Tensor] = {}
    if depth < _DEPTH:
        for key, item in _items(result).items():
            found |= tensors_of(item, f"{path}.{key}" if path else key, depth + 1)
    return found


def _items(result: Any) -> dict[str, Any]:
    """The parts of a collection, by name or index; none of other values."""
    if isinstance(result, Mapping):
        return {str(key): item for key, item in result.items()}
    if isinstance(result, (tuple, list)):
        names = getattr(result, "_fields", range(len(result)))
        return {str(name): item for name, item in zip(names, result, strict=True)}
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return {str(key): item for key, item in getattr(result, "__dict__", {}).items()}


def _path(result: Any, score: int | str) -> str:
    """The dotted name that a choice means; an index counts the outputs unless one has that name."""
    names: Sequence[str] = list(_items(result))
    if isinstance(score, int) and str(score) not in names and -len(names) <= score < len(names):
        return names[score]
    return str(score)


def _kind(result: Any) -> str:
    kind = type(result).__name__
    return f"an empty {kind}" if isinstance(result, (tuple, list, Mapping)) and not result else f"a {kind}"


def _listed(found: Mapping[str, Tensor]) -> str:
    """The tensors with their shapes for ``n`` windows."""
    return ", ".join(f"{key} {_shape(tensor)}".strip() for key, tensor in found.items())


def _shape(tensor: Tensor) -> str:
    sizes = [str(size) if isinstance(size, int) else "n" for size in tensor.shape]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"


def _fix(found: Mapping[str, Tensor]) -> str:
    first = next(iter(found))
    if not first:
        return "leave out score="
    return f"choose the output that holds the scores: score={first if first.isdigit() else repr(first)}, say"
