"""``fullfield scan``."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from fullfield.cli import options
from fullfield.cli.progress import progress_bar

if TYPE_CHECKING:
    from fullfield.api.trials import Tuning
    from fullfield.capture.classifier import Classifier
    from fullfield.io.scores import Scores

_SHOWN = 5  # classes named in the summary


@click.command()
@options.model
@options.image
@options.step
@click.option(
    "-o", "--output", metavar="FILE", help="Scores as .zarr or .npz, or the bare map of a class as a picture."
)
@click.option("--overlay", metavar="FILE", help="Picture of a class's map over the image.")
@click.option("--class", "cls", metavar="CLASS", help="Index or name of the class in pictures.")
@options.apply(options.mode, options.border, options.edge, options.scale, options.window, options.preprocessing)
@options.apply(options.tolerance, options.agreement)
@click.option("--classes", metavar="FILE", help="Text file with one class name a line.")
@options.apply(options.budget, options.method)
@click.option("--verify", type=click.IntRange(min=0), default=0, metavar="N", help="Compare N windows with the crops.")
@options.apply(options.device, options.as_json, options.overwrite, options.trust, options.weights)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    model: str,
    image: str,
    output: str | None,
    overlay: str | None,
    cls: str | None,
    window: tuple[int, int] | None,
    preprocessing: str | None,
    classes: str | None,
    device: str | None,
    as_json: bool,
    overwrite: bool,
    trust: bool,
    weights: str | None,
    tolerance: float | None,
    agreement: float | None,
    **settings: Any,
) -> None:
    """Score every window of IMAGE with MODEL.

    Without -o and --overlay only a summary is printed. With --tolerance or --agreement the border is tuned on sampled
    windows first, and the scan checked on others afterwards: it ends with 1 where the wish is missed by more than the
    noise of the sample, two standard errors.
    """
    from fullfield.api.scan import scan
    from fullfield.io.classes import find_class
    from fullfield.io.files import PICTURES, check_writable
    from fullfield.io.scores import save_picture

    if output is not None:
        check_writable(output, overwrite)
    if overlay is not None:
        check_writable(overlay, overwrite, suffixes=PICTURES)
    net = options.read_network(
        model, window=window, preprocessing=preprocessing, classes=classes, device=device, trust=trust, weights=weights
    )
    if cls is not None:
        find_class(cls, net.classes, net.class_names or ())
    tuning = None
    if tolerance is not None or agreement is not None:
        tuning = tuned(net, image, settings, tolerance, agreement)
        settings["border"] = tuning.best.border
    started = time.perf_counter()
    with progress_bar("scan") as progress:
        scores = scan(net, image, progress=progress, **(settings if tuning is None else settings | {"verify": 0}))
    seconds = time.perf_counter() - started
    if tuning is not None:
        scores = replace(scores, certificate=checked(net, image, scores, tuning, settings["verify"]))
    shown = scores.class_index(cls) if cls is not None else liveliest(scores)
    if output is not None:
        scores.save(output, shown, overwrite=overwrite)
    if overlay is not None:
        save_picture(scores.overlay(image, shown), overlay, overwrite=overwrite)
    facts = summary(scores, shown, seconds, [path for path in (output, overlay) if path is not None])
    if as_json:
        options.print_json(facts)
    else:
        click.echo(text(facts))
    if scores.certificate is not None and not scores.certificate["holds"]:
        ctx.exit(1)


def tuned(
    net: Classifier, image: str, settings: dict[str, Any], tolerance: float | None, agreement: float | None
) -> Tuning:
    """The fastest border that meets the wish, said on standard error."""
    from fullfield.api.tune import tune

    if settings["border"] is not None or settings["mode"] != "exact":
        raise click.UsageError(
            "--tolerance and --agreement choose the border themselves: leave out --border and --mode"
        )
    shared = {k: settings[k] for k in ("step", "scale", "edge", "budget")}
    with progress_bar("tune") as progress:
        tuning = tune(net, image, tolerance=tolerance, agreement=agreement, until_met=True, progress=progress, **shared)
    click.echo(tuning.verdict, err=True)
    return tuning


def checked(net: Classifier, image: str, scores: Scores, tuning: Tuning, samples: int) -> dict[str, Any]:
    """The certificate of a tuned scan, on as many windows as it was tuned on or as were asked for."""
    from fullfield.api.tune import check

    return check(net, image, scores, tuning.wish, samples=samples or tuning.samples, seed=tuning.seed + 1).to_dict()


def liveliest(scores: Scores) -> int:
    """The class whose scores span the widest range; of several about as wide the last: "face", not "background"."""
    import numpy as np

    low, high = (np.nan_to_num(f(scores.array, axis=(1, 2)).astype(np.float64)) for f in (np.min, np.max))
    span = high - low
    return int(np.flatnonzero(span >= 0.999 * span.max())[-1])


def summary(scores: Scores, shown: int, seconds: float, written: list[str]) -> dict[str, Any]:
    """What the scan found, as plain JSON."""
    import numpy as np

    classes, rows, columns = scores.array.shape
    place = scores.placement
    best = np.bincount(scores.top().ravel(), minlength=classes)
    order = np.argsort(-best, kind="stable")[:_SHOWN]
    i, j = divmod(int(np.nan_to_num(scores.array[shown], nan=-np.inf).argmax()), columns)
    y, x = place.centre(i, j)
    return {
        "shape": [classes, rows, columns],
        "dtype": str(scores.array.dtype),
        "mode": scores.mode,
        "step": list(place.step),
        "window": list(place.window),
        "image": list(place.image),
        "scanned": list(place.scanned),
        "seconds": round(seconds, 3),
        "megapixels_per_s": round(place.scanned[0] * place.scanned[1] / 1e6 / seconds, 4),
        "top": [{"class": name(scores, int(k)), "windows": int(best[k])} for k in order if best[k]],
        "highest": {"class": name(scores, shown), "score": float(scores.array[shown, i, j]), "y": y, "x": x},
        "certificate": scores.certificate,
        "written": written,
    }


def name(scores: Scores, cls: int) -> str:
    """What a class is called."""
    return scores.class_names[cls] if scores.class_names else f"class {cls}"


def text(facts: dict[str, Any]) -> str:
    """The summary for people."""
    (classes, rows, columns), (height, width), (h, w) = facts["shape"], facts["image"], facts["window"]
    step = " x ".join(map(str, dict.fromkeys(facts["step"])))
    scanned = "" if facts["scanned"] == facts["image"] else ", scanned at {}x{} px".format(*facts["scanned"])
    top = [f"{entry['class']} {entry['windows'] / (rows * columns):.1%}" for entry in facts["top"]]
    highest = facts["highest"]
    lines = [
        f"map      {rows}x{columns} cells, {classes} classes, {facts['dtype']}, {facts['mode']}",
        f"image    {height}x{width} px{scanned}, window {h}x{w} px, step {step} px",
        f"time     {facts['seconds']:.2f} s, {facts['megapixels_per_s']:.3g} megapixels/s",
        f"top      {', '.join(top)} of {rows * columns} windows",
        f"highest  {highest['class']}: {highest['score']:.4g} at y {highest['y']:.0f}, x {highest['x']:.0f}",
    ]
    if facts["certificate"] is not None:
        lines.append(f"verified {facts['certificate']['samples']} windows: {facts['certificate']['verdict']}")
    return "\n".join([*lines, *(f"wrote    {path}" for path in facts["written"])])
