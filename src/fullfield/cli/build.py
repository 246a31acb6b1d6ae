"""``fullfield build``."""

from __future__ import annotations

import click

from fullfield.cli import options
from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo, print_json
from fullfield.cli.records import apply


@click.command(
    cls=Command,
    examples=(
        "fullfield build LeNet-5 -o lenet.onnx",
        "fullfield build VGG-16 -o vgg.onnx --budget 2GB",
        "fullfield build 'INPUT(3x8x8) -> CONV(4) -> RELU -> FC(10)' -o net.onnx",
    ),
)
@click.argument("pattern")
@option("-o", "--output", group="Output", required=True, metavar="FILE.onnx", help="The network's file.")
@option("--budget", group="How", metavar="SIZE", help="Memory allowed for the weights, such as 2GB.")
@apply(options.as_json, options.overwrite)
def command(pattern: str, output: str, budget: str | None, as_json: bool, overwrite: bool) -> None:
    """Build the network that PATTERN describes, freshly initialised, as an ONNX file.

    PATTERN is a text of layers, or the name of a classic network: LeNet-5, AlexNet, "AlexNet one-column", ZFNet,
    VGG-11, VGG-13, VGG-16, VGG-19.
    """
    from fullfield.files import check_writable

    target = check_writable(output, overwrite, suffixes=(".onnx",))
    from fullfield.importers.load import load
    from fullfield.model.save import save
    from fullfield.workbench.pattern.verbs import build, describe, input_channels

    module = build(pattern) if budget is None else build(pattern, budget=budget)
    text = describe(module)
    model = load(module, channels=input_channels(module), name=target.stem)
    written = save(model, target, overwrite=overwrite)
    parameters = sum(p.numel() for p in module.parameters())
    if as_json:
        facts = {"written": str(written), "pattern": text, "window": list(model.window)}
        numbers = {"channels": model.channels, "classes": model.classes, "parameters": parameters}
        print_json(facts | numbers)
    else:
        size = f"{model.window[0]}x{model.window[1]} px"
        echo(text)
        echo(f"wrote {written}: window {size}, {model.classes} scores, {parameters:,} parameters")
