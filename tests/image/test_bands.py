"""Choosing bands by name: descriptions, colours, OME's channels, and pictures."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from affine import Affine
from PIL import Image
from rasterio.enums import ColorInterp

import fullfield
from fullfield.errors import ImageError

PIXELS = np.random.default_rng(0).integers(0, 4000, (4, 6, 8), np.uint16)


def geotiff(path: Path) -> Path:
    """Four bands: two with descriptions, all with colours."""
    profile = {"driver": "GTiff", "width": 8, "height": 6, "count": 4, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=Affine(10, 0, 5e5, 0, -10, 5e6), **profile) as file:
        file.write(PIXELS)
        file.set_band_description(1, "B02")
        file.set_band_description(2, "B03")
        file.colorinterp = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
    return path


@pytest.mark.parametrize("names", [["red", "green", "B02"], ["RED", "b03", "Blue"], [2, "green", "0"]])
def test_bands_of_a_geotiff_are_chosen_by_description_colour_or_number(names: list[str], tmp_path: Path) -> None:
    path = geotiff(tmp_path / "scene.tif")
    image = fullfield.open(path, bands=names)
    with rasterio.open(path) as file:
        assert (image.read(0, 6, 0, 8) == file.read([3, 2, 1]).transpose(1, 2, 0)).all()
    assert image.metadata.band_names == ("red", "B03", "B02")


def test_an_unknown_name_lists_the_names_that_there_are(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "scene.tif")
    with pytest.raises(ImageError, match="band nir does not exist, there are 4: 0 B02 or blue, 1 B03 or green, 2 red"):
        fullfield.open(path, bands=["nir"])
    np.save(tmp_path / "a.npy", PIXELS.transpose(1, 2, 0))
    with pytest.raises(
        ImageError, match=r"band red does not exist, there are 4, without names\n  fix: give bands in 0\.\.3"
    ):
        fullfield.open(tmp_path / "a.npy", bands=["red"])


def test_a_name_of_two_bands_asks_for_a_number(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "scene.tif")
    with rasterio.open(path, "r+") as file:
        file.set_band_description(2, "B02")
    with pytest.raises(ImageError, match="bands 0, 1 are all called b02\n  fix: give the number of one"):
        fullfield.open(path, bands=["b02"])


def test_channels_of_an_ome_tiff_are_chosen_by_name(tmp_path: Path) -> None:
    path, names = tmp_path / "cells.ome.tif", ["DAPI", "488", "Tx & Red", "3"]
    tifffile.imwrite(path, PIXELS, photometric="minisblack", metadata={"axes": "CYX", "Channel": {"Name": names}})
    image = fullfield.open(path, bands=["tx & red", "488", "dapi"])
    assert (image.read(0, 6, 0, 8) == PIXELS[[2, 1, 0]].transpose(1, 2, 0)).all()
    assert image.metadata.band_names == ("Tx & Red", "488", "DAPI")


def test_channels_of_an_ome_zarr_are_chosen_by_label(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "cells.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=PIXELS, chunks=(1, 6, 8))
    axes = [{"name": "c", "type": "channel"}, {"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    ]
    group.attrs["omero"] = {"channels": [{"label": name} for name in ("DAPI", "GFP", "Cy3", "Cy5")]}
    image = fullfield.open(tmp_path / "cells.zarr", bands=["cy5", "GFP"])
    assert (image.read(0, 6, 0, 8) == PIXELS[[3, 1]].transpose(1, 2, 0)).all()
    assert image.metadata.band_names == ("Cy5", "GFP")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colours_of_pictures_are_chosen_by_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"photo{suffix}"
    pixels = np.random.default_rng(1).integers(1, 255, (6, 8, 4), np.uint8)
    Image.fromarray(pixels).save(path)
    image = fullfield.open(path, bands=["blue", "alpha", "red"])
    assert (image.read(0, 6, 0, 8) == np.asarray(Image.open(path))[:, :, [2, 3, 0]]).all()
    assert image.metadata.band_names == ("blue", "alpha", "red")
