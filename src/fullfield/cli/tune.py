"""``fullfield tune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fullfield.cli import options
from fullfield.cli.options import Load, Pick
from fullfield.cli.progress import progress_bar

if TYPE_CHECKING:
    from PIL import Image

    from fullfield.jobs.candidates import Tuning

_FLOOR = 1e-6  # errors below are rounding


@click.command()
@options.model
@options.image
@options.step
@options.apply(options.tolerance, options.agreement)
@click.option("--samples", type=int, default=64, show_default=True, help="Windows to compare with their crops.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the windows compared.")
@click.option("-o", "--output", metavar="FILE", help="Picture of error against time.")
@options.apply(options.edge, options.scale, options.budget)
@options.network
@options.picture
@options.apply(options.as_json, options.overwrite)
def command(
    *, load: Load, pick: Pick, image: str, output: str | None, as_json: bool, overwrite: bool, **settings: Any
) -> None:
    """Measure on IMAGE what each setting of --border costs and how far its scores are off.

    Names the fastest setting that meets the target; without one, a tolerance of 0.02.
    """
    from fullfield.api.tune import tune
    from fullfield.drawing.chart import check_matplotlib
    from fullfield.drawing.pictures import save_picture
    from fullfield.files import PICTURES, check_writable
    from fullfield.mask.where import Where
    from fullfield.planning.compute import Compute

    if output is not None:
        check_writable(output, overwrite, suffixes=PICTURES)
        check_matplotlib()
    net = load()
    with progress_bar("tune") as progress:
        shared = {k: settings[k] for k in ("step", "scale", "tolerance", "agreement", "samples", "seed")}
        where, compute = Where(edge=settings["edge"]), Compute(budget=settings["budget"])
        tuning = tune(net, pick(image), progress=progress, where=where, compute=compute, **shared)
    if output is not None:
        save_picture(picture(tuning, net.name), output, overwrite=overwrite)
    if as_json:
        options.print_json(tuning.to_dict() | {"written": output})
        return
    click.echo(tuning)
    if output is not None:
        click.echo(f"wrote {output}")


def picture(tuning: Tuning, name: str) -> Image.Image:
    """Error against time, the chosen setting marked."""
    from fullfield.drawing.chart import ChartPoint, draw_chart

    points = [ChartPoint(t.seconds, t.error, t.name, t is tuning.best) for t in tuning.candidates]
    return draw_chart(
        points,
        title=f"{name}: {tuning.windows} windows, {tuning.crop_seconds:.3g} s crop by crop",
        x_title="time of the scan, s",
        y_title="error over the spread of the scores",
        limit=tuning.target.tolerance,
        floor=_FLOOR,
    )
