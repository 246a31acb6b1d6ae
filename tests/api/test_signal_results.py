"""Results of signals: tables with samples and seconds, plots, and one clear error for what is for images alone."""

from __future__ import annotations

import csv
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

import fullfield
from fullfield import Detections, Encoding
from fullfield.cli import main
from fullfield.errors import FullfieldError, ImageError
from fullfield.exporters import plot
from fullfield.exporters.grid import cells
from tests.signal_networks import M5, ready, signal_crops

RATE = 8000


class Loud(nn.Module):
    """The mean magnitude of a window, and one less it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 1)
        self.conv.weight.data[:] = torch.tensor([1.0, -1.0])[:, None, None]
        self.conv.bias.data[:] = torch.tensor([0.0, 1.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.abs()).mean(-1)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of silence with a tone from 0.25 to 0.5 s."""
    times = np.arange(RATE) / RATE
    samples = np.where((times >= 0.25) & (times < 0.5), np.sin(2 * np.pi * 440 * times), 0.0)
    path = tmp_path_factory.mktemp("signal") / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def scores(recording: Path) -> fullfield.Scores:
    model = fullfield.load(Loud(), window=400, class_names=["sound", "silence"])
    return fullfield.scan(model, recording, step=100)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_scores_of_a_file_are_those_of_its_samples(recording: Path) -> None:
    module = ready(M5)
    model = fullfield.load(module, window=2000)
    with wave.open(str(recording)) as file:
        samples = np.frombuffer(file.readframes(RATE), "<i2") / 32768
    wanted = signal_crops(module, torch.from_numpy(samples)[None], 2000, 500)
    found = np.asarray(fullfield.scan(model, str(recording), step=500))[:, 0]
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-9 * float(np.ptp(wanted.numpy())))


def test_rows_say_where_each_window_lies(scores: fullfield.Scores, tmp_path: Path) -> None:
    scores.save(tmp_path / "a.csv")
    found = rows(tmp_path / "a.csv")
    assert len(found) == (RATE - 400) // 100 + 1
    assert list(found[3])[1:8] == ["start", "stop", "start_s", "stop_s", "sample", "time_s", "class"]
    assert [float(found[3][name]) for name in ("start", "stop", "sample")] == [300, 700, 500]
    assert [float(found[3][name]) for name in ("start_s", "stop_s", "time_s")] == [300 / RATE, 700 / RATE, 500 / RATE]
    assert found[3]["class"] == "silence"
    assert found[26]["class"] == "sound"


def test_a_threshold_gives_intervals(scores: fullfield.Scores, tmp_path: Path) -> None:
    scores.save(tmp_path / "a.csv", classes="sound", detections=Detections(threshold=0.3, rows="regions"))
    (tone,) = rows(tmp_path / "a.csv")
    assert tone["class"] == "sound"
    assert abs(float(tone["start_s"]) - 0.25) <= 200 / RATE
    assert abs(float(tone["stop_s"]) - 0.5) <= 200 / RATE


def test_tables_and_arrays_have_seconds(scores: fullfield.Scores) -> None:
    frame = scores.to_frame()
    assert list(frame.columns) == ["column", "sample", "time_s", "top", "top_score", "sound", "silence"]
    assert frame["time_s"].tolist() == (frame["sample"] / RATE).tolist()
    array = scores.to_xarray()
    assert array["time_s"].dims == ("x",)
    assert float(array["time_s"][0]) == 200 / RATE


def test_the_score_at_a_sample_is_that_of_the_nearest_window(scores: fullfield.Scores) -> None:
    np.testing.assert_array_equal(scores.at(0.5, 2801), scores[:, 0, 26])


