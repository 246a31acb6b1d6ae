"""``fullfield inspect``."""

from __future__ import annotations

import click

from fullfield.cli import options


@click.command()
@options.model
@options.window
@click.option(
    "--at", type=options.pair, metavar="PX[xPX]", help="Also the fully convolutional network's volumes at this size."
)
@options.as_json
@options.apply(options.trust, options.weights)
def command(
    model: str,
    window: tuple[int, int] | None,
    at: tuple[int, int] | None,
    as_json: bool,
    trust: bool,
    weights: str | None,
) -> None:
    """Describe MODEL layer by layer: geometry, parameters, work, receptive field, borders."""
    from fullfield.api.inspect import inspect

    report = inspect(options.read_network(model, window=window, trust=trust, weights=weights), at=at)
    if as_json:
        options.print_json(report.to_dict())
    else:
        click.echo(report)
