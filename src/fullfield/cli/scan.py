"""``fullfield scan``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullfield.cli import options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.imports import without_collections
from fullfield.cli.outputs import ScanOutputs
from fullfield.cli.progress import Display, show_progress
from fullfield.cli.records import apply

if TYPE_CHECKING:
    from fullfield.api.scan_files import FileResult
    from fullfield.cli.files import ModelFile
    from fullfield.cli.records import PickedPart
    from fullfield.cli.results import ImageResult
    from fullfield.decisions.rule import DecisionRule
    from fullfield.jobs.parse_passes import Passes
    from fullfield.model.model import Model
    from fullfield.store.encoding import Encoding

_SUFFIXES = (".zarr", ".tif", ".ome.tif", ".npy", ".npz", ".png", ".geojson", ".gpkg", ".fgb", ".csv", ".parquet")


@click.command(
    cls=Command,
    examples=(
        "fullfield scan model.onnx photo.jpg --step 32",
        "fullfield scan model.onnx slide.svs --mpp 0.5 --skip-background -o map.zarr",
        "fullfield scan model.onnx slides/ --recursive -o maps/ --summary summary.csv",
    ),
)
@options.model
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@apply(options.step, options.scale, options.picked)
@option("--recursive", group="What", is_flag=True, help="Search the folders in a folder for images, too.")
@options.clipped_where
@apply(options.modes, options.target, options.shared_compute)
@option("--verify", group="How", type=click.IntRange(min=0), default=0, metavar="N", help="Run N windows as crops too.")
@option("-o", "--output", group="Output", metavar="PATH", help=".zarr, .tif, .png, .geojson, .csv, ...: see --format.")
@option(
    "--format",
    "suffix",
    group="Output",
    rare=True,
    type=click.Choice(_SUFFIXES),
    default=".zarr",
    metavar="SUFFIX",
    help=f"Of the files in an output folder: {', '.join(_SUFFIXES)}. [default: .zarr]",
)
@option("--overlay", group="Output", metavar="FILE", help="Picture of one class's scores over the image.")
@option("--summary", group="Output", metavar="FILE", help="Table with a row for each image: .csv or .parquet.")
@option("--thumbnails", group="Output", rare=True, metavar="FOLDER", help="Of a small picture over each image.")
@option("--class", "cls", group="Output", metavar="CLASS", help="The class of pictures and GeoJSON.")
@apply(options.encoding, options.rule, options.scales, options.views)
@option("--restart", group="Output", rare=True, is_flag=True, help="Begin an unfinished result anew.")
@apply(options.json_progress, options.as_json, options.overwrite)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    model: ModelFile,
    images: tuple[str, ...],
    recursive: bool,
    pick: PickedPart,
    mode: Any,
    target: Any,
    output: str | None,
    suffix: str,
    overlay: str | None,
    summary: str | None,
    thumbnails: str | None,
    cls: str | None,
    encoding: Encoding,
    rule: DecisionRule | None,
    scales: tuple[float, ...] | None,
    views: str | tuple[str, ...] | None,
    restart: bool,
    overwrite: bool,
    as_json: bool,
    json_progress: bool,
    **settings: Any,
) -> None:
    """Score every window of IMAGE with MODEL.

    With -o scores are streamed, and the same command resumes; without, only a summary is printed. IMAGE may be a
    folder, a pattern or a list (.txt, or .csv with a column image): results go to a folder, failures stop no other.
    """
    if target is not None and mode is not None:
        raise click.UsageError("--tolerance and --agreement choose the mode: leave out --mode")
    from fullfield.api.list_images import is_several, list_images

    pick = pick.trusted(model.trust)
    listed = tuple(list_images(images, recursive=recursive, selection=pick.selection))
    if pick.stacked:
        listed = tuple(list_images([pick.stack([each.path for each in listed])]))
    several = not pick.stacked and (len(images) > 1 or is_several(images[0]))
    shown = suffix, overlay, cls, restart, overwrite, summary, thumbnails
    outputs = ScanOutputs(listed, several, output, *shown, rule, scales, views)
    outputs.check(encoding, world=settings["compute"].world)
    settings |= {
        "mode": target or ("exact" if mode is None else mode),
        "encoding": outputs.encoding(encoding),
        "existing": "overwrite" if overwrite else "restart" if restart else "resume",
    }
    with without_collections():
        from fullfield.cli.results import described
        from fullfield.jobs.parse_passes import parse_passes
        from fullfield.jobs.to_decision import check_decidable

    passes = parse_passes(scales, views, settings["mode"])
    if len(passes.modes) > 1 and rule is None:
        raise click.UsageError("--mode of several modes needs --decide")
    with show_progress([image.path for image in listed], as_json=json_progress) as display:
        net = display.reading(model.load)
        outputs.check_model(encoding, net)
        if rule is not None:
            check_decidable(net, settings["encoding"], rule)
        step = settings["step"] is not None
        budget = settings["compute"].budget_bytes
        results = [
            described(each, outputs, step=step, budget=budget)
            for each in _scan(net, outputs, passes, display, settings)
        ]
    _print(results, outputs, as_json=as_json)
    if not all(each.good for each in results):
        ctx.exit(1)


def _print(results: list[ImageResult], outputs: ScanOutputs, *, as_json: bool) -> None:
    """The summary of each image, and how many there are."""
    batch = outputs.is_batch
    if as_json:
        print_json([each.facts for each in results] if batch else results[0].facts)
    else:
        for remark in dict.fromkeys(remark for each in results for remark in each.remarks if batch):
            echo(remark)
        for each in results:
            echo(each.text(alone=not batch), err=each.failed)
        if outputs.summary is not None:
            echo(f"wrote    {outputs.summary}")
    if batch:
        before = sum(each.facts.get("skipped", False) for each in results)
        earlier = f", {before} of them before" if before else ""
        echo(f"{sum(not each.failed for each in results)} of {len(results)} images scanned{earlier}", err=True)


def _scan(
    model: Model, outputs: ScanOutputs, passes: Passes, display: Display, settings: dict[str, Any]
) -> Iterator[FileResult]:
    """The images one after the other; scores that are not kept last until the next result is asked for."""
    with without_collections():
        from fullfield.api.scan_files import FileResult, scan_files, scores_and_decision

    finished = 0
    try:
        if outputs.is_batch:
            for result in scan_files(model, outputs.images, outputs.batch, progress=display.of, **settings):
                finished += result.error is None
                yield result
            return
        image, place = outputs.images[0], None if outputs.output is None else Path(outputs.output)
        settings["progress"], started = display.of(image.path), time.perf_counter()
        with scores_and_decision(model, image, place, outputs.rule, passes, **settings) as (scores, decision):
            seconds = time.perf_counter() - started
            certificate = None if scores is None else scores.certificate
            yield FileResult(image.path, place, scores, seconds=seconds, certificate=certificate, decision=decision)
    except KeyboardInterrupt:
        if outputs.is_batch:
            echo(f"{finished} of {len(outputs.images)} images are finished", err=True)
        if outputs.output is not None or outputs.summary is not None:
            echo("the same command resumes the scan", err=True)
        raise
