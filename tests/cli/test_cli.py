"""The command line as its users meet it: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import fullfield
from fullfield.cli import COMMANDS, main
from fullfield.cli.values import pair
from fullfield.verification.certificate import Certificate
from tests.processes import PATIENCE_S

DATA = Path(fullfield.__file__).parent / "data"
MODEL, PHOTO = str(DATA / "rnet.onnx"), str(DATA / "astronaut.png")
SMALL = ("--scale", "0.1", "--step", "4")
PROGRAM = [sys.executable, "-c", "from fullfield.cli import main; main(prog_name='fullfield')"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), prog_name="fullfield")


def ok(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def fails(*arguments: object, code: int = 1) -> str:
    """What is on standard error; nothing else, and no traceback."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """A picture of two windows by one."""
    path = tmp_path / "small.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 28, 3), dtype=np.uint8)).save(path)
    return str(path)


# -- the group ---------------------------------------------------------------------------------------------------------


def test_help_lists_every_command() -> None:
    text = ok("--help")
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    assert ok(name, "--help").startswith(f"Usage: fullfield {name}")


def test_the_version_is_the_packages() -> None:
    assert ok("--version") == f"fullfield, version {fullfield.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("inspect",),
        ("scan", MODEL),
        ("inspect", MODEL, "--nonsense"),
        ("scan", MODEL, PHOTO, "--mode", "x"),
    ],
)
def test_a_wrong_call_ends_with_2(arguments: tuple[str, ...]) -> None:
    assert "Usage:" in fails(*arguments, code=2)


@pytest.mark.parametrize("text", ["", "x", "24x", "24x24x24", "2.5", "24 24"])
def test_what_is_no_pair_is_a_wrong_call(text: str) -> None:
    with pytest.raises(click.BadParameter):
        pair(text)
    assert "is not one integer or two" in fails("inspect", MODEL, "--window", text, code=2)


def test_an_interruption_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    import fullfield.api.inspect

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fullfield.api.inspect, "inspect", interrupt)  # type: ignore[attr-defined]
    assert fails("inspect", MODEL, code=130) == "interrupted\n"


def test_an_error_is_one_message_with_its_fix(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    for name in ("broken.onnx", "missing.onnx"):
        text = fails("inspect", tmp_path / name)
        assert name in text
        assert "\n  fix: " in text


def test_a_file_that_can_run_code_is_refused_without_trust(tmp_path: Path) -> None:
    import torch
    from torch import nn

    path = tmp_path / "model.pt"
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.save(module, path)
    assert "--trust" in fails("inspect", path, "--window", "8")
    assert "conv2d" in ok("inspect", path, "--window", "8", "--trust")


# -- in a process of its own -------------------------------------------------------------------------------------------


def test_help_imports_click_and_nothing_heavier() -> None:
    code = """
import sys
before = set(sys.modules)
from fullfield.cli import main
main(["--help"], standalone_mode=False)
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - sys.stdlib_module_names))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert result.stdout.splitlines()[-1] == "click fullfield"


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_torch_is_asked_for_huge_pages_unless_the_user_says_otherwise(given: str | None, found: str) -> None:
    code = "import os; from fullfield.cli import main; main(['inspect', '--help'], standalone_mode=False);"
    code += "print(os.environ['THP_MEM_ALLOC_ENABLE'])"
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    environment |= {} if given is None else {"THP_MEM_ALLOC_ENABLE": given}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert result.stdout.endswith(f"{found}\n")


def test_a_process_ends_with_the_exit_codes() -> None:
    for arguments, code in ((["--version"], 0), (["inspect", "missing.onnx"], 1), (["scan"], 2)):
        result = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert result.returncode == code
        assert "Traceback" not in result.stderr


