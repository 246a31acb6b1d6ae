"""What a scan of several images writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fullfield.arguments import checks_fields
from fullfield.decisions.rule import DecisionRule
from fullfield.drawing.score_pictures import PictureStyle
from fullfield.errors import ArgumentError, GeometryError
from fullfield.exporters.table_file import check_table
from fullfield.files import PICTURES, check_writable, output_paths
from fullfield.image.views import ViewsLike
from fullfield.jobs.parse_passes import ScalesLike, parse_passes


@checks_fields
@dataclass(frozen=True)
class BatchOutput:
    """What ``scan_files`` writes. In a path ``{name}`` is an image's name without its suffix, ``{suffix}`` that suffix,
    ``{parent}`` the name of the folder it is in, and ``{folder}`` that folder's path below the one that was searched.

    Args:
        scores: where the scores of each image go: ``"maps/{name}.zarr"``; without it they are kept in memory.
        summary: a table with a row for each image, ``.csv`` or ``.parquet``, written anew after each image.
        thumbnails: pictures of the scores over each image: ``"pictures/{name}.png"``.
        cls: the class in these; by default the one whose scores span the widest range.
        side: most px of a side of the image in them.
        decide: the function with which each image is decided, or a ``DecisionRule``; without ``scores`` no map is kept.
        scales, views: sizes and views that are decided as one, as for ``decide``.

    Raises:
        GeometryError: a path without ``{name}`` or with an unknown word in braces, or a side that is not positive.
        ArgumentError: sizes or views without a decision, or regions with a summary.
        ImageError: a suffix that names no format, or a package that writes it is not installed.

    Examples:
        >>> BatchOutput("maps/{name}.zarr", summary="summary.csv").thumbnails is None
        True
    """

    scores: str | None = None
    summary: str | os.PathLike[str] | None = None
    thumbnails: str | None = None
    cls: int | str | None = None
    side: int = 1024
    decide: str | DecisionRule | None = None
    scales: ScalesLike = None
    views: ViewsLike = None

    def __post_init__(self) -> None:
        for template in (self.scores, self.thumbnails):
            if template is not None:
                output_paths([], template)
        if self.summary is not None:
            check_writable(self.summary, True, suffixes=None)
            check_table(Path(self.summary))
        if self.thumbnails is not None and Path(self.thumbnails).suffix.lower() not in PICTURES:
            known = ", ".join(PICTURES)
            raise GeometryError("thumbnails", f"{self.thumbnails!r} names no picture", fix=f"use one of {known}")
        if self.side < 1:
            raise GeometryError("side", f"{self.side} px is not positive", fix="use 1024, say")
        rule = self.rule
        parse_passes(self.scales, self.views, "exact")
        if rule is None and (self.scales, self.views) != (None, None):
            raise ArgumentError("scales, views", "are of a decision, and none is asked for", fix='add decide="mean"')
        if rule is not None and rule.regions is not None and self.summary is not None:
            what = "give an image several decisions, and a summary has one row for it"
            raise ArgumentError("regions", what, fix="leave out the summary")

    @property
    def rule(self) -> DecisionRule | None:
        """How each image is decided."""
        return DecisionRule(self.decide) if isinstance(self.decide, str) else self.decide

    @property
    def style(self) -> PictureStyle:
        """How thumbnails are drawn."""
        return PictureStyle(side=self.side, thumbnail=True)


def parse_batch_output(output: str | os.PathLike[str] | BatchOutput | None) -> BatchOutput:
    """The record for the argument of a verb.

    Raises:
        ArgumentError: it is none, and no path.
    """
    if isinstance(output, BatchOutput):
        return output
    if output is None or isinstance(output, (str, os.PathLike)):
        return BatchOutput(None if output is None else os.fspath(output))
    raise ArgumentError("output", f"{output!r:.60} is no path", fix='write output="maps/{name}.zarr"')
