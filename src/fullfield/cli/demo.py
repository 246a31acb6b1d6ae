"""``fullfield demo``: a real network on a real photograph, from model file to verified map."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullfield.cli.command import Command, option
from fullfield.cli.echo import echo

if TYPE_CHECKING:
    from fullfield.api.scores import Scores
    from fullfield.model.model import Model

SCALE, STEP, SAMPLES, TIMED = 0.25, 1, 64, 1024


@click.command(
    cls=Command,
    examples=(
        "fullfield demo",
        "fullfield demo -o faces",
        "fullfield verify faces/rnet.onnx faces/astronaut.png --scale 0.25 --step 1",
    ),
)
@option(
    "-o",
    "--output",
    group="Output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("fullfield-demo"),
    show_default=True,
    help="Folder for the results; those of an earlier demo are replaced.",
)
def command(output: Path) -> None:
    """Scan a photograph for faces with a real network, and prove the map.

    The network is MTCNN's R-Net (window 24x24, 100k parameters), the picture NASA's portrait of Eileen Collins; both
    come with fullfield. Every step is printed as the line that does it.
    """
    output.mkdir(parents=True, exist_ok=True)
    with as_file(files("fullfield") / "data") as data:
        model, photo = output / "rnet.onnx", output / "astronaut.png"
        model.write_bytes((data / "rnet.onnx").read_bytes())
        photo.write_bytes((data / "astronaut.png").read_bytes())
    _Demo(output, model, photo).run()


@dataclass(frozen=True)
class _Demo:
    folder: Path
    model: Path
    photo: Path

    def run(self) -> None:
        import fullfield

        echo(f"Results go to {self.folder}/\n")
        _step("What is this network?", f"fullfield inspect {self.model}", f'net = fullfield.load("{self.model}")')
        net = fullfield.load(self.model)
        echo(fullfield.inspect(net))
        scores, seconds = self._scan(net)
        self._prove(net, scores)
        self._time(net, scores, seconds)
        self._context(net, scores)
        self._write(scores)
        self._yours()

    def _scan(self, net: Model) -> tuple[Scores, float]:
        import fullfield
        from fullfield.cli.progress import show_progress

        options = f"--scale {SCALE} --step {STEP}"
        _step(
            "Scan every window, exactly",
            f"fullfield scan {self.model} {self.photo} {options} -o {self.folder / 'scores.zarr'}",
            f'scores = fullfield.scan(net, "{self.photo}", scale={SCALE}, step={STEP})',
        )
        started = time.perf_counter()
        with show_progress() as display:
            progress = display.of(str(self.photo))
            scores = fullfield.scan(net, self.photo, scale=SCALE, step=STEP, progress=progress)
        seconds = time.perf_counter() - started
        _, rows, columns = scores.array.shape
        face = scores.array[scores.class_index("face")]
        i, j = divmod(int(face.argmax()), columns)
        y, x = scores.placement.centre(i, j)
        echo(f"{rows}x{columns} = {rows * columns} windows in {seconds:.1f} s")
        bright = (face > 0.9).mean()
        echo(f"brightest: {face[i, j]:.4f} at pixel (y {y:.0f}, x {x:.0f}); above 0.9: {bright:.1%} of the map")
        return scores, seconds

    def _prove(self, net: Model, scores: Scores) -> None:
        import fullfield

        _step(
            "Is it what the crops would have given?",
            f"fullfield verify {self.model} {self.photo} --scale {SCALE} --step {STEP} --samples {SAMPLES}",
            f'fullfield.verify(net, "{self.photo}", scores=scores, samples={SAMPLES})',
        )
        certificate = fullfield.verify(net, self.photo, scores=scores, samples=SAMPLES)
        echo(certificate)
        if not certificate.holds:
            raise click.ClickException("the scan is not exact on this machine: please report it with the lines above")

    def _time(self, net: Model, scores: Scores, seconds: float) -> None:
        """The same network crop by crop, at the fastest of three batch sizes."""
        from fullfield.jobs.source import open_source
        from fullfield.verification.crops import run_crops, sample_cells

        windows = scores.array[0].size
        _step("How long would the crops have taken?", None, f"# {TIMED} of the {windows} windows as crops, in batches")
        source = open_source(net, self.photo, scale=SCALE)
        cells = sample_cells(scores.placement.shape, TIMED, seed=0)
        rates = {}
        for batch in (16, 64, 256):
            started = time.perf_counter()
            run_crops(net, source, cells, scores.placement.step, batch=batch)
            rates[batch] = (time.perf_counter() - started) / len(cells)
        best = min(rates, key=lambda b: rates[b])
        crops = rates[best] * windows
        faster = crops / seconds
        echo(f"{crops:.1f} s crop by crop (batches of {best}) against {seconds:.1f} s: {faster:.1f} times faster")

    def _context(self, net: Model, scores: Scores) -> None:
        import fullfield

        options = f"--scale {SCALE} --step {STEP} --mode context"
        _step(
            "And a plain fully convolutional pass?",
            f"fullfield verify {self.model} {self.photo} {options}",
            f'fullfield.verify(net, "{self.photo}", scale={SCALE}, step={STEP}, mode="context")',
        )
        started = time.perf_counter()
        other = fullfield.scan(net, self.photo, scale=SCALE, step=STEP, mode="context")
        seconds = time.perf_counter() - started
        echo(fullfield.verify(net, self.photo, scores=other, samples=SAMPLES))
        far = abs(other.array - scores.array).max()
        echo(
            f"Over the whole map it is off by up to {far:.2f} of probability, in {seconds:.1f} s: the pools of\n"
            "this network are cut short at the window's edge, which a pass over the whole picture does not see."
        )

    def _write(self, scores: Scores) -> None:
        from fullfield.drawing.pictures import save_picture

        _step(
            "Write the map",
            None,
            f'scores.save("{self.folder / "scores.zarr"}")',
            f'scores.save("{self.folder / "map.png"}", classes="face")',
            f'scores.overlay("{self.photo}", cls="face").save("{self.folder / "overlay.png"}")',
        )
        scores.save(self.folder / "scores.zarr", overwrite=True)
        scores.save(self.folder / "map.png", classes="face", overwrite=True)
        save_picture(scores.overlay(self.photo, "face"), self.folder / "overlay.png", overwrite=True)
        for name in ("scores.zarr", "map.png", "overlay.png"):
            echo(f"wrote {self.folder / name}")

    def _yours(self) -> None:
        click.secho("\nThe same on your own files", bold=True)
        for line in (
            "fullfield inspect model.onnx --window 224",
            "fullfield scan model.onnx photo.jpg --step 32 --preprocessing imagenet -o scores.zarr --overlay map.png",
            "fullfield verify model.onnx photo.jpg --step 32 --preprocessing imagenet",
        ):
            echo(f"  $ {line}")


def _step(title: str, shell: str | None, *python: Any) -> None:
    click.secho(f"\n{title}", bold=True)
    if shell:
        echo(f"  $ {shell}")
    for line in python:
        echo(f"  >>> {line}")
    echo()
