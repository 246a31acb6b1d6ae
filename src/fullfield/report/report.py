"""The report that ``inspect`` returns: one row a layer, totals, and a summary in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fullfield.image.input_summary import InputSummary
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.window_resize import WindowResize
from fullfield.model.window_standardise import Standardise
from fullfield.operators.work import Work
from fullfield.report.row import Row
from fullfield.report.table import render
from fullfield.text import html_text


@dataclass(frozen=True)
class Report:
    """A network's layers, their cost and receptive fields, and what these mean for scanning.

    ``print(report)`` shows a table, ``report["features.0"]`` is one row.

    Args:
        name: the network's.
        window: height and width, px.
        channels: of its input.
        classes: scores a window.
        dtype: its floating type.
        preprocessing: how pixels become its input.
        rows: one a layer, in the order in which they run.
        at: height and width of the image behind every row's ``at``, px.
        weight_bytes: parameters and stored statistics.
        peak_bytes: most memory that one window takes at a time: weights and the activations still needed.
        uncounted: operators whose arithmetic is not in ``work``.
        misaligned: where branches join whose cells are not centred on the same pixels.
        refused: operators that read the whole window, and why.
        convertible: whether it can run as one fully convolutional network, as ``context`` mode does.
        summary: what the numbers mean for scanning, in short sentences.
        scores_of: the layer whose features it gives for a window, and how they are made of its output.
        about: what else the network's files say, as title and text.
        resize: how windows are resized before the network; ``None`` where they are not.
        standardise: how each is brought to one scale; ``None`` where they are not.
    """

    name: str
    window: tuple[int, int]
    channels: int
    classes: int
    dtype: str
    preprocessing: Preprocessing
    rows: tuple[Row, ...]
    at: tuple[int, int] | None
    weight_bytes: int
    peak_bytes: int
    uncounted: tuple[str, ...]
    misaligned: tuple[str, ...]
    refused: tuple[str, ...]
    convertible: bool
    summary: tuple[str, ...] = ()
    scores_of: str | None = None
    about: tuple[tuple[str, str], ...] = ()
    resize: WindowResize | None = None
    standardise: Standardise | None = None

    def __getitem__(self, name: str) -> Row:
        """The row of the layer called ``name``.

        Raises:
            KeyError: no row has that name; the message lists the names.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r} is not one of {', '.join(row.name for row in self.rows)}")

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def parameters(self) -> int:
        """Learned numbers, each once."""
        return sum(row.parameters for row in self.rows)

    @property
    def unshared(self) -> int:
        """Learned numbers if no convolution shared its weights between cells."""
        return sum(row.unshared for row in self.rows)

    @property
    def work(self) -> Work:
        """Operations on one window."""
        return sum((row.work for row in self.rows), Work())

    @property
    def macs(self) -> int:
        """Multiply-adds on one window."""
        return self.work.macs

    @property
    def flops(self) -> int:
        """Twice the multiply-adds."""
        return self.work.flops

    @property
    def activation_bytes(self) -> int:
        """Bytes of all layers' outputs at the window, the image among them."""
        return sum(row.activation_bytes for row in self.rows)

    @property
    def input(self) -> str:
        """How pixels become network input, with a warning where that is not known."""
        return str(InputSummary(self.preprocessing, resize=self.resize, standardise=self.standardise))

    @property
    def features(self) -> Row:
        """The last map of more than one cell whose spacing is known: the input of the head."""
        maps = [row for row in self.rows if row.jump is not None]
        return next((row for row in reversed(maps) if max(row.shape[-2:]) > 1), maps[0])

    @property
    def stride(self) -> tuple[float, float]:
        """Px between neighbouring cells of ``features`` along y and x: the network's own step."""
        jump = self.features.jump
        assert jump is not None
        return jump

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON, pairs in the order (y, x)."""
        return {
            "name": self.name,
            "window": list(self.window),
            "channels": self.channels,
            "classes": self.classes,
            "scores_of": self.scores_of,
            "about": dict(self.about),
            "dtype": self.dtype,
            "preprocessing": self.preprocessing.to_dict(),
            "input": self.input,
            "at": None if self.at is None else list(self.at),
            "stride": list(self.stride),
            "features": self.features.name,
            "rows": [row.to_dict() for row in self.rows],
            "totals": {
                "parameters": self.parameters,
                "unshared": self.unshared,
                **self.work.to_dict(),
                "activation_bytes": self.activation_bytes,
                "weight_bytes": self.weight_bytes,
                "peak_bytes": self.peak_bytes,
            },
            "uncounted": list(self.uncounted),
            "misaligned": list(self.misaligned),
            "refused": list(self.refused),
            "convertible": self.convertible,
            "summary": list(self.summary),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """``to_dict`` as text."""
        return json.dumps(self.to_dict(), indent=indent)

    def _repr_html_(self) -> str:
        return html_text(str(self))

    def __str__(self) -> str:
        return render(self)

    def __repr__(self) -> str:
        (h, w), macs = self.window, self.macs
        return (
            f"Report({self.name!r}, {len(self.rows)} rows, window {h}x{w}, {self.parameters} parameters, {macs} MACs)"
        )
