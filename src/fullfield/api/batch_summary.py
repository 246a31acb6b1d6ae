"""The table of a scan of several images: written after every image, and read to find what is finished."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullfield._version import __version__
from fullfield.errors import ImageError, ResumeError
from fullfield.exporters.table_file import TableCell, read_table, write_table
from fullfield.file_locks import LockedError, file_lock
from fullfield.image.open import opened_state
from fullfield.planning.mode import mode_text

if TYPE_CHECKING:
    from fullfield.decisions.decision import Decision
    from fullfield.image.listed import ListedImage
    from fullfield.jobs.request import Existing, ScanRequest
    from fullfield.verification.target import Target

FIRST = ("image", "output")
DECISION = "decision_"  # and the name of a class
TOP = "top"  # the class with the greatest score
LAST = ("windows", "background", "seconds", "error")
RUN = "run"
COLUMNS = (*FIRST, TOP, *LAST, RUN)
_OF_RUN = ("model", "settings", "image")  # the three parts of the column ``run``


@dataclass(frozen=True)
class BatchRun:
    """Hashes of what the row of an image depends on.

    Args:
        model: the network.
        settings: all that was asked for.
        image: size and time of change of the image and its mask, and the part that is scanned.
    """

    model: str
    settings: str
    image: str = ""

    def __str__(self) -> str:
        return f"{self.model}-{self.settings}-{self.image}"


def run_of(request: ScanRequest, target: Target | None, more: Any = None) -> BatchRun:
    """What the rows of all images depend on.

    Args:
        request: of any image.
        target: of the mode, if that is chosen for each image.
        more: what else was asked for, as plain JSON.
    """
    where = {name: value for name, value in request.where.to_json().items() if name != "mask"}
    settings = {
        "fullfield": __version__,
        "step": request.step,
        "mode": mode_text(request.borders) if target is None else repr(target),
        "scale": request.scale,
        "where": where | {"edge": request.where.edge},
        "encoding": repr(request.encoding),
        "precision": request.engine.precision,
        "more": more,
    }
    return BatchRun(request.model.hash[:12], _hash(settings))


def decision_columns(decision: Decision | None) -> dict[str, TableCell]:
    """The score of each class, and the class with the greatest one."""
    if decision is None:
        return {}
    scores = zip(decision.names, decision.scores.tolist(), strict=True)
    columns: dict[str, TableCell] = {
        f"{DECISION}{name}": None if math.isnan(score) else score for name, score in scores
    }
    return columns | {TOP: str(decision.top)}


def of_image(run: BatchRun, image: ListedImage, mask: Any) -> BatchRun:
    """What the row of one image depends on.

    Args:
        mask: identity of its mask, as plain JSON.
    """
    state = opened_state(image.path, image.selection.stack)
    return BatchRun(run.model, run.settings, _hash({"state": state, "selection": repr(image.selection), "mask": mask}))


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True, default=repr).encode(), digest_size=6).hexdigest()


@dataclass
class BatchSummary:
    """The rows of the images that are finished or failed, by image; each new row is written to the file.

    Args:
        path: of the table.
        rows: by image.
    """

    path: Path
    rows: dict[str, dict[str, TableCell]] = field(default_factory=dict)

    @classmethod
    def opened(cls, path: Path, run: BatchRun, existing: Existing) -> BatchSummary:
        """The table at a path, if it is one of the same model and settings; an empty one where there is none.

        Raises:
            ResumeError: it is of another model or of other settings, and is not to be replaced.
            ImageError: it is another table.
        """
        if not path.exists():
            return cls(path)
        rows = _own_rows(path, replace=existing == "overwrite")
        for row in rows:
            found = str(row[RUN]).split("-")
            for name, there, now in zip(_OF_RUN, found, (run.model, run.settings), strict=False):
                if there != now and existing == "resume":
                    other = "another model" if name == "model" else "other settings"
                    fix = "name another summary, or begin it anew: existing='restart' (--restart)"
                    raise ResumeError(str(path), f"is the summary of {other}", fix=fix)
        kept = [row for row in rows if str(row[RUN]).startswith(f"{run.model}-{run.settings}-")]
        return cls(path, {str(row["image"]): row for row in kept})

    def finished(self, image: str, run: BatchRun, files: Sequence[Path | None]) -> dict[str, TableCell] | None:
        """The row of an image that is finished, and unchanged since; ``None`` where there is none.

        Args:
            image: its path.
            run: what the row must be of.
            files: what was to be written: the scores first.
        """
        row = self.rows.get(image)
        if row is None or row.get("error") or row.get(RUN) != str(run):
            return None
        if (row.get("output") or None) != (None if files[0] is None else str(files[0])):
            return None
        return row if all(file is None or file.exists() for file in files) else None

    def add(self, row: dict[str, TableCell]) -> None:
        """Adds the row of an image, or replaces it, and writes the table.

        Raises:
            ImageError: it cannot be written.
        """
        self.rows[str(row["image"])] = row
        rows = list(self.rows.values())
        names = dict.fromkeys(name for each in rows for name in each)
        decided = [name for name in names if name.startswith(DECISION)]
        top = [TOP] if decided else []
        others = [name for name in names if name not in (*COLUMNS, *decided)]
        columns = [*FIRST, *decided, *top, *LAST, *others, RUN]
        write_table(rows, self.path, columns=columns, numbers=[*decided, *LAST[:-1]])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing the table.

        Raises:
            ResumeError: another process writes it.
        """
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            with file_lock(lock) as held:
                yield
                held.unlink(missing_ok=True)
        except LockedError as error:
            what = f"is being written by another process{f', {error.holder}' if error.holder else ''}"
            raise ResumeError(str(self.path), what, fix="wait for it, or name another summary") from error


def _own_rows(path: Path, *, replace: bool) -> list[dict[str, TableCell]]:
    """The rows of a table that is a summary; of another table none, if it may be replaced."""
    try:
        rows = read_table(path)
        if all(str(row.get(RUN)).count("-") == 2 and row.get("image") for row in rows):
            return rows
    except ImageError:
        if not replace:
            raise
        return []
    if replace:
        return []
    fix = "name another file, or pass existing='overwrite' (--overwrite)"
    raise ImageError(str(path), "exists already, and is no summary of a scan", fix=fix)
