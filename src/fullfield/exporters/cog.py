"""Reorders a GeoTIFF into a Cloud-optimised one; GDAL does it in one call that cannot be interrupted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_LARGE = 64 << 20  # bytes; smaller files take GDAL a second or two
_SCRIPT = """
import json, sys
job = json.loads(sys.argv[1])
sys.path[:] = job["path"]
import rasterio.shutil
with rasterio.Env(**job["settings"]):
    rasterio.shutil.copy(job["source"], job["target"], driver="COG", **job["options"])
"""


def copy(rasterio: Any, source: Path, target: Path, *, settings: dict[str, Any], options: dict[str, Any]) -> None:
    """Copies a plain GeoTIFF as a Cloud-optimised one.

    A large file is copied by a process of its own, so that an interruption ends it at once.

    Args:
        rasterio: the package.
        source, target: files.
        settings: of GDAL.
        options: of GDAL's driver COG.

    Raises:
        RasterioError: GDAL cannot copy it.
        KeyboardInterrupt: after the other process has ended.
    """
    if source.stat().st_size < _LARGE:
        rasterio.shutil.copy(source, target, driver="COG", **options)
        return
    job = {"path": sys.path, "source": str(source), "target": str(target), "settings": settings, "options": options}
    command = [sys.executable, "-c", _SCRIPT, json.dumps(job)]
    with subprocess.Popen(  # noqa: S603 (this Python runs a constant of this file)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        try:
            _, stderr = child.communicate()
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        lines = stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {child.returncode}"]
        raise rasterio.errors.RasterioIOError(lines[-1])
