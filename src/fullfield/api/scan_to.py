"""``fullfield.scan_to``: a scan whose image and scores need not fit into memory; it goes on where it was cut off."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullfield.api.scan import certify, check_verifiable
from fullfield.api.scores import Scores, open_scores
from fullfield.engine.progress import OnProgress
from fullfield.engine.run import run as run_plan
from fullfield.errors import GeometryError, ImageError, ResumeError
from fullfield.files import remove, sync, system_error
from fullfield.importers.load import load
from fullfield.jobs.prepare import Settings
from fullfield.jobs.stream_job import StreamJob, prepare_job
from fullfield.store.encoding import Encoding
from fullfield.store.journal import Begin, Journal, differences, has_begun, journal_folder, open_journal
from fullfield.store.ome_zarr import create_store, read_record, reopen_store
from fullfield.store.pyramid import GrowingStore, seal
from fullfield.store.shards import plain_bytes
from fullfield.store.sink import StoreSink
from fullfield.store.stored_map import open_unsealed
from fullfield.verification.certificate import Certificate
from fullfield.verification.crops import check_samples

if TYPE_CHECKING:
    from fullfield.importers.load import ModelLike


def scan_to(
    net: ModelLike,
    image: object,
    output: str | os.PathLike[str],
    *,
    keep: Encoding | None = None,
    verify: int = 0,
    rank: int = 0,
    world: int = 1,
    restart: bool = False,
    overwrite: bool = False,
    progress: OnProgress | None = None,
    **settings: Any,
) -> Scores | None:
    """The scores of every window of ``image``, in an OME-Zarr store on disk.

    Image and scores are streamed: the budget bounds the memory, whatever their size. What is finished is noted in a
    journal beside the output, and the same call goes on from there after any end: an error, an interruption, a kill, a
    power loss. The final bytes are those of a run in one go.

    Args:
        net: as for ``scan``.
        image: as for ``scan``, or what ``open`` gives.
        output: a folder ``….zarr``; ``export`` makes other files of it.
        keep: which of the scores, as what; all as they are by default.
        verify: windows to run as crops afterwards, 0 for none.
        rank, world: this is process ``rank`` of ``world`` that share one output; the last to finish completes it.
        restart: begin anew where an unfinished output was begun with other settings, or is damaged.
        overwrite: replace an earlier result.
        progress: called after every tile and every block.
        settings: ``scan``'s own arguments.

    Returns:
        The finished result; ``None`` where other processes have yet to finish theirs.

    Raises:
        ResumeError: an unfinished output was begun with another network, image or setting, or is being written.
        FullfieldError: as for ``scan``.
    """
    if verify:
        check_samples("verify", verify)
    target = check_output(output)
    _check_share(rank, world, anew=restart or overwrite)
    job = prepare_job(load(net), image, keep or Encoding(), Settings(**settings))
    if verify:
        check_verifiable(job.spec, job.work.prepared.net)
    run = _Run(job, target, rank, world, restart=restart, overwrite=overwrite, samples=verify)
    try:
        return _go(run, progress)
    except OSError as error:
        raise system_error(str(target), error, plain_bytes(job.spec.shape, job.spec.dtype)) from error


@dataclass(frozen=True)
class _Run:
    """One process's part in a result; ``scan_to`` says what the fields mean."""

    job: StreamJob
    target: Path
    rank: int
    world: int
    restart: bool
    overwrite: bool
    samples: int


def _go(run: _Run, progress: OnProgress | None) -> Scores | None:
    """Begins or goes on, and finishes if this process is the last."""
    job, target = run.job, run.target
    folder = journal_folder(target)
    _check_place(run)
    if not folder.exists() and _finished(run):
        return _verified(run, progress)
    begin = Begin(
        job.facts,
        create=lambda: _create(target, job),
        finished=lambda: _finished(run),
        rank=run.rank,
        world=run.world,
        restart=run.overwrite or (run.restart and not _finished(run)),
    )
    with open_journal(target, begin) as journal:
        if journal is None:
            return _verified(run, progress)
        store = reopen_store(target, job.spec)
        boxes = map(job.shards.box, journal.finished)
        growing = GrowingStore(store, [(box.row, box.column) for box in boxes])
        work = job.work
        writer = growing if work.plan.memory.grows or growing.flat else store
        run_plan(
            work.plan,
            work.prepared.canonical,
            work.source,
            StoreSink(job.shards, job.kept, writer, journal, job.shards.share(run.rank, run.world)),
            where=work.where,
            progress=progress,
        )
        return _complete(run, journal, growing, progress)


