"""Runs a scan whose scores go to a store on disk, block by block; a run that was stopped is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from fullfield.drawing.pictures import save_picture
from fullfield.engine.progress import OnProgress, announce
from fullfield.engine.run import run
from fullfield.errors import GeometryError, ImageError, ResumeError
from fullfield.files import remove
from fullfield.image.unchanged import check_identity, check_state
from fullfield.jobs.certify import certify_scan, check_comparable
from fullfield.jobs.fastest import prepare_scan
from fullfield.jobs.job import ScanJob
from fullfield.jobs.request import OutputRequest, ScanRequest
from fullfield.mask.background import Foreground
from fullfield.packages import is_installed
from fullfield.planning.calibration import constants_from_json
from fullfield.planning.compute import EngineName
from fullfield.planning.constants import ENGINE_CONSTANTS
from fullfield.planning.shards import Shards
from fullfield.store.check import is_intact
from fullfield.store.journal import (
    RESTART,
    Begin,
    Journal,
    begun_with,
    has_begun,
    is_replacing,
    journal_folder,
    open_journal,
)
from fullfield.store.levels import store_error
from fullfield.store.ome_zarr import read_record, reopen_store
from fullfield.store.output import (
    begin_store,
    check_place,
    finish_replacing,
    finished_with,
    is_finished,
    replace_finished,
)
from fullfield.store.pyramid import GrowingStore, seal
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
    request = _as_begun(request, _begun(request, output))
    if output.existing == "resume":
        _check_engine_of(begun_with(output.path), request, output.path)
    job = prepare_scan(request, on_disk=True, progress=progress)
    if request.samples:
        check_comparable(job.spec, job.request.model)
    foreground = job.request.where.skip_background
    if request.where.skip_background is True and isinstance(foreground, Foreground):
        save_picture(foreground.picture(), content_path(name or output.path), overwrite=True)
    return run_to_store(job, output, progress)


def run_to_store(job: ScanJob, output: OutputRequest, progress: OnProgress | None = None) -> StoredMap | None:
    """The scores of every window of a scan that is ready to run, planned for a store.

    Raises:
        FullfieldError: as for ``scan_to_store``.
    """
    try:
        return _StoreRun(job, output, progress).result()
    except OSError as error:
        raise store_error(output.path, job.spec, error) from error
    except ImageError as error:  # of a store in the journal: the result is what was asked for
        if not error.where.startswith(str(journal_folder(output.path))):
            raise
        raise ImageError(str(output.path), error.what, fix=error.fix) from error


def _begun(request: ScanRequest, output: OutputRequest) -> Mapping[str, Any]:
    """What the output says of the scan that began or finished it, if the request may be the same; else nothing."""
    if output.existing == "resume":
        return begun_with(output.path) or finished_with(output.path)
    if output.existing == "restart" or not is_replacing(output.path):
        return {}
    begun = begun_with(output.path)
    engine, _ = _engine_of(begun)
    same = engine is not None and is_installed(engine) and begun.get("model_hash") == request.model.hash
    return begun if same else {}


def _as_begun(request: ScanRequest, begun: Mapping[str, Any]) -> ScanRequest:
    """The request with the engine and the constants of a map that was begun or finished.

    Both decide the plan, and with it the map's bytes. An engine that is named must be the map's.
    """
    engine, _ = _engine_of(begun)
    if engine is None or request.compute.engine not in ("auto", engine):
        return request
    if request.compute.engine == "auto":
        request = replace(request, compute=replace(request.compute, engine=engine), engine_why="as the map was begun")
    return replace(request, constants=constants_from_json(ENGINE_CONSTANTS[engine], begun["compute"].get("costs")))


def _engine_of(begun: Mapping[str, Any]) -> tuple[EngineName | None, str]:
    """The engine that began a map, and its version; ``None`` where the map does not name one that is known."""
    try:
        name, version = (begun["compute"]["engine"][key] for key in ("name", "version"))
    except (KeyError, TypeError):
        return None, ""
    return (name, str(version)) if name in get_args(EngineName) else (None, "")


def _check_engine_of(begun: Mapping[str, Any], request: ScanRequest, output: Path) -> None:
    """Raises where an unfinished map would be resumed with its engine, and that is not installed.

    Raises:
        ResumeError: it would, and which version began the map.
    """
    engine, version = _engine_of(begun)
    if engine is None or engine != request.compute.engine or is_installed(engine):
        return
    raise ResumeError(
        str(output),
        f"was begun with {engine} {version}, which is not installed here",
        fix=f"install that version (pip install 'fullfield[{engine}]'), or {RESTART}",
    )


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
        check_place(self.path, overwrite=self.output.overwrite, restart=self.output.existing == "restart")
        job, compute = self.job, self.job.request.compute
        replacing = is_replacing(self.path)
        if (replacing or not journal_folder(self.path).exists()) and self._is_finished(else_replaced=replacing):
            return self._verified()
        begin = Begin(
            job.identity,
            create=partial(begin_store, self.path, job.stored_spec),
            finished=lambda: not is_replacing(self.path) and self._is_finished(),
            rank=compute.rank,
            world=compute.world,
            restart=self.output.existing == "restart" and not self._is_finished(),
            overwrite=self.output.overwrite,
            finish=partial(finish_replacing, self.path),
            intact=self._intact,
        )
        if has_begun(self.path) and not begin.restart:
            announce(self.progress, "checking the finished blocks")
        with open_journal(self.path, begin) as journal:
            if journal is None:
                return self._verified()
            with self._removing_if_empty(journal):
                grown = self._run(journal)
            return self._complete(journal, grown)

    @contextmanager
    def _removing_if_empty(self, journal: Journal) -> Iterator[None]:
        """Removes the output after an error that came before its first block; others may still write it."""
        try:
            yield
        except Exception:
            if self.job.request.compute.world == 1:
                with journal.commit_lock():
                    if not journal.done():
                        remove(journal.output)
                        journal.remove()
            raise

    def _is_finished(self, *, else_replaced: bool = False) -> bool:
        """Whether the output is the finished result of this very scan; another one is an error, unless replaced."""
        try:
            return is_finished(self.path, self.job.identity, overwrite=self.output.overwrite)
        except ImageError:
            if else_replaced:
                return False
            raise

    def _intact(self, block: int, file: Path) -> bool:
        """Whether the checksums of a file are right; files of blocks that are another process's share it checks."""
        compute = self.job.request.compute
        return block not in self.shards.share(compute.rank, compute.world) or is_intact(file, self.job.stored_spec)

    def _run(self, journal: Journal) -> GrowingStore:
        """Computes this process's blocks."""
        job, compute, shards = self.job, self.job.request.compute, self.shards
        store = reopen_store(journal.output, job.stored_spec)
        boxes = map(shards.box, journal.finished)
        growing = GrowingStore(store, [(box.row, box.column) for box in boxes])
        announce(self.progress, "computing the first tile")
        writer = growing if job.plan.memory.builds_levels or growing.single_level else store
        run(
            job.plan,
            job.engine,
            job.source,
            StoreSink(
                shards,
                job.encoder,
                writer,
                journal,
                shards.share(compute.rank, compute.world),
                check=partial(check_state, job.source.image.original),
            ),
            where=job.wanted,
            progress=self.progress,
        )
        return growing

    def _verified(self) -> StoredMap:
        """The finished result, with the certificate that was asked for."""
        if self.job.request.samples and read_record(self.path)["certificate"] is None:
            seal(self.path, certificate=self._certificate(self.path))
        return open_map(self.path)

    def _complete(self, journal: Journal, grown: GrowingStore) -> StoredMap | None:
        """Seals the store if all blocks are there; one process does, once.

        Raises:
            ResumeError: files of this process's blocks are gone since they were written.
            ImageError: the image was changed while it was scanned.
        """
        compute, shards = self.job.request.compute, self.shards
        check_identity(self.job.source.image.original)
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
            store = journal.output
            certificate = self._certificate(store) if self.job.request.samples else None
            seal(store, certificate=certificate, counts=journal.counts(), built=grown.built, extremes=grown.extremes)
            if store != self.path:
                replace_finished(self.path)
            journal.remove()
        return open_map(self.path)

    def _certificate(self, store: Path) -> dict[str, object]:
        """The certificate of the stored scores, as plain JSON."""
        scores = open_unsealed(store, self.job.stored_spec)
        return certify_scan(self.job, scores, self.progress).to_dict()
