"""``fullfield tune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fullfield.cli import options, records
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.files import ModelFile, check_picture
from fullfield.cli.progress import show_progress
from fullfield.cli.records import apply, collected

if TYPE_CHECKING:
    from PIL import Image

    from fullfield.cli.records import PickedPart
    from fullfield.jobs.candidates import Candidate, Tuning
    from fullfield.verification.target import Target

_FLOOR = 1e-6  # errors below are rounding


@click.command(
    cls=Command,
    examples=(
        "fullfield tune model.onnx photo.jpg --step 32",
        "fullfield tune model.onnx photo.jpg --agreement 0.99 --samples 256",
        "fullfield tune model.onnx slide.svs --labels tumour.geojson -o modes.png",
    ),
)
@options.model
@options.image
@apply(options.step, options.scale, options.picked, options.where)
@collected(
    "labels",
    records.labels,
    ("labels", *options.LABEL_FIELDS),
    option("--labels", group="What", metavar="FILE", help="Labels of the image: adds each mode's accuracy."),
    options.label_fields,
    options.label_coordinates("--label-coordinates"),
)
@apply(options.target, options.compute)
@option("--samples", group="How", type=int, default=64, show_default=True, help="Windows to run as crops too.")
@options.seed
@option("-o", "--output", group="Output", metavar="FILE", help="Picture of error against time.")
@apply(options.json_progress, options.as_json, options.overwrite)
def command(
    *,
    model: ModelFile,
    pick: PickedPart,
    images: tuple[str, ...],
    target: Target | None,
    output: str | None,
    as_json: bool,
    json_progress: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Measure on IMAGE what each mode costs and how far its scores are from the crops'.

    Names the fastest mode that meets the target; by default a tolerance of 0.02. With --labels also measures how
    accurate each mode is.
    """
    image = pick.trusted(model.trust)(images)
    check_picture(output, overwrite)
    from fullfield.drawing.chart import check_matplotlib
    from fullfield.verification.target import Target

    if output is not None:
        check_matplotlib()

    target = target or Target()
    settings |= {"tolerance": target.tolerance, "agreement": target.agreement}
    with show_progress(as_json=json_progress) as display:
        net = display.reading(model.load)
        from fullfield.api.tune import tune

        tuning = tune(net, image, progress=display.of(images[0]), **settings)
    if output is not None:
        from fullfield.drawing.pictures import save_picture

        save_picture(picture(tuning, net.name), output, overwrite=overwrite)
    if as_json:
        print_json(tuning.to_dict() | {"written": output})
        return
    echo(tuning)
    if output is not None:
        echo(f"wrote {output}")


def picture(tuning: Tuning, name: str) -> Image.Image:
    """Error against time, the chosen mode marked."""
    from fullfield.drawing.chart import ChartPoint, draw_chart

    points = [ChartPoint(t.seconds, t.error, _named(t), t is tuning.best) for t in tuning.candidates]
    return draw_chart(
        points,
        title=f"{name}: {tuning.windows} windows, {tuning.crop_seconds:.3g} s crop by crop",
        x_title="time of the scan, s",
        y_title="error over the spread of the scores",
        limit=tuning.target.tolerance,
        floor=_FLOOR,
    )


def _named(candidate: Candidate) -> str:
    """A mode, and its accuracy where there are labels."""
    labels = candidate.labels
    return candidate.name if labels is None else f"{candidate.name}: {labels.accuracy:.1%} accurate"
