"""Chooses the scores of a module: a tensor among what it returns, or among what its layers return, by index or name."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fullfield.arguments import nearest
from fullfield.errors import CaptureError
from fullfield.model.features import ScoreChoice, VectorRule, parse_score, vector_rule

_DEPTH = 6  # levels of nested collections that are looked through


@dataclasses.dataclass(frozen=True, eq=False)
class ChosenTensor:
    """What a module gives as its scores.

    Args:
        tensor: for some windows.
        name: of the output or layer that the user chose, if any.
        inner: whether it is what a layer gives.
    """

    tensor: Tensor
    name: str
    inner: bool


class ScoreOutput(nn.Module):
    """A module that returns the chosen output or layer of another as ``(n, k)``.

    Shape: ``(n,)``, ``(n, k)``, or ``(n, …, k, …)`` with all other sizes 1 -> ``(n, k)``; chosen maps and tokens as
    ``vector_rule`` says

    Args:
        module: the other.
        score: index or name of the output with the scores; names of nested outputs are joined by dots. Or the name of
            a module in it, of which the last run counts. It may be left out where there is one tensor.
        of_signals: whether the windows are images of height one in place of signals.
    """

    def __init__(self, module: nn.Module, score: int | str | ScoreChoice | None, *, of_signals: bool = False) -> None:
        super().__init__()
        self.module, self.of_signals = module, of_signals
        self.choice = parse_score(score)
        self.layer = _innermost(module, self.choice.name)

    def forward(self, x: Tensor) -> Tensor:
        """The scores of windows ``(n, c, h, w)``.

        Raises:
            CaptureError: there is no output and no layer of this name, or several outputs and none is chosen.
        """
        chosen = self._chosen(x)
        if chosen is None:
            raise self.unknown(x, ())
        if not self.choice.is_given:
            return as_vectors(chosen.tensor, x.shape[0])
        return self._rule(chosen, x)(chosen.tensor)

    def finds(self, x: Tensor) -> bool:
        """Whether it has an output or a module of the name that was chosen; true where it does not run."""
        try:
            return self._chosen(x) is not None
        except Exception:  # noqa: BLE001  the module's own code may raise anything, which its export explains
            return True

    def features(self, x: Tensor, whole: nn.Module) -> str | None:
        """What the vectors are, in words, where they are no scores; ``None`` where they are.

        What a layer gives counts as scores where the whole network returns the same, or its softmax or sigmoid.

        Args:
            x: windows of noise.
            whole: the network that this one may be a part of.
        """
        chosen = self._chosen(x) if self.choice.is_given else None
        if chosen is None:
            return None
        rule = self._rule(chosen, x)
        if rule.text:
            return f"{chosen.name}, {rule.text}"
        if not chosen.inner:
            return None
        cut = self.choice.layer is not None and whole is self.module  # by an importer, which knows that it is inner
        if cut or x.device.type == "meta":
            return chosen.name
        vectors = rule(chosen.tensor)
        return None if any(_leads_to(vectors, each) for each in tensors_of(whole(x)).values()) else chosen.name

    def unknown(self, x: Tensor, names: Iterable[str]) -> CaptureError:
        """The error for a name that is no output and no layer; names similar ones.

        Args:
            x: windows.
            names: of operators.
        """
        name, found, network = str(self.choice.name), tensors_of(self.module(x)), type(self.module).__name__
        modules = [path for path, _ in self.module.named_modules() if path]
        if name in modules:
            return CaptureError("score", f"{name!r} does not run when {network} scores windows", fix=_fix(found))
        near = nearest(name, [each for each in (*found, *modules, *names) if each])
        what = f"{name!r} is no output and no layer of {network}, which returns {_listed(found, x.shape[0])}"
        meant = f"did you mean {', '.join(map(repr, near))}?"
        fix = meant if near else f"{_fix(found)}; fullfield inspect lists the layers by name"
        return CaptureError("score", what, fix=fix)

    def _chosen(self, x: Tensor) -> ChosenTensor | None:
        """The tensor that was chosen; ``None`` where there is no output and no module of that name."""
        name = self.choice.name
        reached: list[Any] = []
        with self._listening(reached):
            result = self.module(x)
        found = tensors_of(result)
        part = None if self.layer is None else self.layer[1]
        if reached and not _has(result, found, name) and _has(reached[-1], tensors_of(reached[-1]), part):
            tensor = choose(reached[-1], part, str(name))
            return ChosenTensor(tensor, str(name), inner=True)
        if isinstance(result, Tensor) and name in ("0", "-1"):
            name = int(name)
        if isinstance(name, str) and found and not _has(result, found, name):
            return None
        tensor = choose(result, name, type(self.module).__name__)
        said = self.choice.layer or ("" if name is None else f"output {name}")
        return ChosenTensor(tensor, said, inner=self.choice.layer is not None)

    @contextlib.contextmanager
    def _listening(self, reached: list[Any]) -> Iterator[None]:
        """Appends what the chosen module returns whenever it runs."""
        if self.layer is None:
            yield
            return
        hook = self.module.get_submodule(self.layer[0]).register_forward_hook(lambda m, x, y: reached.append(y))
        try:
            yield
        finally:
            hook.remove()

    def _rule(self, chosen: ChosenTensor, x: Tensor) -> VectorRule:
        """How the tensor becomes vectors.

        Raises:
            CaptureError: its first size is not the number of windows, or another one depends on it.
        """
        sizes = chosen.tensor.shape
        if not sizes or not _same(sizes[0], x.shape[0]) or not all(isinstance(size, int) for size in sizes[1:]):
            what = f"gives {_shape(chosen.tensor)} for n windows, not one row a window"
            raise CaptureError(chosen.name, what, fix="choose a layer before or after it")
        window = None if self.of_signals else (int(x.shape[2]), int(x.shape[3]))
        return vector_rule([int(size) for size in sizes[1:]], self.choice.pooling, window, chosen.name)


def _innermost(module: nn.Module, name: int | str | None) -> tuple[str, str | None] | None:
    """The module with the longest name that a name begins with, and the rest, which names a part of what it returns."""
    if not isinstance(name, str):
        return None
    modules = {path for path, _ in module.named_modules(remove_duplicate=False) if path}
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        path = ".".join(parts[:count])
        if path in modules:
            return path, ".".join(parts[count:]) or None
    return None


def _leads_to(vectors: Tensor, output: Tensor) -> bool:
    """Whether an output is the vectors, their softmax or sigmoid, or the logarithm of either."""
    if vectors.numel() != output.numel() or not output.is_floating_point():
        return False
    scores, found = vectors.double(), output.detach().reshape(vectors.shape).double()
    softmax, log_softmax = scores.softmax(1), scores.log_softmax(1)
    made = (scores, softmax, log_softmax, scores.sigmoid(), nn.functional.logsigmoid(scores))
    slack = 64 * torch.finfo(output.dtype).eps * max(1.0, float(found.abs().nan_to_num(0, 0, 0).max()))
    return any(torch.allclose(each, found, rtol=0, atol=slack, equal_nan=True) for each in made)


def _has(result: Any, found: Mapping[str, Tensor], name: int | str | None) -> bool:
    """Whether a choice is the name or index of an output."""
    return name is None or bool(_named(result, found, name))


def _named(result: Any, found: Mapping[str, Tensor], name: int | str) -> Mapping[str, Tensor]:
    """The tensors in the output of a name or index."""
    if isinstance(result, Tensor) and name in (0, -1):
        return found
    path = _path(result, name)
    return {key: tensor for key, tensor in found.items() if key == path or key.startswith(f"{path}.")}


def _same(size: Any, windows: Any) -> bool:
    """Whether a size is the number of windows; during an export both are symbols."""
    return type(size) is type(windows) and bool(size == windows)


def as_vectors(scores: Tensor, windows: int) -> Tensor:
    """One number a window, and vectors with dimensions of size 1, as ``(n, k)``; other tensors as they are.

    Args:
        scores: of the windows.
        windows: their number; during an export a symbol, as then is each size that depends on it.
    """
    sizes = scores.shape
    if len(sizes) == 1 and _same(sizes[0], windows):
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
    found: Mapping[str, Tensor] = tensors_of(result)
    if not found:
        what = f"returns {_kind(result)}, which holds no tensor"
        raise CaptureError(name, what, fix="wrap it in a module that returns its scores")
    if score is not None:
        chosen = _named(result, found, score)
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


def _listed(found: Mapping[str, Tensor], windows: int = 0) -> str:
    """The tensors with their shapes for ``n`` windows."""
    return ", ".join(f"{key} {_shape(tensor, windows)}".strip() for key, tensor in found.items())


def _shape(tensor: Tensor, windows: int = 0) -> str:
    sizes = [str(size) if isinstance(size, int) else "n" for size in tensor.shape]
    if windows and sizes and sizes[0] == str(windows):
        sizes[0] = "n"
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"


def _fix(found: Mapping[str, Tensor]) -> str:
    first = next(iter(found))
    if not first:
        return "leave out score="
    return f"choose the output that holds the scores: score={first if first.isdigit() else repr(first)}, say"
