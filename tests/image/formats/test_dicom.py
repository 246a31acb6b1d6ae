"""DICOM slides, one file per level, written by pydicom and read by OpenSlide, from pixels to a map on disk."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import openslide
import pytest
import torch
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage, generate_uid
from torch import nn

import fullfield
from fullfield.errors import ImageError

TILE = 256
H, W = 700, 1100


def pixels(factor: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    size = W // factor, H // factor
    return np.asarray(
        Image.fromarray(coarse).resize((W, H), Image.Resampling.BICUBIC).resize(size, Image.Resampling.BOX)
    )


def jpeg_tiles(level: np.ndarray) -> list[bytes]:
    """The tiles row by row, whole, white beyond the image."""
    tiles = []
    for y in range(0, level.shape[0], TILE):
        for x in range(0, level.shape[1], TILE):
            tile, part = np.full((TILE, TILE, 3), 255, np.uint8), level[y : y + TILE, x : x + TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            file = io.BytesIO()
            Image.fromarray(tile).save(file, "JPEG", quality=95, subsampling=0)
            tiles.append(file.getvalue())
    return tiles


def of(**fields: object) -> Dataset:
    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset


def write_slide(folder: Path, *, mpp: float = 0.5) -> Path:
    """A slide of two levels, and the file to open it by.

    Source: DICOM PS3.3 A.32.8, VL Whole Slide Microscopy Image.
    """
    series = {name: generate_uid() for name in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")}
    for k, factor in enumerate((1, 4)):
        level = pixels(factor)
        tiles = jpeg_tiles(level)
        spacing = of(PixelSpacing=[mpp / 1000 * factor] * 2, SliceThickness=0.001)
        dataset = of(
            **series,
            SOPClassUID=VLWholeSlideMicroscopyImageStorage,
            SOPInstanceUID=generate_uid(),
            Modality="SM",
            ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
            if k == 0
            else ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"],
            ContainerIdentifier="slide",
            InstanceNumber=str(k + 1),
            DimensionOrganizationType="TILED_FULL",
            Rows=TILE,
            Columns=TILE,
            TotalPixelMatrixRows=level.shape[0],
            TotalPixelMatrixColumns=level.shape[1],
            TotalPixelMatrixFocalPlanes=1,
            NumberOfFrames=len(tiles),
            SamplesPerPixel=3,
            PhotometricInterpretation="YBR_FULL_422",
            PlanarConfiguration=0,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
            SharedFunctionalGroupsSequence=[of(PixelMeasuresSequence=[spacing])],
            OpticalPathSequence=[of(OpticalPathIdentifier="1", ObjectiveLensPower="20")],
            PixelData=encapsulate(tiles),
        )
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return folder / "0.dcm"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("dicom"))


@pytest.mark.parametrize(("level", "factor"), [(0, 1), (1, 4)])
def test_levels_hold_what_was_written(slide: Path, level: int, factor: int) -> None:
    image = fullfield.open(slide, level=level)
    assert image.shape == (H // factor, W // factor, 3)
    assert image.metadata.mpp == pytest.approx((0.5 * factor, 0.5 * factor))
    assert image.metadata.tile == (min(TILE, H // factor), TILE)
    level_pixels = pixels(factor)
    decoded = np.empty_like(level_pixels)
    columns = -(-level_pixels.shape[1] // TILE)
    for k, tile in enumerate(jpeg_tiles(level_pixels)):
        part = decoded[k // columns * TILE :, k % columns * TILE :][:TILE, :TILE]
        part[:] = np.asarray(Image.open(io.BytesIO(tile)))[: part.shape[0], : part.shape[1]]
    found = image.read(0, image.shape[0], 0, image.shape[1]).astype(int)
    assert np.abs(found - decoded).max() <= 1  # decoders round differently


def test_a_resolution_picks_the_level(slide: Path) -> None:
    assert fullfield.open(slide, mpp=2.0).shape == (175, 275, 3)


def test_another_level_is_another_slide(slide: Path, tmp_path: Path) -> None:
    other = write_slide(tmp_path)
    before = fullfield.open(other).metadata.identity
    assert before != fullfield.open(slide).metadata.identity
    coarse = tmp_path / "1.dcm"
    coarse.write_bytes(coarse.read_bytes()[:-40] + bytes(40))
    assert fullfield.open(other).metadata.identity != before


def test_the_folder_asks_for_a_file(slide: Path) -> None:
    with pytest.raises(ImageError, match="give one file in it"):
        fullfield.open(slide.parent)


def test_a_scan_of_a_slide_is_that_of_its_pixels(slide: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    net = fullfield.load(nn.Sequential(*layers).eval(), window=32)
    found = fullfield.scan(net, slide, output=tmp_path / "map.zarr", step=16, verify=5)
    assert found is not None
    assert found.certificate is not None
    assert found.certificate.verdict == "EXACT"
    image = fullfield.open(slide)
    scores = fullfield.scan(net, image.read(0, H, 0, W), step=16).array
    np.testing.assert_allclose(found.array, scores, atol=1e-5)
    assert found.mpp == pytest.approx((0.5, 0.5))


def single_frame(path: Path, kind: str) -> Path:
    """A picture of 40 x 50 px of 12 bits."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = of(
        SOPClassUID=kind, SOPInstanceUID=meta.MediaStorageSOPInstanceUID, Modality="CT", Rows=40, Columns=50,
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=12, HighBit=11,
        PixelRepresentation=0, PixelData=np.arange(2000, dtype="<u2").tobytes(),
    )  # fmt: skip
    data.file_meta = meta
    data.save_as(path, enforce_file_format=True)
    return path


def test_a_slide_that_openslide_refuses_says_so_with_its_reason(tmp_path: Path) -> None:
    path = single_frame(tmp_path / "a.dcm", VLWholeSlideMicroscopyImageStorage)
    with pytest.raises(openslide.OpenSlideError) as reason:
        openslide.OpenSlide(path)
    with pytest.raises(ImageError) as caught:
        fullfield.open(path)
    assert caught.value.what == f"OpenSlide cannot read this DICOM ({reason.value})"
    assert caught.value.fix.startswith("convert it with Bio-Formats (bfconvert")


def test_a_dicom_that_is_no_slide_names_the_way_round_which_works(tmp_path: Path) -> None:
    path = single_frame(tmp_path / "a.dcm", "1.2.840.10008.5.1.4.1.1.2")
    with pytest.raises(ImageError, match="OpenSlide cannot read this DICOM: it is not that of a slide") as caught:
        fullfield.open(path)
    assert "pydicom.dcmread(path).pixel_array" in caught.value.fix
    assert dcmread(path).pixel_array.shape == (40, 50)


def test_without_openslide_a_dicom_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = single_frame(tmp_path / "a.dcm", "1.2.840.10008.5.1.4.1.1.2")
    for module in ("fullfield.image.open_file", "fullfield.image.formats.dicom"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None)
    with pytest.raises(ImageError, match="which is not installed") as caught:
        fullfield.open(path)
    assert "fullfield[slide]" in caught.value.fix
