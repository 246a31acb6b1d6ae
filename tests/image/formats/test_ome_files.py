"""OME-TIFFs in several files, under other names, and described by a file of their own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

import fullfield
from fullfield.errors import ImageError
from fullfield.image.folders import folder_images
from tests.image.serving import serving

STACK = np.random.default_rng(3).integers(0, 255, (3, 40, 48), dtype=np.uint8)
UUIDS = [f"urn:uuid:00000000-0000-0000-0000-00000000000{k}" for k in range(4)]
SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
LAST = UUIDS[3]


def described(uuid: str | None, *, names: tuple[str, ...] = ("p0", "p1", "p2"), prefix: str = "") -> str:
    """OME-XML of a stack with a plane a file, as the file with this UUID holds it."""
    data = "".join(
        f'<{prefix}TiffData FirstZ="{k}" IFD="0" PlaneCount="1"><{prefix}UUID FileName="{name}.ome.tif">{UUIDS[k]}'
        f"</{prefix}UUID></{prefix}TiffData>"
        for k, name in enumerate(names)
    )
    root = "" if uuid is None else f' UUID="{uuid}"'
    space = f"xmlns:{prefix[:-1]}" if prefix else "xmlns"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><!-- Please edit cautiously --><{prefix}OME {space}="{SCHEMA}"{root}>'
        f'<{prefix}Image ID="Image:0"><{prefix}Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="48" '
        f'SizeY="40" SizeC="1" SizeZ="{len(names)}" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeXUnit="µm" '
        f'PhysicalSizeY="0.25" PhysicalSizeYUnit="µm"><{prefix}Channel ID="Channel:0:0"/>'
        f"{data}</{prefix}Pixels></{prefix}Image></{prefix}OME>"
    )


def referring(uuid: str, name: str) -> str:
    return f'<OME xmlns="{SCHEMA}" UUID="{uuid}"><BinaryOnly MetadataFile="{name}" UUID="{LAST}"/></OME>'


def write_parts(folder: Path, *descriptions: str) -> None:
    for k, text in enumerate(descriptions):
        tifffile.imwrite(folder / f"p{k}.ome.tif", STACK[k], description=text.encode(), metadata=None, tile=(16, 16))


def check_planes(path: Path | str, count: int = 3) -> None:
    """All planes of the stack are read, and the pixel size."""
    for z in range(count):
        raster = fullfield.open(path, z=z)
        np.testing.assert_array_equal(raster.read(0, 40, 0, 48)[:, :, 0], STACK[z])
        assert raster.metadata.mpp == (0.25, 0.5)
        raster.close()
    with pytest.raises(ImageError, match=f"z {count} does not exist, there are {count}"):
        fullfield.open(path, z=count)


def lone(folder: Path, *, root: str | None) -> Path:
    """One file with a plane, whose OME-XML knows it as p0.ome.tif."""
    write_parts(folder, described(root, names=("p0",)))
    return (folder / "p0.ome.tif").rename(folder / "other.tif")


@pytest.mark.parametrize("root", [UUIDS[0], None, LAST], ids=["its UUID", "no UUID", "another UUID"])
def test_a_renamed_file_is_itself(tmp_path: Path, root: str | None) -> None:
    check_planes(lone(tmp_path, root=root), 1)


def test_a_renamed_copy_beside_the_first_is_itself(tmp_path: Path) -> None:
    path = lone(tmp_path, root=UUIDS[0])
    tifffile.imwrite(tmp_path / "p0.ome.tif", STACK[1], description=tifffile.tiffcomment(path).encode(), metadata=None)
    check_planes(path, 1)


def test_a_renamed_file_behind_a_url_is_itself(tmp_path: Path) -> None:
    path = lone(tmp_path, root=None)
    with serving(tmp_path) as (address, _):
        check_planes(f"{address}/ranges/{path.name}", 1)


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("prefix", ["", "ome:"])
def test_a_set_whose_files_all_describe_it_is_opened_from_any(tmp_path: Path, part: int, prefix: str) -> None:
    write_parts(tmp_path, *(described(uuid, prefix=prefix) for uuid in UUIDS[:3]))
    check_planes(tmp_path / f"p{part}.ome.tif")


def test_a_renamed_part_is_found_by_its_uuid(tmp_path: Path) -> None:
    write_parts(tmp_path, *map(described, UUIDS[:3]))
    check_planes((tmp_path / "p1.ome.tif").rename(tmp_path / "b.tif"))


@pytest.mark.parametrize("name", ["companion.ome", "p0.ome.tif", "p2.ome.tif"])
def test_a_set_is_opened_from_its_companion_and_from_any_part(tmp_path: Path, name: str) -> None:
    write_parts(tmp_path, *(referring(uuid, "companion.ome") for uuid in UUIDS[:3]))
    (tmp_path / "companion.ome").write_text(described(LAST), encoding="utf-8")
    check_planes(tmp_path / name)
    parts = fullfield.open(tmp_path / name).metadata.identity["parts"]
    assert sorted(parts) == ["companion.ome", "p1.ome.tif", "p2.ome.tif"]


def test_a_renamed_part_of_a_companion_is_found_by_its_uuid(tmp_path: Path) -> None:
    write_parts(tmp_path, *(referring(uuid, "companion.ome") for uuid in UUIDS[:3]))
    (tmp_path / "companion.ome").write_text(described(LAST), encoding="utf-8")
    check_planes((tmp_path / "p1.ome.tif").rename(tmp_path / "b.tif"))


@pytest.mark.parametrize("part", range(3))
def test_a_set_is_opened_from_a_part_that_refers_to_a_tiff(tmp_path: Path, part: int) -> None:
    texts = [described(UUIDS[0]), *(referring(uuid, "p0.ome.tif") for uuid in UUIDS[1:3])]
    write_parts(tmp_path, *texts)
    check_planes(tmp_path / f"p{part}.ome.tif")


def test_planes_without_a_uuid_are_those_of_the_tiff_that_describes_them(tmp_path: Path) -> None:
    text = described(UUIDS[0]).replace(f'<UUID FileName="p0.ome.tif">{UUIDS[0]}</UUID>', "")
    write_parts(tmp_path, text, *(referring(uuid, "p0.ome.tif") for uuid in UUIDS[1:3]))
    check_planes(tmp_path / "p2.ome.tif")


@pytest.mark.parametrize("name", ["companion.ome", "p0.ome.tif"])
def test_a_missing_part_is_one_error_that_names_it(tmp_path: Path, name: str) -> None:
    write_parts(tmp_path, *(referring(uuid, "companion.ome") for uuid in UUIDS[:3]))
    (tmp_path / "companion.ome").write_text(described(LAST), encoding="utf-8")
    (tmp_path / "p1.ome.tif").unlink()
    with pytest.raises(ImageError, match=r"companion.ome: is an OME-TIFF .* of which p1.ome.tif is missing") as caught:
        fullfield.open(tmp_path / name)
    assert caught.value.fix == "put all of its files into one folder, under the names that they had"


def test_a_missing_companion_is_one_error_that_names_it(tmp_path: Path) -> None:
    write_parts(tmp_path, referring(UUIDS[0], "companion.ome"))
    with pytest.raises(ImageError, match=r"is a part of an OME-TIFF whose file companion\.ome is missing"):
        fullfield.open(tmp_path / "p0.ome.tif")


@pytest.mark.parametrize("name", ["../secret.ome.tif", "/etc/secret.ome.tif", "..\\secret.ome.tif"])
def test_files_in_other_folders_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "companion.ome").write_text(described(LAST, names=("p0", name[:-8])), encoding="utf-8")
    write_parts(tmp_path, referring(UUIDS[0], "companion.ome"))
    with pytest.raises(ImageError, match="names a part outside its folder"):
        fullfield.open(tmp_path / "companion.ome")
    write_parts(tmp_path, referring(UUIDS[0], name))
    with pytest.raises(ImageError, match="names a part outside its folder"):
        fullfield.open(tmp_path / "p0.ome.tif")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'<OME xmlns="{SCHEMA}"><BinaryOnly MetadataFile="companion.ome"/></OME>', "is no OME-XML that describes"),
        (f'<OME xmlns="{SCHEMA}"><Image/></OME>', "names no TIFF of it"),
        (f'<OME xmlns="{SCHEMA}"><Image', "is no OME-XML that describes an image"),
        (described(LAST).replace("</OME>", "<!ENTITY a 'a'></OME>"), "is no OME-XML that describes an image"),
        (described(LAST).replace(' FileName="p1.ome.tif"', ""), "refers to a part without its name"),
    ],
)
def test_a_companion_without_a_set_is_one_error(tmp_path: Path, text: str, reason: str) -> None:
    write_parts(tmp_path, *(referring(uuid, "companion.ome") for uuid in UUIDS[:3]))
    (tmp_path / "companion.ome").write_text(text, encoding="utf-8")
    with pytest.raises(ImageError, match=reason):
        fullfield.open(tmp_path / "companion.ome")
    with pytest.raises(ImageError, match=reason):
        fullfield.open(tmp_path / "p0.ome.tif")


def test_a_set_behind_a_url_is_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, *map(described, UUIDS[:3]))
    (tmp_path / "companion.ome").write_text(described(LAST), encoding="utf-8")
    with serving(tmp_path) as (address, _):
        for name in ("p0.ome.tif", "companion.ome"):
            with pytest.raises(ImageError, match="OME-TIFF of several files") as caught:
                fullfield.open(f"{address}/ranges/{name}")
            assert caught.value.fix == "download all of them into one folder"


def test_the_levels_of_a_set_are_read(tmp_path: Path) -> None:
    for k, uuid in enumerate(UUIDS[:3]):
        with tifffile.TiffWriter(tmp_path / f"p{k}.ome.tif") as file:
            file.write(STACK[k], description=described(uuid).encode(), metadata=None, subifds=1, tile=(16, 16))
            file.write(STACK[k, ::2, ::2], subfiletype=1, metadata=None, tile=(16, 16))
    raster = fullfield.open(tmp_path / "p1.ome.tif", z=2, level=1)
    np.testing.assert_array_equal(raster.read(0, 20, 0, 24)[:, :, 0], STACK[2, ::2, ::2])


@pytest.mark.parametrize("companion", [False, True])
def test_the_files_of_a_set_in_a_folder_are_one_image(tmp_path: Path, companion: bool) -> None:
    write_parts(tmp_path, *(referring(uuid, "c.ome") if companion else described(uuid) for uuid in UUIDS[:3]))
    if companion:
        (tmp_path / "c.ome").write_text(described(LAST), encoding="utf-8")
    tifffile.imwrite(tmp_path / "alone.ome.tif", STACK, ome=True, photometric="minisblack")
    tifffile.imwrite(
        tmp_path / "lost.ome.tif", STACK[0], description=referring(LAST, "lost.ome").encode(), metadata=None
    )
    found = folder_images(tmp_path, recursive=False, leave_out=lambda path: False)
    assert [path.name for path in found] == ["alone.ome.tif", "lost.ome.tif", "p0.ome.tif"]


def test_tifffile_reads_the_same_set(tmp_path: Path) -> None:
    write_parts(tmp_path, *map(described, UUIDS[:3]))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "p1.ome.tif"), STACK)
    shutil.copy(tmp_path / "p1.ome.tif", tmp_path / "c.tif")
    check_planes(tmp_path / "c.tif")
