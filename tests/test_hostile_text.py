"""What files and people call things never controls the terminal, and no name fills it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import fullfield
from fullfield.errors import FullfieldError, printable
from tests.processes import PATIENCE_S

HOSTILE = "a\x1b[2J\x1b]0;title\x07\x9b31m\r\x08b\u202ec"
CONTROLS = {chr(code) for code in (*range(32), *range(127, 160), 0x202E, 0x2028)} - {"\n", "\t"}


def test_controls_are_written_as_escapes_and_other_text_as_it_is() -> None:
    assert printable(HOSTILE) == r"a\x1b[2J\x1b]0;title\x07\x9b31m\x0d\x08b\u202ec"
    assert printable("Grüße, 組織\n\tதமிழ் 👩‍⚕️") == "Grüße, 組織\n\tதமிழ் 👩‍⚕️"
    assert printable("\udcff.tif") == r"\udcff.tif"


def test_long_words_and_texts_are_cut_in_their_middle() -> None:
    text = printable(f"start {'x' * 10_000} end")
    assert text.startswith("start xxx")
    assert text.endswith("xxx end")
    assert len(text) < 300
    assert len(printable("ab " * 10_000)) < 10_000


def test_an_error_has_no_controls_and_no_endless_names_but_its_parts_are_as_given() -> None:
    error = FullfieldError(HOSTILE, "n" * 10_000, fix="\x1b[31mred")
    assert not CONTROLS.intersection(str(error))
    assert len(str(error)) < 600
    assert error.where == HOSTILE


def _onnx(path: Path, name: str) -> Path:
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"], name=name),
            helper.make_node("GlobalAveragePool", ["r"], ["g"], name="n" * 10_000),
            helper.make_node("Flatten", ["g"], ["y"]),
        ],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    names = [HOSTILE, "m" * 10_000, "k"]
    for key, value in (("fullfield.classes", json.dumps(names)), ("fullfield.name", name)):
        made.metadata_props.add(key=key, value=value)
    path.write_bytes(made.SerializeToString())
    return path


COMMANDS = """
import json, sys
from fullfield.cli import main
for arguments in json.load(sys.stdin):
    try:
        main(arguments)
    except SystemExit:
        print("\\n" + {END!r}, flush=True)
        print("\\n" + {END!r}, file=sys.stderr, flush=True)
"""
END = "-- the end of a command --"


def _outputs(*commands: tuple[str, ...]) -> list[tuple[str, str]]:
    """What each command prints, on standard output and error; one process runs them all."""
    program = [sys.executable, "-c", COMMANDS.format(END=END)]
    done = subprocess.run(program, input=json.dumps(commands).encode(), capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    parts = (text.decode().split(f"\n{END}\n") for text in (done.stdout, done.stderr))
    outputs = list(zip(*parts, strict=True))
    assert len(outputs) == len(commands) + 1
    return outputs[:-1]


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names of files")
def test_the_command_line_prints_no_controls_of_names(tmp_path: Path) -> None:
    model = _onnx(tmp_path / f"m{HOSTILE}.onnx", HOSTILE)
    image = tmp_path / f"i{HOSTILE}.npy"
    np.save(image, np.zeros((16, 16, 3), np.uint8))
    odd = os.fsencode(tmp_path) + b"/\xff\x9b.npy"
    Path(os.fsdecode(odd)).write_bytes(image.read_bytes())
    store = tmp_path / f"s{HOSTILE}.zarr"
    runs = [
        ("scan", str(model), str(image), "--step", "8", "-o", str(store)),
        ("scan", str(model), os.fsdecode(odd), "--step", "8", "--json"),
        ("info", str(store)),
        ("info", str(image), "--json"),
        ("inspect", str(model)),
        ("scan", str(model), str(tmp_path / HOSTILE), "--step", "8"),
        ("scan", str(model), str(image), f"--{HOSTILE}"),
        ("scan", str(model), str(image), "--step", HOSTILE),
        (HOSTILE,),
    ]
    for run, texts in zip(runs, _outputs(*runs), strict=True):
        for text in texts:
            assert not CONTROLS.intersection(text), run
            assert "Traceback" not in text, run
            assert "--json" in run or max(map(len, text.splitlines()), default=0) < 1000, run
    assert fullfield.load(model).class_names == (HOSTILE, "m" * 10_000, "k")


def test_json_stays_json_with_the_names_as_they_are(tmp_path: Path) -> None:
    [(found, _)] = _outputs(("info", str(_onnx(tmp_path / "m.onnx", HOSTILE)), "--json"))
    assert json.loads(found)["class_names"][0] == HOSTILE


def test_a_table_with_an_endless_name_stays_narrow(tmp_path: Path) -> None:
    [(found, _)] = _outputs(("inspect", str(_onnx(tmp_path / "m.onnx", "n" * 10_000))))
    assert max(map(len, found.splitlines())) < 400
