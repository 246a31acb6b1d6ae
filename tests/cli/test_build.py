"""``fullfield build`` as its users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import fullfield
from fullfield.cli import main

PATTERN = "INPUT(3x16x16) -> [[CONV(4|8) -> RELU]*2 -> POOL]*2 -> FC(10)"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["build", *map(str, arguments)], prog_name="fullfield")


def test_a_pattern_becomes_a_file_that_loads(tmp_path: Path) -> None:
    result = run(PATTERN, "-o", tmp_path / "net.onnx")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == PATTERN
    assert lines[1].endswith("net.onnx: window 16x16 px, 10 scores, 2,430 parameters")
    net = fullfield.load(tmp_path / "net.onnx")
    assert (net.window, net.channels, net.classes, net.name) == ((16, 16), 3, 10, "net")


def test_json_has_the_numbers(tmp_path: Path) -> None:
    result = run("lenet-5", "-o", tmp_path / "net.onnx", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["window"], facts["channels"], facts["classes"], facts["parameters"]) == ([32, 32], 1, 10, 60_000)


def test_a_grey_image_may_go_straight_into_a_fully_connected_layer(tmp_path: Path) -> None:
    assert run("INPUT(1x8x8) -> FC(2)", "-o", tmp_path / "net.onnx").exit_code == 0
    assert fullfield.load(tmp_path / "net.onnx").channels == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["INPUT(3x8x8) -> CONVV(4)", "-o", "net.onnx"],
            1,
            "CONVV is not a layer\n    INPUT(3x8x8) -> CONVV(4)\n      ",
        ),
        (["INPUT(3x8x8) -> POOL(3)", "-o", "net.onnx"], 1, "(8 - 3 + 2*0)/3 + 1 = 2.667"),
        (["INPUT(3x8x8) -> POOL", "-o", "net.onnx"], 1, "not (2, K)"),
        (["INPUT(3x8x8) -> FC(2)", "-o", "net.png"], 1, "the suffix '.png' names no format"),
        (["INPUT(3x8x8) -> FC(2)", "-o", "there.onnx"], 1, "exists already"),
        (["INPUT(3x8x8) -> FC(2000)", "-o", "net.onnx", "--budget", "1MB"], 1, "1,000,000 are allowed"),
        (["INPUT(3x8x8) -> FC(2)"], 2, "Missing option '-o'"),
    ],
)
def test_what_goes_wrong_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_bytes(b"")
    result = run(*arguments)
    assert result.exit_code == code
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not Path("net.onnx").exists()


def test_what_is_there_is_replaced_on_request(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    assert run("INPUT(3x8x8) -> FC(2)", "-o", tmp_path / "net.onnx", "--overwrite").exit_code == 0
    assert fullfield.load(tmp_path / "net.onnx").classes == 2
