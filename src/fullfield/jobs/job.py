"""A scan ready to run: the model, the image, the plan and the windows wanted, all checked before it starts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

from fullfield._version import __version__
from fullfield.engine.engines.cuda.memory import check_device_memory
from fullfield.engine.engines.cuda.transfers import BUFFERED
from fullfield.engine.progress import OnProgress, announce
from fullfield.engine.protocols import Engine, WantedCells
from fullfield.engine.run import wanted_of
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Pair
from fullfield.image.input_summary import input_summary
from fullfield.image.raster import array_identity, finest_level
from fullfield.image.sources import with_cache
from fullfield.image.turned import ScannedSource
from fullfield.jobs.machine_costs import constants_for, with_constants
from fullfield.jobs.overhead import overhead_of
from fullfield.jobs.prepare import PreparedModel, check_context, prepare
from fullfield.jobs.request import ScanRequest
from fullfield.jobs.source import open_source, placement_of
from fullfield.mask.background import Foreground, find_foreground
from fullfield.mask.wanted import wanted_cells
from fullfield.planning import Plan, make_plan
from fullfield.planning.calibration import constants_to_json
from fullfield.planning.choose import time_per_window
from fullfield.planning.cost_cache import Repeats
from fullfield.planning.mode import mode_text
from fullfield.planning.shards import map_cells
from fullfield.store.encoding import ScoreEncoder, score_encoder
from fullfield.store.maps import MapSpec
from fullfield.store.record import plain_json

# Of what a journal says of its job. 3 named no engine; in 2 chunks had no checksums; 0.1.0's first journals had none.
_RECORD_FORMAT = 4
_SAMPLED = 64  # tiles that are asked for wanted cells
_MOST_SCANS = 64  # that a plan counts preparing for: of more it is a small part
_CLEAR_GAIN = 0.9  # of the time that equal scans take by the plan before


@dataclass(frozen=True, eq=False)
class ScanJob:
    """A scan ready to run.

    Args:
        request: what was asked for; ``where.skip_background`` is what was found, if it was to be found, ``constants``
            are those that it is planned by.
        prepared: the model.
        source: the image.
        plan: how it is scanned.
        wanted: the cells wanted, if not all.
    """

    request: ScanRequest
    prepared: PreparedModel
    source: ScannedSource
    plan: Plan
    wanted: WantedCells | None = None

    @cached_property
    def engine(self) -> Engine:
        """What runs it."""
        return self.request.engine.make(self.prepared.canonical)

    @property
    def placement(self) -> Placement:
        """Where the scores lie on the image."""
        return placement_of(self.prepared.model, self.source, self.plan.step)

    @cached_property
    def wanted_windows(self) -> float:
        """About how many windows are computed: those of tiles that have wanted cells."""
        first = self.plan.all_passes[0]
        if self.wanted is None:
            return float(self.plan.windows)
        tiles = list(first.tiles())
        some = tiles[:: max(1, len(tiles) // _SAMPLED)]
        wanted = sum(bool(wanted_of(self.wanted, map_cells(first, tile)).any()) for tile in some)
        return self.plan.windows * wanted / len(some)

    @cached_property
    def encoder(self) -> ScoreEncoder:
        """How scores become stored numbers."""
        return encoder_of(self.request)

    @property
    def spec(self) -> MapSpec:
        """What the map holds, and where it lies."""
        finest = finest_level(self.source.image.original)
        return MapSpec(
            shape=(self.encoder.bands, *self.plan.shape),
            shard=self.plan.memory.block,
            placement=self.placement,
            mode=self.plan.mode,
            georeference=finest.georeference,
            mpp=finest.mpp,
            origin=self.source.image.original.metadata.origin,
            provenance=dict(self.provenance),
            **self.encoder.fields,
        )

    @property
    def stored_spec(self) -> MapSpec:
        """What a store holds: its record says what a resumed run must agree with."""
        spec = self.spec
        return replace(spec, provenance=spec.provenance | {"job": self.identity})

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What makes the scores, as plain JSON: the model, the image and every record of the request."""
        request, plan, model = self.request, self.plan, self.request.model
        facts: dict[str, Any] = {
            "fullfield": __version__,
            "model": model.name,
            "model_hash": self.prepared.hash if self.prepared.model is model else model.hash,
            "ends_in": model.ends_in,
            "features": model.features,
            "image": self.source.image.name,
            **({"place": place} if (place := self.source.image.original.metadata.place) else {}),
            "input": input_summary(self.source.image, model.resize, model.standardise).to_dict(),
            **self._background,
            **self._signal,
            "settings": {
                "step": list(plan.step),
                "mode": mode_text(plan.borders),
                "scale": request.scale,
                "window": list(model.window),
                "preprocessing": model.preprocessing.to_json(),
                "value_range": self.source.image.original.metadata.value_range,
                "where": request.where.to_json() | {"edge": request.where.edge},
                "encoding": asdict(request.encoding),
                "compute": {
                    "tile": list(plan.tile),
                    "batch": plan.batch,
                    "method": plan.method,
                    "device": model.device.type,
                    "dtype": str(model.dtype).removeprefix("torch."),
                    "engine": {"name": self.engine.name, "version": self.engine.version},
                    "precision": request.engine.precision,
                    **({} if (costs := constants_to_json(plan.constants)) is None else {"costs": costs}),
                    **({} if plan.scans == 1 else {"scans": plan.scans}),
                },
            },
        }
        plain: dict[str, Any] = plain_json(facts)
        return plain

    @property
    def _background(self) -> dict[str, float]:
        """Share of the image that is background, where that was to be found."""
        found = self.request.where.skip_background
        return {"background": round(1 - found.share, 6)} if isinstance(found, Foreground) else {}

    @property
    def _signal(self) -> dict[str, Any]:
        """The signal's sample rate, if known; nothing of an image."""
        rate = self.source.image.original.metadata.sample_rate
        return {"signal": {"sample_rate_hz": rate}} if self.request.model.of_signals else {}

    def count_scan(self) -> None:
        """Notes that it ran, for the plans of equal scans."""
        repeats = self.prepared.costs.repeats(_kind(self.request, self.source, self.plan.step))
        repeats.ran, repeats.planned = repeats.ran + 1, self.plan.scans

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that the stored numbers depend on, as plain JSON: a resumed run must agree in all of it."""
        image = self.source.image.original
        pixels = image.metadata.identity or array_identity(image.read(0, image.shape[0], 0, image.shape[1]))
        said = self.provenance
        facts = {
            "format": _RECORD_FORMAT,
            "fullfield": __version__,
            "torch": torch.__version__,
            "model_hash": said["model_hash"],
            "image": {"identity": pixels, "shape": list(image.shape)},
            **said["settings"],
            "frontier": next((name for name, place in self.plan.places.items() if not place.shared), None),
            "shard": list(self.plan.memory.block),
            "stored": {**self.encoder.fields, "fill": str(self.encoder.fill)},
        }
        plain: dict[str, Any] = plain_json(facts)
        return plain


def prepare_job(request: ScanRequest, *, on_disk: bool = False, progress: OnProgress | None = None) -> ScanJob:
    """Everything that a scan needs, checked before it starts.

    Args:
        request: what is asked for.
        on_disk: whether the scores go to a store, in blocks.
        progress: called at every stage, and while an image is read to find its background.

    Raises:
        FullfieldError: a model, image or argument that cannot be used, or a budget that is too small.
    """
    request = with_constants(request)
    model, where = request.model, request.where
    announce(progress, "preparing the model")
    prepared = prepare(request.computed, sliding=request.borders.mode == "context")
    step = prepared.stride if request.step is None else request.step
    announce(progress, "reading the image")
    source = open_source(model, request.image, step=step, scale=request.scale, where=where, cache_bytes=0)
    if request.borders.cells == 0:
        check_context(prepared)
    original = source.image.original
    if where.skip_background is True:
        announce(progress, "finding the background")
        foreground = find_foreground(original, progress=progress, budget_bytes=request.compute.budget_bytes)
        announce(progress, "finding the background", foreground.summary)
        request = replace(request, where=replace(where, skip_background=foreground))
    wanted = wanted_cells(original, placement_of(model, source, step), request.where)
    encoder_of(request)  # raises before the planning
    announce(progress, "planning")
    plan = plan_scan(request, prepared, source, step, on_disk=on_disk)
    source = replace(source, image=with_cache(source.image, plan.memory.cache_bytes))
    return ScanJob(request, prepared, source, plan, wanted)


def plan_scan(
    request: ScanRequest, prepared: PreparedModel, source: ScannedSource, step: Pair, *, on_disk: bool
) -> Plan:
    """The plan of a scan.

    Raises:
        FullfieldError: a budget that is too small, or a device with too little memory.
    """
    model, device = request.model, request.model.device
    planned = partial(
        make_plan,
        prepared.network,
        image=source.shape[1:],
        step=step,
        borders=request.borders,
        itemsize=prepared.itemsize,
        budget_bytes=request.compute.budget_bytes,
        overhead=overhead_of(
            source,
            itemsize=prepared.itemsize,
            classes=model.classes,
            encoder=encoder_of(request) if on_disk else None,
            buffered=BUFFERED if device.type == "cuda" else 0,
            engine=request.engine.name,
        ),
        tile=request.compute.tile_shape,
        method=request.compute.method,
        costs=prepared.costs,
        constants=constants_for(request),
    )
    plan = _plan_again(planned, _repeats(request, prepared, source, step, on_disk=on_disk))
    check_device_memory(plan, device)
    remark = plan.memory.remark and f"{source.image.raster.name}: {plan.memory.remark}"
    return replace(plan, engine=request.engine.text, memory=replace(plan.memory, remark=remark))


def _plan_again(planned: Callable[..., Plan], before: Repeats) -> Plan:
    """The plan that equal scans had before, or one for as many scans again where those would save its preparing.

    So another plan is prepared once the one before has cost about as much more, and for clear gains only: preparing is
    hard to predict. For powers of 2 there are few plans.
    """
    plan = planned(scans=before.planned)
    scans = min(_MOST_SCANS, 1 << max(0, before.ran.bit_length() - 1))
    if scans <= before.planned:
        return plan
    other = planned(scans=scans)
    return other if other.time < _CLEAR_GAIN * time_per_window(plan) else plan


def _repeats(
    request: ScanRequest, prepared: PreparedModel, source: ScannedSource, step: Pair, *, on_disk: bool
) -> Repeats:
    """The equal scans that ran before; of maps on disk those that the request names.

    So the bytes on disk are the same in processes that resume or share a map as in one that computes it at once.
    """
    if request.scans is not None or on_disk:
        return Repeats(planned=request.scans or 1)
    return prepared.costs.repeats(_kind(request, source, step))


def _kind(request: ScanRequest, source: ScannedSource, step: Pair) -> Hashable:
    """Equal for scans that an equal plan would run by the same programs."""
    compute = request.compute
    return source.shape, step, request.borders, compute.tile, compute.method, compute.budget_bytes


def encoder_of(request: ScanRequest) -> ScoreEncoder:
    """How a request's scores become stored numbers.

    Raises:
        ImageError: an encoding that this model's classes cannot have.
    """
    model = request.model
    return score_encoder(
        request.encoding,
        classes=model.classes,
        class_names=model.class_names,
        dtype=scores_dtype(model.dtype),
        ends_in=model.ends_in,
        features=model.features is not None,
    )


def scores_dtype(dtype: torch.dtype) -> str:
    """The type of a network's scores as NumPy has them: bfloat16 becomes float32."""
    return "float32" if dtype == torch.bfloat16 else str(dtype).removeprefix("torch.")
