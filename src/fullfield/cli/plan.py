"""``fullfield plan``."""

from __future__ import annotations

from typing import Any

import click

from fullfield.cli import options
from fullfield.cli.options import Load, Pick


@click.command()
@options.model
@options.image
@options.step
@options.apply(options.mode, options.border, options.edge, options.scale, options.region)
@options.apply(options.budget, options.method)
@options.network
@options.picture
@options.as_json
def command(*, load: Load, pick: Pick, image: str, as_json: bool, **settings: Any) -> None:
    """Show how IMAGE would be scanned with MODEL: where each layer runs, what it costs, memory and time.

    One window is run to time the machine.
    """
    from fullfield.jobs.job import prepare_job
    from fullfield.jobs.request import ScanRequest
    from fullfield.jobs.timing import crop_seconds
    from fullfield.mask.where import Where
    from fullfield.planning.compute import Compute

    net = load()
    mode = settings["mode"] if settings["border"] is None else settings["border"]
    job = prepare_job(
        ScanRequest.parse(
            net,
            pick(image),
            step=settings["step"],
            mode=mode,
            scale=settings["scale"],
            where=Where(region=settings["region"], edge=settings["edge"]),
            compute=Compute(budget=settings["budget"], method=settings["method"]),
        )
    )
    table = job.plan.table
    seconds = crop_seconds(net, job.source)
    scan, crops = table.seconds(seconds), seconds * job.plan.windows
    if as_json:
        options.print_json(table.to_dict() | {"predicted_seconds": scan, "predicted_crop_seconds": crops})
    else:
        click.echo(table)
        click.echo(f"time      about {duration(scan)}, crop by crop {duration(crops)}, on this machine")


def duration(seconds: float) -> str:
    """A time in two digits and a fitting unit.

    Examples:
        >>> duration(0.123), duration(75), duration(5000), duration(1e6)
        ('0.12 s', '75 s', '83 min', '280 h')
    """
    for unit, size in (("s", 1), ("min", 60), ("h", 3600)):
        if seconds < 100 * size or unit == "h":
            break
    value = seconds / size
    digits = f"{float(f'{value:.2g}'):g}"
    return f"{digits} {unit}"
