"""``fullfield scan``."""

from __future__ import annotations

from typing import Any

import click

from fullfield.cli import options
from fullfield.cli.options import Load, Pick


def numbers(text: str) -> tuple[float, float]:
    """Two numbers, the first below the second.

    Examples:
        >>> numbers("-5,12.5")
        (-5.0, 12.5)
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not two numbers such as -5,12") from error
    return low, high


output = click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="Where scores go: .zarr (streamed, resumable), .tif, .ome.tif, .npy, .geojson, .npz, a picture; of several "
    "images a folder.",
)
file_format = click.option(
    "--format",
    "suffix",
    type=click.Choice([".zarr", ".tif", ".ome.tif", ".npy", ".geojson", ".npz", ".png"]),
    default=".zarr",
    show_default=True,
    help="Of the files in an output folder.",
)
keeping = options.apply(
    click.option("--classes", metavar="A,B,...", help="Encoding the scores of these classes, by name or index."),
    click.option("--argmax", is_flag=True, help="Encoding the index of the top class only."),
    click.option("--activation", type=click.Choice(["softmax", "sigmoid"]), help="Encoding probabilities of logits."),
    click.option("--dtype", type=click.Choice(["float32", "float16", "uint8"]), help="Numbers in the store."),
    click.option("--range", "span", type=numbers, metavar="LOW,HIGH", help="Scores stored as 0 and 254 in uint8."),
)
running = options.apply(
    click.option("--rank", type=click.IntRange(min=0), default=0, metavar="R", help="This is process R (from 0) ..."),
    click.option("--world", type=click.IntRange(min=1), default=1, metavar="N", help="... of N that write one output."),
    click.option("--restart", is_flag=True, help="Begin an unfinished output anew."),
    click.option("--json-progress", is_flag=True, help="Progress as lines of JSON on standard error."),
)


@click.command()
@options.model
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@options.step
@output
@file_format
@click.option("--overlay", metavar="FILE", help="Picture of a class's map over the image.")
@click.option("--class", "cls", metavar="CLASS", help="Index or name of the class in pictures and GeoJSON.")
@keeping
@options.apply(options.mode, options.border, options.edge, options.scale)
@options.apply(options.region, options.mask, options.coordinates, options.skip_background, options.min_coverage)
@options.apply(options.tolerance, options.agreement)
@options.apply(options.budget, options.method)
@click.option("--verify", type=click.IntRange(min=0), default=0, metavar="N", help="Compare N windows with the crops.")
@running
@options.network
@options.picture
@options.apply(options.as_json, options.overwrite)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    load: Load,
    pick: Pick,
    images: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Score every window of IMAGE with MODEL.

    Scores that go to a .zarr, .tif, .npy or .geojson are streamed: the memory is --budget's, whatever the size of the
    image, and the same command goes on where an earlier one was cut off. Without -o and --overlay only a summary is
    printed.

    Of several images each gets a file in the output folder; one that fails does not stop the others, and makes the
    exit code 1.

    With --tolerance or --agreement the border is tuned on sampled windows first, and the scan checked on others
    afterwards: it ends with 1 where the target is missed by more than the noise of the sample, two standard errors.
    """
    from fullfield.cli.jobs import check_job, job_of
    from fullfield.cli.scanning import scan_each

    job = job_of(images, **given)
    check_job(job)
    net = load()
    job.check_classes(net)
    results = scan_each(job, net, pick)
    if as_json:
        options.print_json(results[0].facts if job.single else [r.to_dict() for r in results])
    else:
        for result in results:
            result.say(alone=job.single)
    if not all(result.good for result in results):
        ctx.exit(1)
