"""Runs a scan whose scores go to a store on disk, block by block; a run that was stopped is resumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fullfield.drawing.pictures import save_picture
from fullfield.engine.progress import OnProgress, announce
from fullfield.engine.run import run
from fullfield.errors import GeometryError, ImageError, ResumeError
from fullfield.files import remove, sync, system_error
from fullfield.jobs.certify import certify_scan, check_comparable
from fullfield.jobs.job import ScanJob, prepare_job
from fullfield.jobs.request import OutputRequest, ScanRequest
from fullfield.mask.background import Foreground
from fullfield.planning.shards import Shards
from fullfield.store.journal import Begin, Journal, differences, has_begun, journal_folder, open_journal
from fullfield.store.ome_zarr import create_store, read_record, reopen_store
from fullfield.store.pyramid import GrowingStore, seal
from fullfield.store.shards import plain_bytes
from fullfield.store.sink import StoreSink
from fullfield.store.stored_map import StoredMap, open_map, open_unsealed


def scan_to_store(
    request: ScanRequest, output: OutputRequest, progress: OnProgress | None = None, *, name: Path | None = None
) -> StoredMap | None:
    """The scores of every window in a store on disk.

    Image and scores are streamed: the budget bounds the memory, whatever their size. Finished blocks are recorded in a
    journal next to the output, and the same request resumes there after any end: an error, an interruption, a kill, a
    power loss. The final bytes are those of an uninterrupted run. If the background is to be found, a picture of what
    was found is drawn next to the result.

    Args:
        request: what is asked for.
        output: the store.
        progress: called at every stage, and after every tile and block.
        name: of the result in the name of that picture; by default that of the store.

    Returns:
        The finished map; ``None`` where other processes have yet to finish their blocks.

    Raises:
        ResumeError: an unfinished output was begun with another model, image or setting, or is being written.
        FullfieldError: a model, image or argument that cannot be used.
    """
    check_share(request, output)
    check_folder(output.path)
    job = prepare_job(request, on_disk=True, progress=progress)
    if request.samples:
        check_comparable(job.spec, job.prepared.model)
    foreground = job.request.where.skip_background
    if request.where.skip_background is True and isinstance(foreground, Foreground):
        save_picture(foreground.picture(), content_path(name or output.path), overwrite=True)
    try:
        return _StoreRun(job, output, progress).result()
    except OSError as error:
        raise system_error(str(output.path), error, plain_bytes(job.spec.shape, job.spec.dtype)) from error


def content_path(result: Path) -> Path:
    """The picture that shows what of the image was found not to be background.

    Examples:
        >>> content_path(Path("map.tif")).name
        'map.tif.content.png'
    """
    return result.with_name(result.name + ".content.png")


def check_share(request: ScanRequest, output: OutputRequest) -> None:
    """Raises where a process would undo the work of the others.

    Raises:
        GeometryError: it would.
    """
    rank, world = request.compute.rank, request.compute.world
    if output.existing != "resume" and rank > 0:
        raise GeometryError(
            "restart",
            f"process {rank} of {world} would undo what the others did: only process 0 may begin anew",
            fix="pass --restart or --overwrite to process 0, and start the others without it once that one runs",
        )


def check_folder(path: Path) -> None:
    """Raises unless a store can be made there.

    Raises:
        ImageError: there is no folder to make it in.
    """
    if not path.resolve().parent.is_dir():
        raise ImageError(str(path), f"there is no folder {path.resolve().parent}", fix="make it first")


@dataclass(frozen=True, eq=False)
class _StoreRun:
    """One process's part in a result on disk."""

    job: ScanJob
    output: OutputRequest
    progress: OnProgress | None

    @property
    def path(self) -> Path:
        return self.output.path

    @property
    def shards(self) -> Shards:
        """The blocks of the map."""
        return Shards(self.job.plan, self.job.plan.memory.block)

    def result(self) -> StoredMap | None:
        """Starts or resumes the scan, and completes the store if this process is the last."""
        self._check_place()
        if not journal_folder(self.path).exists() and self._is_finished():
            return self._verified()
        compute = self.job.request.compute
        anew = self.output.overwrite or (self.output.existing == "restart" and not self._is_finished())
        begin = Begin(
            self.job.identity,
            create=self._create,
            finished=self._is_finished,
            rank=compute.rank,
            world=compute.world,
            restart=anew,
        )
        with open_journal(self.path, begin) as journal:
            if journal is None:
                return self._verified()
            return self._complete(journal, self._run(journal))

    def _run(self, journal: Journal) -> GrowingStore:
        """Computes this process's blocks."""
        job, compute, shards = self.job, self.job.request.compute, self.shards
        store = reopen_store(self.path, job.stored_spec)
        boxes = map(shards.box, journal.finished)
        growing = GrowingStore(store, [(box.row, box.column) for box in boxes])
        announce(self.progress, "computing the first tile")
        writer = growing if job.plan.memory.builds_levels or growing.single_level else store
        run(
            job.plan,
            job.prepared.canonical,
            job.source,
            StoreSink(shards, job.encoder, writer, journal, shards.share(compute.rank, compute.world)),
            where=job.wanted,
            progress=self.progress,
        )
        return growing

    def _check_place(self) -> None:
        """Checks that the output is new, resumable, complete or replaceable.

        Raises:
            ImageError: the path has something else.
            ResumeError: the path has an unfinished result without its journal.
        """
        path = self.path
        if not path.exists():
            return
        restart = self.output.existing == "restart"
        if self.output.overwrite or (restart and has_begun(path)):
            _check_ours(path)
            return
        complete = read_record(path)["complete"]
        if not complete and not restart and not journal_folder(path).exists():
            raise ResumeError(
                str(path), "is not complete, and its journal is gone", fix="pass --restart or --overwrite to scan anew"
            )

    def _is_finished(self) -> bool:
        """Whether the output is this scan's result, complete.

        Raises:
            ImageError: it is another result.
        """
        if self.output.overwrite or not (self.path / "zarr.json").is_file():
            return False
        record = read_record(self.path)
        if not record["complete"]:
            return False
        made = record["provenance"].get("job")
        changes = [] if made is None else list(differences(made, self.job.identity))
        if made is None or changes:
            what = f" with {changes[0][0]} {changes[0][1]}, now it is {changes[0][2]}" if changes else ""
            if made is None or made.get("format") != self.job.identity["format"]:
                what = ", and was not written by a scan to disk of this version of fullfield"
            raise ImageError(
                str(self.path),
                f"exists already{what}",
                fix='choose another name, or pass existing="overwrite" (--overwrite)',
            )
        return True

    def _verified(self) -> StoredMap:
        """The finished result, with the certificate that was asked for."""
        if self.job.request.samples and read_record(self.path)["certificate"] is None:
            seal(self.path, certificate=self._certificate())
        return open_map(self.path)

    def _create(self) -> None:
        """Puts an empty store in place of what an earlier run left: whole or not at all, and on the disk."""
        path = self.path
        new, old = (journal_folder(path) / f"{name}.zarr" for name in ("new", "old"))
        remove(new)
        create_store(new, self.job.stored_spec)
        sync(new, within=True)
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
        sync(path.absolute().parent)
        remove(old)

    def _complete(self, journal: Journal, grown: GrowingStore) -> StoredMap | None:
        """Seals the store if all blocks are there; one process does, once.

        Raises:
            ResumeError: files of this process's blocks are gone since they were written.
        """
        compute, shards = self.job.request.compute, self.shards
        with journal.commit_lock():
            if not journal.is_open():  # another process was faster
                return open_map(self.path)
            done = journal.done()
            lost = [block for block in shards.share(compute.rank, compute.world) if block not in done]
            if lost:
                what = f"files of {len(lost)} of {len(shards)} blocks are gone since they were written"
                raise ResumeError(str(self.path), what, fix="run the same command again")
            if len(done) < len(shards):
                return None
            certificate = self._certificate() if self.job.request.samples else None
            seal(
                self.path, certificate=certificate, counts=journal.counts(), built=grown.built, extremes=grown.extremes
            )
            journal.remove()
        return open_map(self.path)

    def _certificate(self) -> dict[str, object]:
        """The certificate of the stored scores, as plain JSON."""
        scores = open_unsealed(self.path, self.job.stored_spec)
        return certify_scan(self.job, scores, self.progress).to_dict()


def _check_ours(path: Path) -> None:
    """Raises where a folder holds anything but a result."""
    if not path.is_dir() or (any(path.iterdir()) and not (path / "zarr.json").is_file()):
        raise ImageError(str(path), "is no Zarr store: it stays", fix="choose another name")
