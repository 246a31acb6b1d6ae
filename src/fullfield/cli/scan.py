"""``fullfield scan``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullfield.cli import options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo
from fullfield.cli.outputs import ScanOutputs
from fullfield.cli.progress import Display, show_progress
from fullfield.cli.records import apply

if TYPE_CHECKING:
    from fullfield.api.scan_files import FileResult
    from fullfield.cli.files import ModelFile
    from fullfield.model.model import Model
    from fullfield.store.encoding import Encoding


@click.command(
    cls=Command,
    examples=(
        "fullfield scan model.onnx photo.jpg --step 32",
        "fullfield scan model.onnx slide.svs --mpp 0.5 --skip-background -o map.zarr",
        "fullfield scan model.onnx a.tif b.tif -o maps/ --format .tif",
    ),
)
@options.model
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@apply(options.step, options.scale, options.picked, options.where)
@apply(options.mode, options.target, options.shared_compute)
@option("--verify", group="How", type=click.IntRange(min=0), default=0, metavar="N", help="Run N windows as crops too.")
@option("-o", "--output", group="Output", metavar="PATH", help=".zarr, .tif, .ome.tif, .npy, .geojson, .npz, .png.")
@option(
    "--format",
    "suffix",
    group="Output",
    rare=True,
    type=click.Choice([".zarr", ".tif", ".ome.tif", ".npy", ".geojson", ".npz", ".png"]),
    default=".zarr",
    show_default=True,
    help="Of the files in an output folder.",
)
@option("--overlay", group="Output", metavar="FILE", help="Picture of one class's scores over the image.")
@option("--class", "cls", group="Output", metavar="CLASS", help="The class of pictures and GeoJSON.")
@options.encoding
@option("--restart", group="Output", rare=True, is_flag=True, help="Begin an unfinished result anew.")
@apply(options.json_progress, options.as_json, options.overwrite)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    model: ModelFile,
    images: tuple[str, ...],
    pick: Callable[[str], Any],
    mode: Any,
    target: Any,
    output: str | None,
    suffix: str,
    overlay: str | None,
    cls: str | None,
    encoding: Encoding,
    restart: bool,
    overwrite: bool,
    as_json: bool,
    json_progress: bool,
    **settings: Any,
) -> None:
    """Score every window of IMAGE with MODEL.

    With -o the scores are streamed in the memory that --budget allows, and the same command resumes an interrupted
    scan. Several images go to a folder; one that fails does not stop the others. Without -o only a summary is printed.
    """
    if target is not None and mode is not None:
        raise click.UsageError("--tolerance and --agreement choose the mode: leave out --mode")
    outputs = ScanOutputs(images, output, suffix, overlay, cls, restart, overwrite)
    outputs.check(encoding, world=settings["compute"].world)
    settings |= {
        "mode": target or ("exact" if mode is None else mode),
        "encoding": outputs.encoding(encoding),
        "existing": "overwrite" if overwrite else "restart" if restart else "resume",
    }
    from fullfield.cli.results import described

    with show_progress(len(images), as_json=json_progress) as display:
        net = display.reading(model.load)
        outputs.check_classes(encoding, net)
        step = settings["step"] is not None
        budget = settings["compute"].budget_bytes
        results = [
            described(each, outputs, pick, step=step, budget=budget)
            for each in _scan(net, outputs, pick, display, settings)
        ]
    if as_json:
        options.print_json([each.facts for each in results] if outputs.is_folder else results[0].facts)
    else:
        for remark in dict.fromkeys(remark for each in results for remark in each.remarks if outputs.is_folder):
            echo(remark)
        for each in results:
            echo(each.text(alone=not outputs.is_folder), err=each.failed)
    if outputs.is_folder:
        echo(f"{sum(not each.failed for each in results)} of {len(results)} images scanned", err=True)
    if not all(each.good for each in results):
        ctx.exit(1)


def _scan(
    model: Model, outputs: ScanOutputs, pick: Callable[[str], Any], display: Display, settings: dict[str, Any]
) -> Iterator[FileResult]:
    """The images one after the other."""
    try:
        if outputs.is_folder:
            images = [pick(image) for image in outputs.images]
            from fullfield.api.scan_files import scan_files

            yield from scan_files(model, images, outputs.template, progress=display.of, **settings)
        else:
            yield _scan_one(model, outputs, pick, display, settings)
    except KeyboardInterrupt:
        if outputs.output is not None:
            echo("the same command resumes the scan", err=True)
        raise


def _scan_one(
    model: Model, outputs: ScanOutputs, pick: Callable[[str], Any], display: Display, settings: dict[str, Any]
) -> FileResult:
    from fullfield.api.scan import scan
    from fullfield.api.scan_files import FileResult

    image, started = outputs.images[0], time.perf_counter()
    scores = scan(model, pick(image), output=outputs.output, progress=display.of(image), **settings)
    place = None if outputs.output is None else Path(outputs.output)
    return FileResult(image, place, scores, seconds=time.perf_counter() - started)