def test_a_plot_has_a_line_a_class(scores: fullfield.Scores, tmp_path: Path) -> None:
    scores.save(tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as file:
        picture = np.asarray(file.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(picture, axis=0)) > 10
    for colour in ((184, 127, 0), (69, 144, 186)):  # of the palette, darkened
        assert (np.abs(picture.astype(int) - colour).max(1) <= 2).sum() > 200
    assert not (tmp_path / "plot.legend.json").exists()


def test_many_windows_are_drawn_in_groups(scores: fullfield.Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = cells(scores.map)
    x, low, high = plot._grouped(grid, None)
    values = np.asarray(scores)[:, 0]
    np.testing.assert_array_equal(low, values)
    assert x.tolist() == [200 + 100 * k for k in range(values.shape[1])]
    monkeypatch.setattr(plot, "_GROUPS", 10)
    x, low, high = plot._grouped(grid, None)
    groups = [values[:, k : k + 8] for k in range(0, values.shape[1], 8)]
    np.testing.assert_array_equal(low, np.stack([group.min(1) for group in groups], 1))
    np.testing.assert_array_equal(high, np.stack([group.max(1) for group in groups], 1))
    assert x[0] == 200 + 100 * 3.5


def test_labels_are_plotted_too(recording: Path, tmp_path: Path) -> None:
    model = fullfield.load(Loud(), window=400, class_names=["sound", "silence"])
    fullfield.scan(model, recording, step=100, output=tmp_path / "top.png", encoding=Encoding(labels=True))
    with Image.open(tmp_path / "top.png") as picture:
        assert picture.width >= 1000


@pytest.mark.parametrize("name", ["map.tif", "map.ome.tif", "map.geojson"])
def test_formats_of_maps_are_refused(scores: fullfield.Scores, recording: Path, name: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a signal has no place on a map or image.*\n  fix: write \.csv"):
        scores.save(tmp_path / name)
    with pytest.raises(ImageError, match="a signal has no place on a map or image"):
        fullfield.scan(fullfield.load(Loud(), window=400), recording, step=100, output=tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_picture_to_lay_scores_over(scores: fullfield.Scores, recording: Path) -> None:
    with pytest.raises(ImageError, match=r"no picture of a signal.*\n  fix: write a plot"):
        scores.overlay(recording)


def test_a_store_keeps_the_sample_rate(recording: Path, tmp_path: Path) -> None:
    model = fullfield.load(Loud(), window=400, class_names=["sound", "silence"])
    fullfield.scan(model, recording, step=100, output=tmp_path / "map.zarr")
    stored = fullfield.open_scores(tmp_path / "map.zarr")
    stored.save(tmp_path / "a.csv")
    assert rows(tmp_path / "a.csv")[0]["stop_s"] == "0.05"
    assert repr(stored).startswith("Scores(2 x 1x77 float32, exact, step 100, window 400, signal 8000")


def test_stereo_files_name_the_cure(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(4 * 1000))
    model = fullfield.load(Loud(), window=400)
    with pytest.raises(
        FullfieldError, match=r"has 2 channels of 1000 samples, the network takes 1\n  fix: .*--bands 0"
    ):
        fullfield.scan(model, tmp_path / "stereo.wav")
    chosen = fullfield.open(tmp_path / "stereo.wav", bands=[1])
    assert fullfield.scan(model, chosen, step=100).shape == (2, 1, 7)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fullfield.save(
        fullfield.load(Loud(), window=400, class_names=["sound", "silence"]), tmp_path_factory.mktemp("m") / "m.onnx"
    )


def test_samples_of_audio_are_fed_as_they_are_without_a_warning(network: Path, recording: Path) -> None:
    found = CliRunner().invoke(main, ["scan", str(network), str(recording), "--step", "100"])
    assert found.exit_code == 0, found.output
    assert "as they are, -0.999969..0.999969: the model says nothing; full scale is -1..1" in found.output
    assert "WARNING" not in found.output


@pytest.mark.parametrize(
    ("option", "picture", "scores"), [("--overlay", "a.png", "a.zarr"), ("--thumbnails", "t/", "m/")]
)
def test_a_picture_over_a_signal_is_refused_before_the_scan(
    network: Path, recording: Path, tmp_path: Path, option: str, picture: str, scores: str
) -> None:
    places = ["-o", f"{tmp_path}/{scores}", option, f"{tmp_path}/{picture}"]
    found = CliRunner().invoke(main, ["scan", str(network), str(recording), "--step", "100", *places])
    assert found.exit_code == 1
    assert "there is no picture of a signal" in found.output
    assert "-o plot.png" in found.output
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
