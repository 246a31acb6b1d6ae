"""``fullfield verify``."""

from __future__ import annotations

from typing import Any

import click

from fullfield.cli import options
from fullfield.cli.options import Load, Pick
from fullfield.cli.progress import progress_bar


@click.command()
@options.model
@options.image
@options.step
@options.apply(options.mode, options.border, options.edge)
@click.option("--samples", type=int, default=64, show_default=True, help="Windows to compare, the corners among them.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the windows compared.")
@click.option("--scores", metavar="PATH", help="Result of an earlier scan, instead of a new one.")
@options.apply(options.scale, options.region, options.budget)
@options.network
@options.picture
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, *, load: Load, pick: Pick, image: str, as_json: bool, **settings: Any) -> None:
    """Scan IMAGE with MODEL, run sampled windows as crops through the original network, and compare.

    Ends with 1 when exact scores were promised and are not.
    """
    from fullfield.api.verify import verify
    from fullfield.mask.where import Where
    from fullfield.planning.compute import Compute

    net = load()
    with progress_bar("scan") as progress:
        mode = settings["mode"] if settings["border"] is None else settings["border"]
        shared = {k: settings[k] for k in ("step", "scale", "scores", "samples", "seed")}
        where = Where(region=settings["region"], edge=settings["edge"])
        compute = Compute(budget=settings["budget"])
        certificate = verify(net, pick(image), mode=mode, where=where, compute=compute, progress=progress, **shared)
    if as_json:
        options.print_json(certificate.to_dict())
    else:
        click.echo(certificate)
    if not certificate.holds:
        ctx.exit(1)
