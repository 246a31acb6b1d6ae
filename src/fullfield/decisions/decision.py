"""The record of a decision: one score a class for an image or a region of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.drawing.pictures import html_table

_SHOWN = 3  # classes in a repr


@dataclass(frozen=True)
class DecisionRegion:
    """The region that a decision is about.

    Args:
        name: from the polygon's properties; else its number.
        number: of its annotation in the file, from 0.
        properties: of the annotation, as the file has them.
    """

    name: str
    number: int
    properties: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class Decision:
    """One score a class for an image, or for a region of it, from the scores of its windows.

    Args:
        scores: ``(classes,)``, float64; NaN where a class has no score in any window.
        classes: index of each among the network's classes.
        class_names: one for each of ``classes``, if the network names them.
        how: the function of the scores, as it was asked for.
        on: what it is a function of: ``scores``, ``logits``, ``probabilities``, ``softmax``, ``sigmoid`` or ``labels``.
        windows: number of windows with scores.
        effective: effective number of independent windows: covered pixels over a window's, at least 1.
        temperature: that logits were divided by.
        region: that it is about; ``None`` for the whole map.
        remark: a warning; empty if there is none.
        combined: what several scans were combined over, as they were asked for: ``scales``, ``views``, ``modes``.
    """

    scores: NDArray[np.float64]
    classes: tuple[int, ...]
    class_names: tuple[str, ...] | None
    how: str
    on: str
    windows: int
    effective: float
    temperature: float = 1.0
    region: DecisionRegion | None = None
    remark: str = ""
    combined: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes; ``class 3`` where they have none."""
        return self.class_names or tuple(f"class {k}" for k in self.classes)

    @property
    def top(self) -> str | int:
        """The class with the greatest score: its name, or its index where classes have no names."""
        best = int(np.nanargmax(self.scores))
        return self.classes[best] if self.class_names is None else self.class_names[best]

    def to_dict(self) -> dict[str, Any]:
        """The decision as plain JSON; a score that is not finite is ``None``."""
        found: dict[str, Any] = {
            "how": self.how,
            "on": self.on,
            "temperature": self.temperature,
            "top": self.top,
            "scores": [value if math.isfinite(value) else None for value in self.scores.tolist()],
            "classes": list(self.classes),
            "class_names": None if self.class_names is None else list(self.class_names),
            "windows": self.windows,
            "effective": self.effective,
            "remark": self.remark,
        }
        if self.combined:
            found["combined"] = {name: list(texts) for name, texts in self.combined.items()}
        region = self.region
        if region is not None:
            found["region"] = {"name": region.name, "number": region.number, "properties": region.properties}
        return found

    def __repr__(self) -> str:
        region = "" if self.region is None else f"{self.region.name!r}: "
        return f"Decision({region}{self._top_text(_SHOWN)}; {self._how_text()}, {self._windows_text()})"

    def _repr_html_(self) -> str:
        rows = [] if self.region is None else [("region", self.region.name)]
        rows += [("decision", self._top_text(8)), ("how", self._how_text()), ("windows", self._windows_text())]
        return html_table(rows + ([("remark", self.remark)] if self.remark else []), None, "")

    def _how_text(self) -> str:
        divided = "" if self.temperature == 1 else f" at temperature {self.temperature:.4g}"
        return f"{self.how} of {self.on}{divided}{''.join(map(self._combined_text, self.combined))}"

    def _combined_text(self, name: str) -> str:
        """What scans were combined over: few by name, many by number."""
        texts = self.combined[name]
        return f", {name} {', '.join(texts)}" if len(texts) <= _SHOWN else f", {len(texts)} {name}"

    def _windows_text(self) -> str:
        return f"{self.windows} windows, {self.effective:.4g} independent"

    def _top_text(self, most: int) -> str:
        """The classes with the greatest scores."""
        order = np.argsort(-np.nan_to_num(self.scores, nan=-np.inf), kind="stable")[:most].tolist()
        more = ", …" if len(self.scores) > most else ""
        return ", ".join(f"{self.names[k]} {self.scores[k]:.4g}" for k in order) + more
