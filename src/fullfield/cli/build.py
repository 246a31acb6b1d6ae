"""``fullfield build``."""

from __future__ import annotations

import click

from fullfield.cli import options


@click.command()
@click.argument("pattern")
@click.option("-o", "--output", required=True, metavar="FILE.onnx", help="Where the network goes.")
@options.budget
@options.as_json
@options.overwrite
def command(pattern: str, output: str, budget: str | None, as_json: bool, overwrite: bool) -> None:
    """Build the network that PATTERN describes, freshly initialised: an ONNX file.

    PATTERN is such as "INPUT(3x32x32) -> [[CONV(16|32) -> RELU]*2 -> POOL]*2 -> FC(10)", or the name of a classic:
    LeNet-5, AlexNet, "AlexNet one-column", ZFNet, VGG-11, VGG-13, VGG-16, VGG-19.
    """
    from fullfield.files import check_writable
    from fullfield.importers.load import load
    from fullfield.model.save import save
    from fullfield.workbench.pattern.verbs import build, describe, input_channels

    target = check_writable(output, overwrite, suffixes=(".onnx",))
    net = build(pattern) if budget is None else build(pattern, budget=budget)
    text = describe(net)
    classifier = load(net, channels=input_channels(net), name=target.stem)
    written = save(classifier, target, overwrite=overwrite)
    parameters = sum(p.numel() for p in net.parameters())
    if as_json:
        facts = {"written": str(written), "pattern": text, "window": list(classifier.window)}
        numbers = {"channels": classifier.channels, "classes": classifier.classes, "parameters": parameters}
        options.print_json(facts | numbers)
    else:
        size = f"{classifier.window[0]}x{classifier.window[1]} px"
        click.echo(text)
        click.echo(f"wrote {written}: window {size}, {classifier.classes} scores, {parameters:,} parameters")