def test_a_pipe_gets_data_only_and_no_progress_bar() -> None:
    command = [*PROGRAM, "scan", MODEL, PHOTO, *SMALL, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert result.stderr == ""
    assert json.loads(result.stdout)["shape"] == [2, 7, 7]


def test_a_terminal_gets_a_progress_bar_on_standard_error() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [*PROGRAM, "scan", MODEL, PHOTO, "--scale", "0.25", "--step", "2", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True) as process:
        os.close(theirs)
        shown = drain(ours)
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["mode"] == "exact"
    assert process.returncode == 0
    for text in ("reading the model", "planning", "computing the first tile", "windows", "megapixels/s", " MB"):
        assert text in shown


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("scores.npz", ["scores.npz.zarr", "scores.npz.zarr.journal"]),
        ("scores.zarr", ["scores.zarr", "scores.zarr.journal"]),
    ],
)
def test_ctrl_c_ends_a_scan_with_130_and_leaves_what_it_can_resume_from(
    tmp_path: Path, name: str, left: list[str]
) -> None:
    ours, theirs = pty.openpty()
    options = ["--step", "1", "-o", str(tmp_path / name), "--overlay", str(tmp_path / "map.png"), "--budget", "64MB"]
    with subprocess.Popen(
        [*PROGRAM, "scan", MODEL, PHOTO, *options], stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        shown = b""
        while b"pixels/s" not in shown:  # the first tile is done: the scan is well on its way
            assert select.select([ours], [], [], PATIENCE_S)[0]
            shown += os.read(ours, 1 << 16)
        process.send_signal(signal.SIGINT)
        rest = drain(ours)
        assert process.stdout is not None
        assert process.stdout.read() == ""
    assert process.returncode == 130
    assert "interrupted" in rest
    assert "the same command resumes the scan" in rest
    assert "Traceback" not in rest
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def drain(terminal: int) -> str:
    """Everything that a process writes to a terminal until it closes it."""
    parts = []
    try:
        while select.select([terminal], [], [], PATIENCE_S)[0]:
            block = os.read(terminal, 1 << 16)
            if not block:
                break
            parts.append(block)
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    return b"".join(parts).decode()


# -- inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_prints_the_report() -> None:
    text = ok("inspect", MODEL)
    assert text.rstrip("\n") == str(fullfield.inspect(MODEL))
    assert "dense4" in text


def test_inspect_takes_another_size_and_prints_json() -> None:
    found = json.loads(ok("inspect", MODEL, "--at", "48x72", "--json"))
    assert found["at"] == [48, 72]
    assert found["rows"][0]["at"] == [3, 48, 72]
    assert "smaller than the window" in fails("inspect", MODEL, "--at", "20")


# -- scan --------------------------------------------------------------------------------------------------------------


def test_scan_prints_a_summary() -> None:
    text = ok("scan", MODEL, PHOTO, *SMALL)
    assert "7x7 cells, 2 classes, float32, exact" in text
    assert "512x512 px, scanned at 51x51 px, window 24x24 px, step 4 px" in text
    assert "background" in text
    assert "highest  face: " in text
    assert "wrote" not in text


def test_scan_writes_what_python_writes(tmp_path: Path) -> None:
    scores, overlay = tmp_path / "scores.npz", tmp_path / "map.png"
    text = ok("scan", MODEL, PHOTO, *SMALL, "-o", scores, "--overlay", overlay)
    assert f"wrote    {scores}\nwrote    {overlay}" in text
    expected = fullfield.scan(fullfield.load(MODEL), PHOTO, scale=0.1, step=4)
    assert np.array_equal(fullfield.open_scores(scores).array, expected.array)
    with Image.open(overlay) as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(expected.overlay(PHOTO, "face")))


def test_scan_draws_the_class_asked_for(tmp_path: Path, photo: str) -> None:
    for cls in ("background", "0", "face"):
        ok("scan", MODEL, photo, "--class", cls, "-o", tmp_path / f"{cls}.png")
    pictures = {cls: (tmp_path / f"{cls}.png").read_bytes() for cls in ("background", "0", "face")}
    assert pictures["background"] == pictures["0"] != pictures["face"]


def test_scan_finds_a_wrong_class_before_it_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullfield.api.scan.scan", None)
    assert "'dog' is not one of the 2 classes" in fails("scan", MODEL, PHOTO, "--class", "dog")


def test_an_overlay_that_is_reduced_states_its_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullfield.drawing.thumbnails._WHOLE", 1000)
    photo = tmp_path / "large.npy"
    np.save(photo, np.zeros((64, 9000, 3), np.uint8))
    done = run("scan", MODEL, photo, "--step", "32", "--overlay", tmp_path / "map.png")
    assert f"{tmp_path / 'map.png'}: drawn at 1/3 of the image's size" in done.stderr


