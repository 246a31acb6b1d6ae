"""``fullfield.scan_to``: a scan whose image and scores need not fit into memory; it goes on where it was cut off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullfield.api.job import StreamJob, prepare_job
from fullfield.api.nets import as_classifier
from fullfield.api.prepare import Settings
from fullfield.api.scan import certificate_of
from fullfield.engine.journal import Journal, differences, journal_folder, open_journal
from fullfield.engine.stream import Report, Stream
from fullfield.errors import ImageError, ResumeError
from fullfield.io.files import remove
from fullfield.io.kept import Keep
from fullfield.io.pyramid import seal
from fullfield.io.shards import open_array, read_array
from fullfield.io.store import VALID, create_store, read_record, reopen_store
from fullfield.io.stored import StoredScores, open_scores
from fullfield.verify.certificate import Certificate
from fullfield.verify.crops import check_samples, sample_valid

if TYPE_CHECKING:
    from fullfield.api.nets import Net


def scan_to(
    net: Net,
    image: object,
    output: str | os.PathLike[str],
    *,
    keep: Keep | None = None,
    verify: int = 0,
    rank: int = 0,
    world: int = 1,
    restart: bool = False,
    overwrite: bool = False,
    progress: Report | None = None,
    **settings: Any,
) -> StoredScores | None:
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
        progress: told of the pace after every tile.
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
    job = prepare_job(as_classifier(net), image, keep or Keep(), Settings(**settings))
    if verify:
        job.check_verifiable()
    if _finished(target, job, overwrite=overwrite, restart=restart):
        return open_scores(target)
    with open_journal(
        target, job.facts, create=lambda: _create(target, job), rank=rank, world=world, restart=restart
    ) as journal:
        store = reopen_store(target, job.spec)
        share = job.shards.share(rank, world)
        blocks = [block for block in share if block not in journal.finished]
        work = job.work
        stream = Stream(job.shards, work.prepared.canonical, work.source, store, job.kept, journal, work.where)
        stream.run(blocks, progress)
        return _complete(job, journal, target, samples=verify)


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


def _finished(target: Path, job: StreamJob, *, overwrite: bool, restart: bool) -> bool:
    """Whether the very result that is wanted is there; another one is in the way, or goes.

    Raises:
        ImageError: something else is there.
        ResumeError: an unfinished result is there whose journal is gone.
    """
    if not target.exists():
        return False
    journal = journal_folder(target) / "job.json"
    if overwrite or (restart and journal.exists()):
        _check_ours(target)
        remove(target)
        remove(journal.parent)
        return False
    record = read_record(target)
    if not record["complete"]:
        if journal.parent.exists():
            return False
        raise ResumeError(str(target), "is not complete, and its journal is gone", fix="pass --overwrite to scan anew")
    made = record["provenance"].get("job")
    changes = [] if made is None else list(differences(made, job.facts))
    if made is None or changes:
        what = f" with {changes[0][0]} {changes[0][1]}, now it is {changes[0][2]}" if changes else ""
        raise ImageError(
            str(target),
            f"exists already{what}",
            fix="choose another name, or pass overwrite=True (--overwrite)",
        )
    if journal.parent.exists():  # cut off between the last two steps
        remove(journal.parent)
    return True


def _check_ours(target: Path) -> None:
    """Raises where a folder holds anything but a result."""
    if not target.is_dir() or (any(target.iterdir()) and not (target / "zarr.json").is_file()):
        raise ImageError(str(target), "is no Zarr store: it stays", fix="choose another name")


def _create(target: Path, job: StreamJob) -> None:
    """An empty store, in place of what an earlier beginning left."""
    if target.exists():
        _check_ours(target)
        remove(target)
    create_store(target, job.spec)


def _complete(job: StreamJob, journal: Journal, target: Path, *, samples: int) -> StoredScores | None:
    """Seals the store if all blocks are there; one process does, once."""
    with journal.gate():
        if not (journal.folder / "job.json").exists():  # another process was faster
            return open_scores(target)
        if len(journal.done()) < len(job.shards):
            return None
        certificate = None if not samples else _certify(job, target, samples)
        seal(target, certificate=None if certificate is None else certificate.to_dict())
        journal.remove()
    return open_scores(target)


def _certify(job: StreamJob, target: Path, samples: int) -> Certificate:
    """The stored scores of sampled windows beside the crops'."""
    spec, work = job.spec, job.work
    arrays = {name: open_array(target / name) for name in ("0", VALID)}

    def at(name: str, i: int, j: int) -> NDArray[Any]:
        cell = (slice(i, i + 1), slice(j, j + 1))
        return read_array(arrays[name], cell if name == VALID else (slice(None), *cell), target)

    cells = sample_valid(spec.shape[1:], samples, 0, lambda i, j: bool(at(VALID, i, j).all()))
    found = np.stack([at("0", i, j)[:, 0, 0] for i, j in cells])
    return certificate_of(
        work.prepared.net, found, cells, work.source, place=spec.placement, mode=spec.mode, classes=spec.classes
    )
