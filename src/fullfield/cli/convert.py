"""``fullfield convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fullfield.cli import options

if TYPE_CHECKING:
    from fullfield.model.model import Model


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL [WEIGHTS.caffemodel]")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE.onnx | FILE.prototxt FILE.caffemodel",
    help="Where the converted network goes.",
)
@options.window
@click.option("--fold-batch-norm", is_flag=True, help="Make batch norms part of the convolutions before them.")
@options.as_json
@options.overwrite
@options.trust
def command(
    models: tuple[str, ...],
    output: str,
    window: tuple[int, int] | None,
    fold_batch_norm: bool,
    as_json: bool,
    overwrite: bool,
    trust: bool,
) -> None:
    """Make MODEL fully convolutional: an ONNX file that takes images of any size from the window up.

    Where layers pad, gate or normalise over the window, its scores on larger images are those of context mode.

    A Caffe network, given by its .prototxt and its .caffemodel, can also be written as Caffe's two files.
    """
    if Path(output).suffix.lower() == ".prototxt":
        if fold_batch_norm:
            raise click.UsageError("--fold-batch-norm is for ONNX: Caffe's files keep their layers")
        _net_surgery(models, output, window=window, as_json=as_json, overwrite=overwrite)
        return
    from fullfield.api.convert import convert
    from fullfield.files import check_writable
    from fullfield.model.save import describe, export_onnx

    if len(models) > 2:
        raise click.UsageError("one MODEL and, for Caffe, its WEIGHTS: " + ", ".join(models))
    target = check_writable(output, overwrite, suffixes=(".onnx",))
    net = _read(models, window=window, trust=trust)
    module = convert(net, fold_batch_norm=fold_batch_norm)
    shape = (net.channels, *net.window)
    written = export_onnx(module, shape, target, metadata=describe(net), overwrite=overwrite)
    parameters = sum(p.numel() for p in module.parameters())
    if as_json:
        facts = {"written": str(written), "smallest": list(net.window), "channels": net.channels}
        options.print_json(facts | {"classes": net.classes, "parameters": parameters})
    else:
        click.echo(describe_result(written, net.window, net.classes, parameters))


def _read(models: tuple[str, ...], *, window: tuple[int, int] | None, trust: bool) -> Model:
    """The network of one path, or of a definition and its weights."""
    from fullfield.importers.load import load

    if len(models) == 1:
        return options.read_network(models[0], window=window, trust=trust)
    return load(models[0], weights=models[1], window=window, trust=trust)


def _net_surgery(
    paths: tuple[str, ...], prototxt: str, *, window: tuple[int, int] | None, as_json: bool, overwrite: bool
) -> None:
    """The network in the first path or two as a definition and, the last path, its weights."""
    from fullfield.importers.caffe.importer import read_network
    from fullfield.importers.caffe.writer import save_caffe

    if len(paths) not in (2, 3):
        raise click.UsageError("name both files that are written: -o FILE.prototxt FILE.caffemodel")
    weights = Path(paths[1]) if len(paths) == 3 else None
    network = read_network(Path(paths[0]), weights=weights, window=window)
    written = save_caffe(network, prototxt, paths[-1], overwrite=overwrite)
    channels, height, width = network.shape
    parameters = sum(p.numel() for p in network.module.parameters())
    if as_json:
        facts = {"written": [str(path) for path in written], "smallest": [height, width], "channels": channels}
        options.print_json(facts | {"parameters": parameters})
    else:
        files = " and ".join(map(str, written))
        click.echo(f"wrote {files}: images from {height}x{width} px, {parameters:,} parameters")


def describe_result(path: Path, window: tuple[int, int], classes: int, parameters: int) -> str:
    """What was written, in a line."""
    return f"wrote {path}: images from {window[0]}x{window[1]} px, maps of {classes} scores, {parameters:,} parameters"
