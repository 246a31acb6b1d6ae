"""Runs ``fullfield scan`` on parts of a photograph."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image

from fullfield.cli import main

MODEL = str(files("fullfield") / "data" / "rnet.onnx")
PHOTO = np.asarray(Image.open(files("fullfield") / "data" / "astronaut.png").convert("RGB"))
PIXELS = np.ascontiguousarray(PHOTO[40:168, 150:310])  # 128 x 160 px: 14 x 18 windows of 24 px at every 8 px


def scan(*args: object, code: int = 0) -> Result:
    """The result of a scan at step 8, which ends with this exit code and no traceback."""
    result = CliRunner().invoke(main, ["scan", MODEL, *map(str, args), "--step", "8"])
    assert result.exit_code == code, (result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result
