"""What a scan to disk depends on: network, image, plan and blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from fullfield._version import __version__
from fullfield.image.raster import array_identity
from fullfield.jobs.prepare import Settings, Work, image_of, provenance, ready_to_scan
from fullfield.model.model import Model
from fullfield.planning.shards import Shards
from fullfield.store.encoding import Encoding, ScoreEncoder, score_encoder
from fullfield.store.maps import MapSpec
from fullfield.store.record import plain_json


@dataclass(frozen=True, eq=False)
class StreamJob:
    """A scan to disk, ready to run.

    Args:
        work: network, image and plan.
        kept: what of the scores is stored.
    """

    work: Work
    kept: ScoreEncoder

    @cached_property
    def shards(self) -> Shards:
        """The blocks of the map."""
        return Shards(self.work.plan, self.work.plan.memory.block)

    @cached_property
    def spec(self) -> MapSpec:
        """What the store will hold."""
        about = image_of(self.work.source).original.about
        return MapSpec(
            shape=(self.kept.bands, *self.work.plan.shape),
            shard=self.shards.size,
            placement=self.work.placement,
            mode=self.work.plan.mode,
            georeference=about.georeference,
            mpp=about.mpp,
            provenance=provenance(self.work) | {"job": self.facts},
            **self.kept.fields,
        )

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the result depends on, as plain JSON: a resumed run must agree in all of it."""
        work, plan = self.work, self.work.plan
        image, net = image_of(work.source).original, work.prepared.net
        identity = image.about.identity or array_identity(image.read(0, image.shape[0], 0, image.shape[1]))
        facts = {
            "fullfield": __version__,
            "torch": torch.__version__,
            "model": {"hash": net.hash, "dtype": str(net.dtype).removeprefix("torch."), "device": net.device.type},
            "image": {"identity": identity, "shape": list(image.shape)},
            **provenance(work)["settings"],
            "method": plan.method,
            "batch": plan.batch,
            "frontier": next((name for name, place in plan.places.items() if not place.shared), None),
            "shard": list(self.shards.size),
            "keep": {**self.kept.fields, "fill": str(self.kept.fill)},
        }
        plain: dict[str, Any] = plain_json(facts)
        return plain


def prepare_job(net: Model, image: object, keep: Encoding, settings: Settings) -> StreamJob:
    """Everything that a scan to disk needs, checked before it starts.

    Raises:
        BudgetError: no plan fits the budget, and the least budget for which there is one.
        FullfieldError: as for ``scan``.
    """
    kind = "float32" if net.dtype == torch.bfloat16 else str(net.dtype).removeprefix("torch.")
    kept = score_encoder(keep, classes=net.classes, class_names=net.class_names, dtype=kind)
    return StreamJob(ready_to_scan(net, image, settings).planned(kept), kept)
