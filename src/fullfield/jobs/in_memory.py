"""Runs a scan whose scores are kept in memory."""

from __future__ import annotations

from fullfield.engine.progress import OnProgress, announce
from fullfield.engine.run import run
from fullfield.image.unchanged import check_identity
from fullfield.jobs.certify import certify_scan, check_comparable
from fullfield.jobs.fastest import prepare_scan
from fullfield.jobs.job import ScanJob, scores_dtype
from fullfield.jobs.request import ScanRequest
from fullfield.store.array_map import ArrayMap
from fullfield.store.encoding import Encoding
from fullfield.store.memory import MemorySink


def scan_in_memory(request: ScanRequest, progress: OnProgress | None = None) -> ArrayMap:
    """The scores of every window, encoded as asked for, with the certificate if crops are to be compared.

    Raises:
        FullfieldError: a model, image or argument that cannot be used, or an image that was changed meanwhile.
    """
    return run_in_memory(prepare_scan(request, progress=progress), progress)


def run_in_memory(job: ScanJob, progress: OnProgress | None = None) -> ArrayMap:
    """The scores of every window of a scan that is ready to run."""
    request, spec, model = job.request, job.spec, job.request.model
    if request.samples:
        check_comparable(spec, model)
    sink = compute_scores(job, progress)
    check_identity(job.source.image.original)
    if sink.encoder is not None:
        spec.provenance["counts"] = sink.counts.sums()
    scores = ArrayMap(sink.array, spec)
    if not request.samples:
        return scores
    certificate = certify_scan(job, scores, progress)
    return ArrayMap(scores.array, spec, certificate.to_dict())


def compute_scores(job: ScanJob, progress: OnProgress | None = None) -> MemorySink:
    """Runs a scan; the sink has its stored numbers ``(bands, y, x)``."""
    model = job.prepared.model
    encoder = None if job.request.encoding == Encoding() else job.encoder
    announce(progress, "computing the first tile")
    sink = MemorySink(model.classes, job.plan, scores_dtype(model.dtype), encoder)
    run(job.plan, job.engine, job.source, sink, where=job.wanted, progress=progress)
    job.count_scan()
    return sink
