"""``fullfield plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fullfield.cli import options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.files import ModelFile
from fullfield.cli.progress import duration, show_progress
from fullfield.cli.records import apply

if TYPE_CHECKING:
    from fullfield.cli.records import PickedPart


@click.command(
    cls=Command,
    examples=(
        "fullfield plan model.onnx photo.jpg",
        "fullfield plan model.onnx photo.jpg --step 16 --mode context",
        "fullfield plan model.onnx slide.svs --mpp 0.5 --budget 1GB --json",
    ),
)
@options.model
@options.image
@apply(options.step, options.scale, options.picked, options.where, options.mode, options.compute)
@option("--measure", group="How", is_flag=True, help="Measure this machine for plans now, and keep it for all scans.")
@options.as_json
def command(
    *,
    model: ModelFile,
    pick: PickedPart,
    images: tuple[str, ...],
    mode: Any,
    measure: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Show how IMAGE would be scanned with MODEL: where each layer runs, what it costs, memory and time.

    One window is run to time the machine. The last lines compare steps: windows, and time of the whole scan.
    """
    image = pick.trusted(model.trust)(images)
    settings["mode"] = "exact" if mode is None else mode
    with show_progress() as display:
        net = display.reading(model.load)
        from fullfield.api.plan import compare_steps, plan

        found = plan(net, image, measure=measure, **settings)
        steps = compare_steps(net, image, **settings)
    this = next(each for each in steps if each.step == found.step)
    if as_json:
        facts = {"predicted_seconds": this.seconds, "predicted_crop_seconds": this.crop_seconds}
        print_json(found.table.to_dict() | facts | {"steps": [each.to_dict() for each in steps]})
        return
    echo(found.table)
    echo(f"time      about {duration(this.seconds)}, crop by crop {duration(this.crop_seconds)}, on this machine")
    others = "; ".join(f"step {_step(s.step)}: {s.windows:,} windows, about {duration(s.seconds)}" for s in steps)
    echo(f"steps     {others}")


def _step(step: tuple[int, int]) -> str:
    return " x ".join(map(str, dict.fromkeys(step)))
