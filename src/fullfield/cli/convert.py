"""``fullfield convert``."""

from __future__ import annotations

from pathlib import Path

import click

from fullfield.cli import options


@click.command()
@options.model
@click.option("-o", "--output", required=True, metavar="FILE.onnx", help="Where the converted network goes.")
@options.window
@click.option("--fold-batch-norm", is_flag=True, help="Make batch norms part of the convolutions before them.")
@options.as_json
@options.overwrite
@options.trust
def command(
    model: str,
    output: str,
    window: tuple[int, int] | None,
    fold_batch_norm: bool,
    as_json: bool,
    overwrite: bool,
    trust: bool,
) -> None:
    """Make MODEL fully convolutional: an ONNX file that takes images of any size from the window up.

    Where layers pad, its scores on larger images are those of context mode.
    """
    from fullfield.api.convert import convert
    from fullfield.capture.save import describe, export_onnx
    from fullfield.io.files import check_writable

    target = check_writable(output, overwrite, suffixes=(".onnx",))
    net = options.read_network(model, window=window, trust=trust)
    module = convert(net, fold_batch_norm=fold_batch_norm)
    shape = (net.channels, *net.window)
    written = export_onnx(module, shape, target, metadata=describe(net), overwrite=overwrite)
    parameters = sum(p.numel() for p in module.parameters())
    if as_json:
        facts = {"written": str(written), "smallest": list(net.window), "channels": net.channels}
        options.print_json(facts | {"classes": net.classes, "parameters": parameters})
    else:
        click.echo(describe_result(written, net.window, net.classes, parameters))


def describe_result(path: Path, window: tuple[int, int], classes: int, parameters: int) -> str:
    """What was written, in a line."""
    return f"wrote {path}: images from {window[0]}x{window[1]} px, maps of {classes} scores, {parameters:,} parameters"