@pytest.mark.parametrize("option", ["-o", "--overlay"])
def test_scan_overwrites_nothing_and_says_so_before_it_scans(
    option: str, tmp_path: Path, photo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "map.png"
    target.write_bytes(b"precious")
    with monkeypatch.context() as patch:
        patch.setattr("fullfield.api.scan.scan", None)
        assert "--overwrite" in fails("scan", MODEL, photo, option, target)
    assert target.read_bytes() == b"precious"
    ok("scan", MODEL, photo, option, target, "--overwrite")
    assert target.read_bytes() != b"precious"


def test_scan_takes_its_settings(photo: str, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("no face\nsome face\n")
    options = [
        "--step",
        "2,4",
        "--mode",
        "context",
        "--window",
        "24x24",
        "--preprocessing",
        "unit",
        "--class-names",
        names,
    ]
    found = json.loads(ok("scan", MODEL, photo, *options, "--budget", "1GB", "--device", "cpu", "--json"))
    assert (found["step"], found["mode"], found["shape"]) == ([2, 4], "context", [2, 1, 2])
    assert found["highest"]["class"] == "some face"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--step", "0"), "is not one or two positive integers"),
        (("--step", "-3"), "is not one or two positive integers"),
        (("--budget", "many"), "is no size in bytes"),
        (("--scale", "0.01"), "smaller than the window"),
        (("--preprocessing", "nonsense"), "is not a preset"),
        (("-o", "scores.txt"), "names no format"),
        (("--overlay", "map.zarr"), "names no format"),
        (("--window", "0"), "window"),
    ],
)
def test_scan_refuses_what_cannot_be(options: tuple[str, str], message: str) -> None:
    assert message in fails("scan", MODEL, PHOTO, *options)


def test_scan_verifies_along_the_way(photo: str) -> None:
    assert "verified 2 windows: EXACT" in ok("scan", MODEL, photo, "--step", "4", "--verify", "8")
    certificate = json.loads(ok("scan", MODEL, photo, "--step", "4", "--verify", "8", "--json"))["certificate"]
    assert certificate["holds"]


# -- verify ------------------------------------------------------------------------------------------------------------


def test_verify_prints_the_certificate() -> None:
    assert ok("verify", MODEL, PHOTO, *SMALL, "--samples", "8").endswith("EXACT\n")
    found = json.loads(ok("verify", MODEL, PHOTO, *SMALL, "--samples", "8", "--seed", "3", "--json"))
    assert (found["samples"], found["windows"], found["seed"], found["holds"]) == (8, 49, 3, True)


def test_verify_of_context_mode_says_by_how_much_it_differs() -> None:
    assert "CONTEXT: differs by" in ok("verify", MODEL, PHOTO, *SMALL, "--mode", "context", "--samples", "49")


@pytest.mark.parametrize("command", [("verify",), ("scan", "--verify", "8")])
def test_exact_scores_that_are_not_exact_end_with_1(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Certificate, "equal", property(lambda self: False))
    result = run(command[0], MODEL, PHOTO, *SMALL, *command[1:])
    assert result.exit_code == 1
    assert "NOT EXACT" in result.stdout


# -- convert -----------------------------------------------------------------------------------------------------------


def test_convert_writes_a_network_of_any_size(tmp_path: Path) -> None:
    import onnxruntime

    target = tmp_path / "fcn.onnx"
    assert f"wrote {target}: images from 24x24 px" in ok("convert", MODEL, "-o", target)
    session = onnxruntime.InferenceSession(target.read_bytes())
    x = np.random.default_rng(0).normal(size=(1, 3, 24, 24)).astype(np.float32)
    (scores,) = session.run(None, {session.get_inputs()[0].name: x})
    import torch

    assert np.allclose(scores[:, :, 0, 0], fullfield.load(MODEL)(torch.from_numpy(x)).detach().numpy(), atol=1e-5)
    (wide,) = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, 40, 56), np.float32)})
    assert wide.shape == (1, 2, 5, 9)


def test_convert_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "fcn.onnx"
    target.write_bytes(b"precious")
    assert "--overwrite" in fails("convert", MODEL, "-o", target)
    assert target.read_bytes() == b"precious"
    facts = json.loads(ok("convert", MODEL, "-o", target, "--overwrite", "--fold-batch-norm", "--json"))
    assert facts["parameters"] == 99_662
    assert "names no format" in fails("convert", MODEL, "-o", tmp_path / "fcn.zarr")
