"""``fullfield convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fullfield.cli import options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.files import ModelFile
from fullfield.cli.records import apply


@click.command(
    cls=Command,
    examples=(
        "fullfield convert model.onnx -o fcn.onnx",
        "fullfield convert net.prototxt net.caffemodel -o fcn.onnx --fold-batch-norm",
        "fullfield convert net.prototxt net.caffemodel -o fcn.prototxt fcn.caffemodel",
    ),
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL [WEIGHTS.caffemodel]")
@option("--fold-batch-norm", group="How", is_flag=True, help="Make batch norms part of the convolutions before them.")
@option(
    "-o", "--output", group="Output", required=True, metavar="FILE", help=".onnx, or .prototxt and .caffemodel (Caffe)."
)
@apply(options.as_json, options.overwrite)
@options.model_options
def command(
    models: tuple[str, ...],
    output: str,
    loading: dict[str, Any],
    *,
    fold_batch_norm: bool,
    as_json: bool,
    overwrite: bool,
) -> None:
    """Make MODEL fully convolutional: an ONNX file that takes images of any size from the window up.

    Where layers pad, gate or normalise over the window, its scores on larger images are those of context mode.

    A Caffe network, given by its .prototxt and its .caffemodel, can also be written as Caffe's two files.
    """
    if Path(output).suffix.lower() == ".prototxt":
        if fold_batch_norm:
            raise click.UsageError("--fold-batch-norm is for ONNX: Caffe's files keep their layers")
        _net_surgery(models, output, window=loading["window"], as_json=as_json, overwrite=overwrite)
        return
    if len(models) > 2:
        raise click.UsageError("give one MODEL and, for Caffe, its WEIGHTS, not " + ", ".join(models))
    from fullfield.files import check_writable

    target = check_writable(output, overwrite, suffixes=(".onnx",))
    file = ModelFile(models[0], **(loading if len(models) == 1 else loading | {"weights": models[1]}))
    from fullfield.api.convert import convert
    from fullfield.model.save import describe, export_onnx

    net = file.load()
    module = convert(net, fold_batch_norm=fold_batch_norm)
    shape = (net.channels, *net.window)
    written = export_onnx(module, shape, target, metadata=describe(net), overwrite=overwrite)
    parameters = sum(p.numel() for p in module.parameters())
    if as_json:
        facts = {"written": str(written), "smallest": list(net.window), "channels": net.channels}
        print_json(facts | {"classes": net.classes, "parameters": parameters})
    else:
        size = f"{net.window[0]}x{net.window[1]} px"
        echo(f"wrote {written}: images from {size}, maps of {net.classes} scores, {parameters:,} parameters")


def _net_surgery(
    paths: tuple[str, ...], prototxt: str, *, window: int | tuple[int, int] | None, as_json: bool, overwrite: bool
) -> None:
    """Writes the network in the first path or two as a definition and weights; the last path is that of the weights."""
    if len(paths) not in (2, 3):
        raise click.UsageError("name both files that are written: -o FILE.prototxt FILE.caffemodel")
    file = ModelFile(paths[0], weights=paths[1] if len(paths) == 3 else None)
    from fullfield.importers.caffe.importer import read_network
    from fullfield.importers.caffe.writer import save_caffe

    weights = None if file.weights is None else Path(file.weights)
    network = read_network(Path(file.model), weights=weights, window=window)
    written = save_caffe(network, prototxt, paths[-1], overwrite=overwrite)
    channels, height, width = network.shape
    parameters = sum(p.numel() for p in network.module.parameters())
    if as_json:
        facts = {"written": [str(path) for path in written], "smallest": [height, width], "channels": channels}
        print_json(facts | {"parameters": parameters})
    else:
        files = " and ".join(map(str, written))
        echo(f"wrote {files}: images from {height}x{width} px, {parameters:,} parameters")
