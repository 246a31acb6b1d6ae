"""A VRT beside its tiles: refused with its cures, and read if the user trusts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from click.testing import CliRunner

import fullfield
from fullfield.cli import main
from fullfield.errors import ImageError

PIXELS = np.random.default_rng(0).integers(0, 255, (3, 64, 96), np.uint8)


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """A VRT in a folder beside that of its two tiles."""
    (tmp_path / "tiles").mkdir()
    (tmp_path / "vrt").mkdir()
    sources = ""
    for k, left in enumerate((0, 48)):
        at = Affine(10, 0, 5e5 + 10 * left, 0, -10, 5e6)
        path = tmp_path / "tiles" / f"{k}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", crs="EPSG:32633", transform=at, height=64, width=48, count=3, dtype="uint8"
        ) as file:
            file.write(PIXELS[:, :, left : left + 48])
        sources += (
            f'<SimpleSource><SourceFilename relativeToVRT="1">../tiles/{k}.tif</SourceFilename><SourceBand>{{}}'
            f'</SourceBand><SrcRect xOff="0" yOff="0" xSize="48" ySize="64"/><DstRect xOff="{left}" yOff="0" '
            'xSize="48" ySize="64"/></SimpleSource>'
        )
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{b}">{sources.format(b, b)}</VRTRasterBand>' for b in (1, 2, 3)
    )
    path = tmp_path / "vrt" / "mosaic.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="96" rasterYSize="64"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>{bands}</VRTDataset>"
    )
    with rasterio.open(path) as file:
        assert (file.read() == PIXELS).all()
    return path


def test_a_vrt_beside_its_tiles_is_refused_with_its_cures(mosaic: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"names \.\./tiles/0\.tif, which is not a file in .*vrt or below") as error:
        fullfield.open(mosaic)
    for cure in ("trust=True (--trust)", "a folder above", "gdal_translate it to a GeoTIFF"):
        assert cure in str(error.value)
    above = tmp_path / "mosaic.vrt"  # the first cure without trust
    above.write_text(mosaic.read_text().replace("../tiles/", "tiles/"))
    assert (fullfield.open(above).read(0, 64, 0, 96) == PIXELS.transpose(1, 2, 0)).all()
    rasterio.shutil.copy(mosaic, tmp_path / "vrt" / "mosaic.tif", driver="GTiff")  # the second, as gdal_translate
    assert (fullfield.open(tmp_path / "vrt" / "mosaic.tif").read(0, 64, 0, 96) == PIXELS.transpose(1, 2, 0)).all()


@pytest.mark.parametrize("absolute", [False, True])
def test_a_trusted_vrt_reads_its_tiles_anywhere_and_all_of_them_are_its_identity(
    mosaic: Path, tmp_path: Path, absolute: bool
) -> None:
    if absolute:
        text = mosaic.read_text().replace('relativeToVRT="1">..', f'relativeToVRT="0">{tmp_path}')
        mosaic.write_text(text)
    image = fullfield.open(mosaic, trust=True)
    assert (image.read(0, 64, 0, 96) == PIXELS.transpose(1, 2, 0)).all()
    assert image.metadata.georeference is not None
    assert image.metadata.georeference.transform == (10, 0, 500000, 0, -10, 5000000)
    before = image.metadata.identity
    with rasterio.open(tmp_path / "tiles" / "1.tif", "r+") as file:
        file.write(PIXELS[:, :, :48])
    assert fullfield.open(mosaic, trust=True).metadata.identity != before


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("../tiles/0.tif", "../tiles/9.tif", r"names \.\./tiles/9\.tif, which is not a file of this machine"),
        ("../tiles/0.tif", "http://127.0.0.1:9/a.tif", "names http://127.0.0.1:9/a.tif, which is not a file of this"),
        ("../tiles/0.tif", "/vsicurl/http://127.0.0.1:9/a.tif", "which is not a file of this machine"),
        ("<SimpleSource>", "<PixelFunctionLanguage>Python</PixelFunctionLanguage><SimpleSource>", "runs Python code"),
    ],
)
def test_a_trusted_vrt_still_names_no_address_and_runs_no_code(mosaic: Path, old: str, new: str, text: str) -> None:
    mosaic.write_text(mosaic.read_text().replace(old, new))
    with pytest.raises(ImageError, match=text):
        fullfield.open(mosaic, trust=True)


def test_the_command_line_trusts_a_vrt_as_the_api_does(mosaic: Path, tmp_path: Path) -> None:
    network = Path(fullfield.__file__).parent / "data" / "rnet.onnx"
    given = ["scan", str(network), str(mosaic), "--step", "16", "-o", str(tmp_path / "map.npy")]
    refused = CliRunner().invoke(main, given)
    assert (refused.exit_code, "pass trust=True (--trust)" in refused.stderr) == (1, True)
    assert CliRunner().invoke(main, [*given, "--trust"]).exit_code == 0
    expected = fullfield.scan(network, PIXELS.transpose(1, 2, 0).copy(), step=16)
    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), np.asarray(expected))
    assert CliRunner().invoke(main, ["info", str(mosaic), "--trust"]).exit_code == 0
