"""Wrong options and missing files are refused before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fullfield
from tests.processes import PATIENCE_S

MODEL = str(Path(fullfield.__file__).parent / "data" / "rnet.onnx")
PROGRAM = """
import sys
from fullfield.cli import main
try:
    main(sys.argv[1:], prog_name="fullfield")
finally:
    print(*sorted({"torch", "onnx", "rasterio"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("scan",), 2, "Missing argument 'MODEL'"),
        (("scan", MODEL, "a.npy", "--stride", "3"), 2, "write --step"),
        (("scan", MODEL, "a.npy", "--step", "0"), 1, "is not one or two positive integers"),
        (("scan", MODEL, "a.npy", "--window", "0"), 1, "is not one or two positive integers"),
        (("scan", MODEL, "a.npy", "--mode", "half"), 2, "is not exact, context"),
        (("scan", MODEL, "a.npy", "--mode", "2", "--agreement", "1"), 2, "leave out --mode"),
        (("scan", MODEL, "a.npy", "--agreement", "3"), 1, "not between 0 and 1"),
        (("scan", MODEL, "a.npy", "--budget", "many"), 1, "no size in bytes"),
        (("scan", MODEL, "a.npy", "--rank", "2", "--world", "2", "-o", "a.zarr"), 1, "2 is not one of 2"),
        (("scan", MODEL, "a.npy", "--region", "5"), 1, "region"),
        (("scan", MODEL, "a.npy", "--mask", "none.png"), 1, "none.png: there is no such file"),
        (("scan", MODEL, "a.npy", "--dtype", "uint8"), 1, "uint8"),
        (("scan", MODEL, "a.npy", "--labels", "--classes", "0"), 1, "labels"),
        (("scan", MODEL, "a.npy", "--level", "1", "--mpp", "0.5"), 1, "exclude each other"),
        (("scan", MODEL, "a.npy", "--preprocessing", "nonsense"), 1, "is not a preset"),
        (("scan", MODEL, "a.npy", "-o", "there.tif"), 1, "there.tif: exists already"),
        (("scan", MODEL, "a.npy", "-o", "there.zarr"), 1, "there.zarr"),
        (("scan", MODEL, "a.npy", "-o", "a.xyz"), 1, "names no format"),
        (("scan", MODEL, "a.npy", "-o", "no/where/a.zarr"), 1, "there is no folder"),
        (("scan", MODEL, "a.npy", "--overlay", "there.png"), 1, "there.png: exists already"),
        (("scan", MODEL, "none.npy"), 1, "none.npy: there is no such file"),
        (("scan", "none.onnx", "a.npy"), 1, "none.onnx: there is no such file"),
        (("scan", MODEL, "a.npy", "b/a.npy", "-o", "out/{name}.tif"), 1, "would both go to"),
        (("tune", MODEL, "none.npy"), 1, "none.npy: there is no such file"),
        (("tune", MODEL, "a.npy", "-o", "there.png"), 1, "there.png: exists already"),
        (("verify", MODEL, "a.npy", "--scores", "none.zarr"), 1, "none.zarr: there is no such file"),
        (("plan", MODEL, "none.npy"), 1, "none.npy: there is no such file"),
        (("inspect", "none.onnx"), 1, "none.onnx: there is no such file"),
        (("info", "none.tif"), 1, "none.tif: there is no such file"),
        (("export", "none.zarr", "a.tif"), 1, "none.zarr: there is no such file"),
        (("export", "there.zarr", "there.tif"), 1, "there.tif: exists already"),
        (("convert", MODEL, "-o", "there.onnx"), 1, "there.onnx: exists already"),
        (("convert", "none.onnx", "-o", "a.onnx"), 1, "none.onnx: there is no such file"),
        (("build", "LeNet-5", "-o", "there.onnx"), 1, "there.onnx: exists already"),
    ],
)
def test_a_wrong_call_is_refused_without_torch(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "a.npy").write_bytes(b"")
    for name in ("there.tif", "there.png", "there.onnx"):
        (tmp_path / name).write_bytes(b"precious")
    (tmp_path / "there.zarr").mkdir()
    (tmp_path / "there.zarr" / "other.txt").write_text("precious")
    command = [sys.executable, "-c", PROGRAM, *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (result.returncode, result.stdout) == (code, "\n"), result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [("info", "a.png"), ("scan", "--help"), ("scan", "--help-all")])
def test_what_needs_no_network_imports_no_torch(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    from PIL import Image

    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    command = [sys.executable, "-c", PROGRAM, *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert result.stdout.endswith("\n\n")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the process as ulimit -v does")
def test_a_process_without_memory_ends_in_one_clear_error(tmp_path: Path) -> None:
    model, image = tmp_path / "m.onnx", tmp_path / "i.npy"
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 256, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    fullfield.save(fullfield.load(net, window=64), model)
    np.save(image, np.zeros((700, 700, 3), np.uint8))
    limited = (
        "import resource, sys, torch, fullfield.cli\n"
        "import fullfield.api.scan\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)\n"
        "fullfield.cli.main()"
    )
    command = [sys.executable, "-c", limited, "scan", str(model), str(image), "--step", "8", "--budget", "2GB"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("memory: the system gave no more (")
    assert len(done.stderr.splitlines()) == 2
