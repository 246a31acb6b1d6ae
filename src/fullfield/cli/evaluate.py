"""``fullfield evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullfield.cli import options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, json_text, print_json
from fullfield.cli.files import check_file
from fullfield.cli.progress import show_progress
from fullfield.cli.records import apply, collected, labels, rule

if TYPE_CHECKING:
    from fullfield.decisions.evaluation.evaluation import Evaluation
    from fullfield.decisions.evaluation.labels import Labels

_SUFFIXES = (".csv", ".json", ".png", ".webp", ".jpg")


@click.command(
    cls=Command,
    examples=(
        "fullfield evaluate map.zarr annotations.geojson --outside background",
        "fullfield evaluate map.zarr cells.csv -o figure.png",
        "fullfield evaluate maps/ diagnoses.csv --decide top-k:5%",
    ),
)
@click.argument("scores", nargs=-1, required=True)
@collected(
    "labels",
    labels,
    ("labels", *options.LABEL_FIELDS),
    click.argument("labels", metavar="LABELS"),
    options.label_fields,
    options.label_coordinates("--coordinates"),
)
@collected("decide", rule, options.DECISION_FIELDS, *options.DECISION)
@option("--threshold", group="How", type=float, metavar="T", help="Scores below T are predicted as other.")
@option(
    "--activation",
    group="How",
    type=click.Choice(["softmax", "sigmoid"]),
    metavar="NAME",
    help="Turn logits into probabilities first: softmax or sigmoid.",
)
@option("--bins", group="How", type=int, default=15, show_default=True, help="Of the calibration error.")
@option("-o", "--output", group="Output", metavar="FILE", help="Table (.csv), all figures (.json) or figure (.png).")
@apply(options.as_json, options.overwrite)
def command(
    *, scores: tuple[str, ...], labels: Labels, output: str | None, as_json: bool, overwrite: bool, **settings: Any
) -> None:
    """Compare SCORES, the results of scans, with LABELS.

    LABELS are points (GeoJSON, or CSV with the columns y, x and class), polygons (GeoJSON) or a raster of class
    indices; of several maps a folder of these. Or a CSV of whole images with the columns image and class: each map is
    decided first. Prints accuracy, AUC, average precision, overlap, calibration, FROC and confusion matrix.
    """
    for path in scores:
        check_file(path)
    if output is not None:
        _check(output, overwrite)
    from fullfield.api.evaluate import evaluate

    with show_progress() as display:
        found = evaluate(scores, labels, progress=display.of(scores[0]), **settings)
    if output is not None:
        _write(found, output, overwrite)
    if as_json:
        print_json(found.to_dict() | {"written": output})
        return
    echo(found)
    if output is not None:
        echo(f"\nwrote {output}")


def _check(output: str, overwrite: bool) -> None:
    """Raises if the output cannot be written."""
    from fullfield.drawing.chart import check_matplotlib
    from fullfield.files import check_writable

    check_writable(output, overwrite, suffixes=_SUFFIXES)
    if Path(output).suffix.lower() not in (".csv", ".json"):
        check_matplotlib()


def _write(found: Evaluation, output: str, overwrite: bool) -> None:
    from fullfield.drawing.pictures import save_picture
    from fullfield.files import replacing

    suffix = Path(output).suffix.lower()
    if suffix not in (".csv", ".json"):
        save_picture(found.picture(), output, overwrite=overwrite)
        return
    text = found.to_csv() if suffix == ".csv" else json_text(found.to_dict())
    with replacing(Path(output), overwrite=overwrite, needed_bytes=len(text)) as partial:
        partial.write_text(text, encoding="utf-8")
