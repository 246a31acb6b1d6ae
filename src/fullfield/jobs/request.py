"""What a scan is asked to do: one immutable record, checked as far as possible without reading the image."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from fullfield.arguments import check_choice, parse_pair, parse_record
from fullfield.engine.engines.choose import EngineChoice, choose_engine
from fullfield.errors import ArgumentError, GeometryError
from fullfield.exporters import check_output
from fullfield.geometry.region import Pair
from fullfield.mask.where import Where
from fullfield.model.model import Model
from fullfield.planning import EXACT, Borders
from fullfield.planning.compute import Compute
from fullfield.planning.constants import CostConstants
from fullfield.planning.mode import AnyMode, parse_mode
from fullfield.store.encoding import Encoding
from fullfield.verification.crops import check_samples
from fullfield.verification.target import Target

Existing = Literal["resume", "restart", "overwrite"]
StepLike = int | tuple[int, int]


@dataclass(frozen=True, eq=False)
class ScanRequest:
    """What a scan is asked to do; ``fullfield.scan`` says what the fields mean.

    Args:
        model: on the device to compute with.
        image: as the user gave it.
        step: px between windows (y, x); ``None`` for the network's stride.
        borders: the mode.
        scale: factor on the image's size before the scan.
        where: selects windows.
        encoding: which scores are stored, as which numbers.
        compute: memory, tile, method, device, engine, precision and share of the work.
        samples: windows to run as crops afterwards, 0 for none.
        seed: of their draw.
        target: what these windows are to show; ``None`` for what the mode promises.
        engine_why: why its engine was chosen, if not as asked for.
        constants: to plan it by; ``None`` for those of this machine, where they were measured.
        scans: equal scans to plan it for; ``None`` for as many as the model ran before.
    """

    model: Model
    image: object
    step: Pair | None = None
    borders: Borders = EXACT
    scale: float = 1.0
    where: Where = field(default_factory=Where)
    encoding: Encoding = field(default_factory=Encoding)
    compute: Compute = field(default_factory=Compute)
    samples: int = 0
    seed: int = 0
    target: Target | None = None
    engine_why: str | None = None
    constants: CostConstants | None = None
    scans: int | None = None

    @cached_property
    def engine(self) -> EngineChoice:
        """What runs it.

        Raises:
            ArgumentError: an engine or a precision that this model or machine cannot have.
        """
        chosen = choose_engine(self.compute, self.model.dtype, self.model.device)
        return chosen if self.engine_why is None else replace(chosen, why=self.engine_why)

    @property
    def computed(self) -> Model:
        """The model in the type in which its programs are lowered."""
        return self.model.in_type(self.engine.network_dtype)

    @classmethod
    def parse(
        cls,
        model: Model,
        image: object,
        *,
        step: StepLike | None = None,
        mode: AnyMode = "exact",
        scale: float = 1.0,
        where: Where | None = None,
        encoding: Encoding | None = None,
        compute: Compute | None = None,
        samples: int = 0,
    ) -> ScanRequest:
        """The request for the arguments of a verb.

        Raises:
            ArgumentError: a record of another type.
            GeometryError: an argument that means nothing.
        """
        if samples:
            check_samples("verify", samples)
        compute, where = parse_record("compute", compute, Compute), parse_record("where", where, Where)
        if model.of_signals:
            _check_signals(scale, where)
        return cls(
            model if compute.device is None else model.on(compute.device),
            image,
            None if step is None else parse_step(step, model),
            parse_mode(mode),
            scale,
            where,
            parse_record("encoding", encoding, Encoding),
            compute,
            samples,
        )


def _check_signals(scale: float, where: Where) -> None:
    """Raises where an argument is for images alone.

    Raises:
        GeometryError: one is.
    """
    if scale != 1:
        what, fix = f"{scale:g}: signals are not resampled", "resample it first, with torchaudio or soxr, say"
        raise GeometryError("scale", what, fix=fix)
    if where.skip_background is not False:
        what, fix = "a signal has no background that is found", "give a mask (1, t) of the samples to look at"
        raise GeometryError("skip_background", what, fix=fix)


@dataclass(frozen=True)
class OutputRequest:
    """Where a result on disk goes, and how an earlier result there is treated.

    Args:
        path: a store ``….zarr``, or a file that is made of one.
        existing: ``resume`` an unfinished result, ``restart`` it, or ``overwrite`` a finished one.
    """

    path: Path
    existing: Existing = "resume"

    @classmethod
    def parse(cls, path: str | os.PathLike[str], existing: Existing) -> OutputRequest:
        """The request for the arguments of a verb.

        Raises:
            ArgumentError: a path that is none.
            GeometryError: an unknown ``existing``.
            ImageError: a suffix that names no format, or a place that cannot be written to.
        """
        check_existing(existing)
        if not isinstance(path, (str, os.PathLike)):
            raise ArgumentError("output", f"{path!r:.60} is no path", fix='write output="map.zarr"')
        target = Path(path)
        if target.suffix.lower() != ".zarr":
            check_output(target, existing == "overwrite")
        return cls(target, existing)

    @property
    def is_store(self) -> bool:
        """Whether the result is a store."""
        return self.path.suffix.lower() == ".zarr"

    @property
    def overwrite(self) -> bool:
        """Whether a finished result may be replaced."""
        return self.existing == "overwrite"


def check_existing(existing: str) -> None:
    """Raises unless ``existing`` is one of the three words.

    Raises:
        GeometryError: it is not.
    """
    check_choice("existing", existing, get_args(Existing))


def parse_step(step: StepLike, model: Model) -> Pair:
    """The step along y and x, px; of a model of signals one number, samples.

    Raises:
        GeometryError: not one or two positive integers; of a model of signals, not one.
    """
    if not model.of_signals:
        return parse_pair("step", step, fix="use 1 or more, such as 32")
    rows, samples = parse_pair("step", (1, step) if isinstance(step, int) else step, fix="use 1 or more, such as 100")
    if rows != 1:
        raise GeometryError("step", f"{step} are two numbers, a signal has one axis", fix=f"write step={samples}")
    return rows, samples