def _check_share(rank: int, world: int, *, anew: bool) -> None:
    """Raises where there is no such process, or it would undo what the others do.

    Raises:
        GeometryError: either.
    """
    if not 0 <= rank < world:
        raise GeometryError("rank", f"{rank} is not one of {world} processes", fix=f"use 0 to {max(world, 1) - 1}")
    if anew and rank > 0:
        raise GeometryError(
            "restart",
            f"process {rank} of {world} would undo what the others did: only process 0 may begin anew",
            fix="pass --restart or --overwrite to process 0, and start the others without it once that one runs",
        )


def check_output(output: str | os.PathLike[str]) -> Path:
    """The place of a result on disk.

    Raises:
        ImageError: it is none.
    """
    target = Path(output)
    if target.suffix.lower() != ".zarr":
        raise ImageError(
            str(output),
            f"the suffix {target.suffix!r} is not that of a store",
            fix="write to a folder such as map.zarr",
        )
    if not target.resolve().parent.is_dir():
        raise ImageError(str(output), f"there is no folder {target.resolve().parent}", fix="make it first")
    return target


def _check_place(run: _Run) -> None:
    """Passes if what lies at the place, if anything, is a result that goes on, is finished, or may go.

    Raises:
        ImageError: something else is there.
        ResumeError: an unfinished result is there whose journal is gone.
    """
    target = run.target
    if not target.exists():
        return
    if run.overwrite or (run.restart and has_begun(target)):
        _check_ours(target)
        return
    complete = read_record(target)["complete"]
    if not complete and not run.restart and not journal_folder(target).exists():
        raise ResumeError(
            str(target), "is not complete, and its journal is gone", fix="pass --restart or --overwrite to scan anew"
        )


def _finished(run: _Run) -> bool:
    """Whether the very result that is wanted is there, complete.

    Raises:
        ImageError: another one is.
    """
    if run.overwrite or not (run.target / "zarr.json").is_file():
        return False
    record = read_record(run.target)
    if not record["complete"]:
        return False
    made = record["provenance"].get("job")
    changes = [] if made is None else list(differences(made, run.job.facts))
    if made is None or changes:
        what = f" with {changes[0][0]} {changes[0][1]}, now it is {changes[0][2]}" if changes else ""
        raise ImageError(
            str(run.target),
            f"exists already{what}",
            fix="choose another name, or pass overwrite=True (--overwrite)",
        )
    return True


def _verified(run: _Run, progress: OnProgress | None) -> Scores:
    """The finished result, with the certificate that was asked for."""
    if run.samples and read_record(run.target)["certificate"] is None:
        seal(run.target, certificate=_certify(run.job, run.target, run.samples, progress).to_dict())
    return open_scores(run.target)


def _check_ours(target: Path) -> None:
    """Raises where a folder holds anything but a result."""
    if not target.is_dir() or (any(target.iterdir()) and not (target / "zarr.json").is_file()):
        raise ImageError(str(target), "is no Zarr store: it stays", fix="choose another name")


def _create(target: Path, job: StreamJob) -> None:
    """An empty store, in place of what an earlier beginning left: whole or not at all, and on the disk."""
    new, old = (journal_folder(target) / f"{name}.zarr" for name in ("new", "old"))
    remove(new)
    create_store(new, job.spec)
    sync(new, within=True)
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    sync(target.absolute().parent)
    remove(old)


def _complete(run: _Run, journal: Journal, grown: GrowingStore, progress: OnProgress | None) -> Scores | None:
    """Seals the store if all blocks are there; one process does, once.

    Args:
        run: this process's part.
        journal: of the store.
        grown: the store, and what of its coarser levels this process built.
        progress: called while crops are computed.

    Raises:
        ResumeError: blocks of this process are gone since they were written.
    """
    job, target = run.job, run.target
    with journal.gate():
        if not journal.lives():  # another process was faster
            return open_scores(target)
        done = journal.done()
        lost = [block for block in job.shards.share(run.rank, run.world) if block not in done]
        if lost:
            what = f"files of {len(lost)} of {len(job.shards)} blocks are gone since they were written"
            raise ResumeError(str(target), what, fix="run the same command again")
        if len(done) < len(job.shards):
            return None
        certificate = None if not run.samples else _certify(job, target, run.samples, progress)
        said = None if certificate is None else certificate.to_dict()
        seal(target, certificate=said, built=grown.built, extremes=grown.extremes)
        journal.remove()
    return open_scores(target)


def _certify(job: StreamJob, target: Path, samples: int, progress: OnProgress | None) -> Certificate:
    """The stored scores of sampled windows beside the crops'."""
    stored = open_unsealed(target, job.spec)
    return certify(job.work.prepared.net, stored, job.work.source, samples=samples, seed=0, progress=progress)
