"""Lists of images: paths a line, and tables with pixel sizes and masks."""

from pathlib import Path

import pytest

from fullfield.errors import ImageError
from fullfield.image.list_file import read_list
from fullfield.image.listed import ListedImage
from fullfield.image.selection import Selection


def read(path: Path, text: str, selection: Selection | None = None) -> list[ListedImage]:
    path.write_text(text, encoding="utf-8")
    return read_list(path, Selection() if selection is None else selection)


def test_a_text_has_a_path_a_line_from_its_own_folder(tmp_path: Path) -> None:
    found = read(tmp_path / "a.txt", "\ufeffx.tif\n\n# no\n  sub/y z.svs \n/abs/q.tif\nhttps://host/a.tif?b=1\r\n")
    paths = [str(tmp_path / "x.tif"), str(tmp_path / "sub/y z.svs"), "/abs/q.tif", "https://host/a.tif?b=1"]
    assert [image.path for image in found] == paths


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_states_pixel_sizes_masks_and_facts(tmp_path: Path, separator: str) -> None:
    lines = ["patient,Image,MPP,mask,grade", 'P1,a.svs,0.25,a.geojson,"G3"', "P2,b.svs,,,", "", "P3,c.svs,0.5,,x"]
    first, second, third = read(
        tmp_path / "a.csv", "\n".join(lines).replace(",", separator), Selection(mpp=1.0, bands=(0, 1, 2))
    )
    assert first == ListedImage(
        str(tmp_path / "a.svs"),
        Selection(mpp=1.0, bands=(0, 1, 2), pixel_size=0.25),
        str(tmp_path / "a.geojson"),
        facts=(("patient", "P1"), ("grade", "G3")),
    )
    assert (second.selection.pixel_size, second.mask, second.facts) == (None, None, (("patient", "P2"), ("grade", "")))
    assert third.selection.pixel_size == 0.5


def test_the_other_name_of_the_pixel_size_is_known_too(tmp_path: Path) -> None:
    (image,) = read(tmp_path / "a.csv", "image,pixel_size\na.svs,2\n")
    assert image.selection.pixel_size == 2.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no column image: it has none"),
        ("path,mpp\na,1\n", "has no column image: it has path, mpp"),
        ("image\n", "the list is empty"),
        ("image,mpp\na,1\nb,fine\n", r"a\.csv, line 3: 'fine' is no pixel size"),
        ("image,mpp\na,-1\n", "'-1' is no pixel size"),
        ("image,mpp\na,inf\n", "'inf' is no pixel size"),
        ("image,mpp\n,1\n", "line 2: names no image"),
        ("image,mpp\na,1,2,3\n", "line 2: has 2 cells more than columns"),
        ("image,image\na,b\n", "several columns say the same: image"),
        ("image,mpp,pixel_size\na,1,1\n", "several columns say the same: mpp, pixel_size"),
        ('image,mpp\n"a,1\n', "is no row of a table"),
    ],
)
def test_a_list_that_means_nothing_is_one_error(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        read(tmp_path / "a.csv", text)


def test_a_list_that_is_no_text_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"image\n\xff\xfe")
    with pytest.raises(ImageError, match="is not a text in UTF-8"):
        read_list(tmp_path / "a.csv", Selection())
    with pytest.raises(ImageError, match="cannot be read"):
        read_list(tmp_path / "none.csv", Selection())
