"""``fullfield scan`` of large images: every kind of file, every kind of result, many at once."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from PIL import Image

import fullfield
from tests.cli.scanning import MODEL, PHOTO, PIXELS, scan

UTM = rasterio.Affine(0.5, 0.0, 500_000.0, 0.0, -0.5, 5_400_000.0)
SHAPE = (14, 18)  # windows of 24 px at every 8 px


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("plain.tif", PIXELS, tile=(64, 64), photometric="rgb", compression="zlib")
    return tmp_path


def plain() -> np.ndarray:
    return fullfield.scan(fullfield.load(MODEL), PIXELS, step=8).array


def size_of(picture: str) -> tuple[int, int]:
    with Image.open(picture) as opened:
        return opened.size


def geotiff(path: str, pixels: np.ndarray = PIXELS, **profile: object) -> str:
    bands = pixels.transpose(2, 0, 1)
    given = {"crs": "EPSG:32632", "transform": UTM, "tiled": True, "blockxsize": 64, "blockysize": 64} | profile
    with rasterio.open(
        path, "w", driver="GTiff", height=bands.shape[1], width=bands.shape[2], count=len(bands), dtype="uint8", **given
    ) as file:
        file.write(bands)
    return path


def rectangle(y: int, x: int, height: int, width: int) -> list[list[float]]:
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]


def test_one_damaged_file_stops_no_other_and_a_second_run_skips_what_is_finished() -> None:
    Path("in").mkdir()
    for name in ("a", "c"):
        Image.fromarray(PIXELS).save(f"in/{name}.png")
    Path("in/b.png").write_bytes(Path("in/a.png").read_bytes()[:2000])
    names = ["in/a.png", "in/b.png", "in/c.png"]
    first = scan(*names, "-o", "out/", code=1)
    assert "failed   in/b.png" in first.stderr
    assert first.stderr.count("fix: ") == 1
    assert "2 of 3 images scanned" in first.stderr
    assert sorted(p.name for p in Path("out").iterdir()) == ["a.zarr", "c.zarr"]
    made = {p: p.stat().st_mtime_ns for p in Path("out").rglob("*") if p.is_file()}
    scan(*names, "-o", "out/", code=1)
    assert {p: p.stat().st_mtime_ns for p in Path("out").rglob("*") if p.is_file()} == made
    Path("in/b.png").write_bytes(Path("in/a.png").read_bytes())
    assert "3 of 3 images scanned" in scan(*names, "-o", "out/").stderr


def test_json_of_several_files_describes_each() -> None:
    Path("bad.tif").write_bytes(b"II*\0nothing")
    facts = json.loads(scan("plain.tif", "bad.tif", "-o", "out", "--json", code=1).stdout)
    assert [entry["finished"] for entry in facts] == [True, False]
    assert [entry["image"] for entry in facts] == ["plain.tif", "bad.tif"]
    assert (facts[0]["image_size"], facts[0]["written"]) == ([128, 160], ["out/plain.zarr"])
    assert facts[1]["error"]["where"] == "bad.tif"


def test_the_scores_on_disk_are_those_in_memory() -> None:
    scan("plain.tif", "-o", "a.zarr", "--budget", "200MB")
    np.testing.assert_allclose(fullfield.open_scores("a.zarr").array, plain(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".geojson", ".ome.tif"])
def test_other_formats_leave_nothing_beside_them(suffix: str) -> None:
    before = {path.name for path in Path().iterdir()}
    scan("plain.tif", "-o", f"map{suffix}")
    assert {path.name for path in Path().iterdir()} - before == {f"map{suffix}"}


def test_several_files_become_one_geotiff_each() -> None:
    geotiff("b.tif")
    scan("plain.tif", "b.tif", "-o", "maps", "--format", ".tif")
    assert sorted(p.name for p in Path("maps").iterdir()) == ["b.tif", "plain.tif"]


def test_a_map_lies_where_its_windows_centres_do() -> None:
    scan(geotiff("geo.tif"), "-o", "map.tif", "--region", "16:,8:")
    with rasterio.open("map.tif") as found:
        assert found.crs.to_epsg() == 32632
        assert found.shape == (12, 17)
        assert found.descriptions == ("background", "face")
        for i, j in ((0, 0), (11, 16), (5, 2)):
            assert found.xy(i, j) == pytest.approx(UTM @ (8 + 8 * j + 12, 16 + 8 * i + 12), abs=1e-6)


def test_windows_of_nodata_alone_carry_no_scores() -> None:
    pixels = PIXELS.clip(1)
    pixels[:, 80:] = 0
    scan(geotiff("geo.tif", pixels, nodata=0), "-o", "map.npy")
    found = ~np.isnan(np.load("map.npy")).any(axis=0)
    np.testing.assert_array_equal(found, np.tile(np.arange(18) * 8 < 80, (14, 1)))


def test_masks_say_the_same_as_picture_and_as_polygons_on_image_and_map() -> None:
    geotiff("geo.tif")
    inside = np.zeros((128, 160), np.uint8)
    inside[40:56, 64:80] = 255
    Image.fromarray(inside).save("mask.png")
    ring = rectangle(40, 64, 16, 16)
    on_map = [list(UTM @ (x, y)) for x, y in ring]
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    for name, points, more in (("image", ring, {}), ("map", on_map, {"crs": crs})):
        feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [points]}}
        Path(f"{name}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature], **more}))
    cells = []
    for mask, more in (("mask.png", ()), ("image.geojson", ("--coordinates", "image")), ("map.geojson", ())):
        scan("geo.tif", "-o", f"{mask}.npy", "--mask", mask, *more)
        cells.append(~np.isnan(np.load(f"{mask}.npy"))[0])
    wanted = np.zeros(SHAPE, bool)
    wanted[3:7, 6:10] = True  # windows at 24 .. 48 and 48 .. 72 px touch it
    for found in cells:
        np.testing.assert_array_equal(found, wanted)


def test_what_is_kept_is_what_was_asked_for() -> None:
    scores = plain()
    scan("plain.tif", "-o", "labels.zarr", "--labels")
    np.testing.assert_array_equal(fullfield.open_scores("labels.zarr").top(), scores.argmax(axis=0))
    scan("plain.tif", "-o", "face.npy", "--classes", "face")
    np.testing.assert_allclose(np.load("face.npy"), scores[1:], rtol=0, atol=1e-6)
    scan("plain.tif", "-o", "bytes.zarr", "--dtype", "uint8", "--range", "0,1")
    assert fullfield.open_scores("bytes.zarr").dtype == np.uint8
    np.testing.assert_allclose(fullfield.open_scores("bytes.zarr").array, scores, rtol=0, atol=0.5 / 254)


def test_scores_without_an_output_are_encoded_too() -> None:
    facts = json.loads(scan("plain.tif", "--json", "--dtype", "float16", "--classes", "face").stdout)
    assert facts["highest"]["score"] == plain()[1].astype(np.float16).max()
    assert facts["shape"][0] == 1
    assert json.loads(scan("plain.tif", "--json", "--labels").stdout)["kind"] == "labels"


def test_a_softmax_that_the_network_ends_in_is_left_out_and_said_so() -> None:
    facts = json.loads(scan("plain.tif", "--json", "--activation", "softmax", "--classes", "face").stdout)
    assert facts["highest"]["score"] == pytest.approx(plain()[1].max(), abs=1e-6)
    assert (facts["activation"], facts["activation_left_out"]) == ("softmax", "softmax")
    told = "left out --activation softmax: the network ends in it\n"
    assert told in scan("plain.tif", "--activation", "softmax").stdout
    assert told not in scan("plain.tif").stdout


@pytest.mark.parametrize("output", [(), ("-o", "labels.zarr"), ("-o", "labels.tif"), ("-o", "labels.png")])
def test_labels_are_drawn_over_the_image_with_a_legend(output: tuple[str, ...]) -> None:
    scan("plain.tif", *output, "--labels", "--overlay", "over.png")
    width, height = size_of("over.png")
    assert (width >= 160, height > 128) == (True, True)


def test_geojson_holds_the_cells_whose_top_class_of_all_is_the_one_named() -> None:
    Image.fromarray(PHOTO).save("photo.png")
    top = fullfield.scan(fullfield.load(MODEL, preprocessing="imagenet"), PHOTO, step=8).top()
    assert 9 < (top == 1).sum() < top.size / 2
    for name, options in (("a", ("--class", "face")), ("b", ("--classes", "face"))):
        result = scan("photo.png", "-o", f"{name}.geojson", "--preprocessing", "imagenet", *options)
        features = json.loads(Path(f"{name}.geojson").read_text())["features"]
        cells = [each["properties"]["measurements"]["cells"] for each in features]
        assert sum(cells) == (top == 1).sum()
        assert f", {len(features)} objects\n" in result.stderr


def test_a_picture_shows_the_class_named_or_the_liveliest() -> None:
    for name, options in (("a", ()), ("b", ("--class", "face")), ("c", ("--classes", "1"))):
        scan("plain.tif", "-o", f"{name}.png", *options)
        assert json.loads(Path(f"{name}.legend.json").read_text())["class"] == "face"
    scan("plain.tif", "-o", "d.png", "--class", "0")
    assert json.loads(Path("d.legend.json").read_text())["class"] == "background"
    Path("e.legend.json").write_text("precious")
    assert "e.legend.json" in scan("plain.tif", "-o", "e.png", code=1).stderr


def test_the_mode_is_exact_context_or_a_number_of_border_cells() -> None:
    for mode, args in (("context", ("context",)), ("context", ("0",)), ("2", ("2",)), ("1,4", ("1,4",))):
        facts = json.loads(scan("plain.tif", "--json", "--mode", *args).stdout)
        assert facts["mode"] == mode


def test_processes_share_one_output_and_the_last_completes_it() -> None:
    shared = ("--rank", 0, "--world", 2), ("--rank", 1, "--world", 2)
    first = scan("plain.tif", "-o", "a.zarr", *shared[1])
    second = scan("plain.tif", "-o", "a.zarr", *shared[0])
    said = sorted("the last process to finish" in result.stdout for result in (first, second))
    assert said in ([False, False], [False, True])  # a map of a single block is all one's own
    np.testing.assert_allclose(fullfield.open_scores("a.zarr").array, plain(), rtol=0, atol=1e-6)


def test_levels_resolutions_and_channels_are_picked() -> None:
    half = PIXELS[::2, ::2]
    group = zarr.open_group("stack.ome.zarr", mode="w", zarr_format=3)
    for name, pixels in (("0", PIXELS), ("1", half)):
        group.create_array(name, data=pixels.transpose(2, 0, 1)[:, None], chunks=(1, 1, 64, 64))
    axes = [{"name": "c", "type": "channel"}] + [
        {"name": n, "type": "space", "unit": "micrometer"} for n in ("z", "y", "x")
    ]
    levels = [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 0.5 * f, 0.5 * f]}]}
        for name, f in (("0", 1), ("1", 2))
    ]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
    expected = fullfield.scan(fullfield.load(MODEL), half, step=8).array
    for name, args in (("level", ("--level", 1)), ("mpp", ("--mpp", 1.0))):
        scan("stack.ome.zarr", "-o", f"{name}.npy", *args)
        np.testing.assert_allclose(np.load(f"{name}.npy"), expected, rtol=0, atol=1e-6)
    np.save("five.npy", np.concatenate([PIXELS[:, :, ::-1], PIXELS[:, :, :2]], axis=2))
    scan("five.npy", "-o", "bands.npy", "--bands", "2,1,0")
    np.testing.assert_allclose(np.load("bands.npy"), plain(), rtol=0, atol=1e-6)


def test_progress_for_programs_is_a_line_of_json_each() -> None:
    lines = scan("plain.tif", "-o", "a.zarr", "--json-progress").stderr.splitlines()
    facts = [json.loads(line) for line in lines]
    stages = list(dict.fromkeys(line["stage"] for line in facts))
    assert stages == [
        "reading the model",
        "preparing the model",
        "reading the image",
        "planning",
        "computing the first tile",
        "scanning",
    ]
    last = facts[-1]
    assert (last["image"], last["number"], last["of"]) == ("plain.tif", 1, 1)
    assert (last["blocks"], last["done"], last["total"], last["unit"]) == (last["blocks_total"], 252, 252, "windows")
    assert facts[0]["total"] is None


def test_progress_says_which_of_how_many_images() -> None:
    Path("b.tif").write_bytes(Path("plain.tif").read_bytes())
    lines = scan("plain.tif", "b.tif", "-o", "out", "--json-progress").stderr.splitlines()
    facts = [json.loads(line) for line in lines if line.startswith("{")]
    seen = list(dict.fromkeys((line["number"], line["image"]) for line in facts))
    assert seen == [(0, ""), (1, "plain.tif"), (2, "b.tif")]
    assert {line["of"] for line in facts} == {2}


def test_what_is_background_is_skipped_and_shown() -> None:
    slide = np.full((256, 320, 3), 240, np.uint8)
    slide[64:192, 80:240] = PIXELS // 2
    tifffile.imwrite("slide.tif", slide, tile=(64, 64), photometric="rgb")
    result = scan("slide.tif", "-o", "a.npy", "--skip-background")
    assert "bright background" in result.stderr
    assert size_of("a.npy.content.png") == (320, 256)
    found = ~np.isnan(np.load("a.npy")[0])
    assert found[8:24, 10:30].all()
    assert not found[0].any()


def test_an_overlay_shows_the_image_and_a_legend_beside_it() -> None:
    scan("plain.tif", "-o", "a.zarr", "--overlay", "over.png", "--class", "face")
    width, height = size_of("over.png")
    assert width > 160
    assert height > 128


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("none.tif", "-o", "a.zarr"), 1, "none.tif"),
        (("plain.tif", "-o", "a.xyz"), 1, "a.xyz"),
        (("plain.tif", "-o", "no/where/a.zarr"), 1, "no/where"),
        (("plain.tif", "-o", "a.zarr", "--level", 3), 1, "level"),
        (("plain.tif", "-o", "a.zarr", "--mpp", 0.5), 1, "resolution"),
        (("plain.tif", "-o", "a.zarr", "--bands", "0,7,1"), 1, "7"),
        (("plain.tif", "-o", "a.zarr", "--region", "5"), 1, "region"),
        (("plain.tif", "-o", "a.zarr", "--region", "0:10,0:10"), 1, "smaller than the window"),
        (("plain.tif", "-o", "a.zarr", "--mask", "none.png"), 1, "none.png"),
        (("plain.tif", "-o", "a.zarr", "--classes", "cat"), 1, "cat"),
        (("plain.tif", "-o", "a.zarr", "--dtype", "uint8"), 1, "uint8"),
        (("plain.tif", "-o", "a.zarr", "--budget", "1kB"), 1, "allow at least"),
        (("plain.tif", "-o", "a.zarr", "--rank", 2, "--world", 2), 1, "2 is not one of 2"),
        (("plain.tif", "-o", "a.tif", "--world", 2), 2, "--world needs -o FILE.zarr"),
        (("plain.tif", "--world", 2), 2, "--world needs -o FILE.zarr"),
        (("plain.tif", "--restart"), 2, "--restart needs -o"),
        (("plain.tif", "--labels", "--class", "face"), 2, "--class has no meaning with --labels"),
        (("plain.tif", "--labels", "--classes", "face"), 1, "labels"),
        (("plain.tif", "--overlay", "b.png", "--classes", "face", "--class", "0"), 1, "--classes selects"),
        (("plain.tif", "-o", "a.png", "--classes", "0,face"), 1, "a picture shows one class, 2 are given"),
        (("plain.tif", "-o", "a.zarr", "--mode", "nearly"), 2, "not exact, context, or a number of border cells"),
        (("plain.tif", "plain.tif"), 2, "several images need -o FOLDER"),
        (("plain.tif", "in/plain.tif", "-o", "out/{name}.tif"), 1, "would both go to out/plain.tif"),
        (("plain.tif", "-o", "a.zarr", "--range", "1"), 2, "two numbers"),
    ],
)
def test_a_wrong_call_is_one_clear_message(args: tuple[object, ...], code: int, said: str) -> None:
    result = scan(*args, code=code)
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("a.zarr").exists()


def test_another_result_is_not_written_over() -> None:
    scan("plain.tif", "-o", "a.zarr")
    assert "exists already" in scan("plain.tif", "-o", "a.zarr", "--labels", code=1).stderr
    scan("plain.tif", "-o", "a.zarr", "--labels", "--overwrite")
    assert fullfield.open_scores("a.zarr").kind == "labels"


def test_slides_are_scanned_at_the_resolution_that_is_asked_for() -> None:
    pytest.importorskip("openslide")
    text = "Aperio Image Library v11.2.1\n160x128 [0,0 160x128] (64x64) JPEG/RGB Q=90|AppMag = 20|MPP = 0.5"
    with warnings.catch_warnings(), tifffile.TiffWriter("a.svs") as file:
        file.write(PIXELS, tile=(64, 64), photometric="rgb", compression="jpeg", description=text, metadata=None)
    scan("a.svs", "-o", "a.zarr", "--mpp", "1.0")
    found = fullfield.open_scores("a.zarr")
    assert (found.placement.image, found.shape) == ((128, 160), (2, 6, 8))
    assert found.mpp == pytest.approx((0.5, 0.5))  # of the finest level, whose px all coordinates count


def test_a_range_declared_on_the_command_line_gives_the_scores_of_eight_bits() -> None:
    wanted = plain()
    tifffile.imwrite("twelve.tif", PIXELS.astype(np.uint16) * np.uint16(16), photometric="rgb")
    assert "input    WARNING: RGB, 0..65535 as 0..255, " in scan("twelve.tif").stdout
    said = scan("twelve.tif", "--value-range", "0,4080", "-o", "map.npy").stdout
    assert "input    RGB, 0..4080 as 0..255, mean 127.5, deviation 128\n" in said
    np.testing.assert_allclose(np.load("map.npy"), wanted, rtol=0, atol=1e-6)


def test_what_all_images_have_alike_is_said_once() -> None:
    tifffile.imwrite("other.tif", PIXELS, photometric="rgb")
    said = scan("plain.tif", "other.tif", "-o", "out/", "--activation", "softmax").stdout.splitlines()
    assert said[:2] == [
        "input    RGB, 0..255, mean 127.5, deviation 128",
        "left out --activation softmax: the network ends in it",
    ]
    assert [line.split()[0] for line in said[2:]] == ["scanned", "scanned"]
