"""Decodes files of every kind, PIL images, arrays and tensors."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fullfield.errors import ImageError
from fullfield.image.decode import decode, pixel_limit

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def saved(folder: Path, picture: Image.Image, name: str = "a.png", **options: object) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def test_a_path_an_array_a_pil_image_and_a_tensor_give_the_same_pixels(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RGB))
    tensor = torch.from_numpy(RGB).permute(2, 0, 1)
    for image in (path, str(path), RGB, Image.fromarray(RGB), tensor):
        np.testing.assert_array_equal(decode(image)[0], RGB)


def test_errors_name_the_file_and_otherwise_say_image(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RGB))
    assert (decode(path)[1], decode(RGB)[1]) == (str(path), "image")


def test_a_grey_image_has_one_channel() -> None:
    assert decode(GREY)[0].shape == decode(Image.fromarray(GREY))[0].shape == (5, 7, 1)
    assert decode(torch.from_numpy(GREY))[0].shape == (5, 7, 1)


def test_a_bfloat16_tensor_with_gradients_is_read() -> None:
    tensor = torch.tensor([[[0.5, 1.0]]], dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(decode(tensor)[0], [[[0.5], [1.0]]])


@pytest.mark.parametrize(
    ("tensor", "fix"),
    [
        (torch.zeros(1, 3, 4, 4), r"image\[0\]"),
        (torch.zeros(6), r"\(c, y, x\)"),
        (torch.zeros(40, 50, 3), r"permute\(2, 0, 1\)"),
        (torch.zeros(3, 4, 4, dtype=torch.complex64), "magnitude"),
        (torch.zeros(3, 4, 4).to_sparse(), "dense"),
        (torch.zeros(3, 0, 4), "1x1 px"),
    ],
)
def test_a_tensor_of_another_kind_is_refused_with_what_to_do(tensor: torch.Tensor, fix: str) -> None:
    with pytest.raises(ImageError, match=f"fix: .*{fix}"):
        decode(tensor)


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((0, 4, 3)), "no pixels"),
        (np.zeros(4), "1 axes"),
        (np.zeros((2, 4, 4, 3)), "4 axes"),
        (np.zeros((4, 4), dtype=object), "type object"),
        (np.zeros((4, 4), dtype=complex), "type complex128"),
        (np.full((4, 4), "a"), "type <U1"),
        (np.ma.masked_equal(GREY, GREY[0, 0]), "masked"),
    ],
)
def test_an_array_that_is_no_image_is_refused(array: np.ndarray, what: str) -> None:
    with pytest.raises(ImageError, match=f"^image: .*{what}.*\n  fix: "):
        decode(array)


@pytest.mark.parametrize("thing", [None, 3, [[1, 2]], b"abc", {"a": 1}])
def test_what_is_no_image_at_all_is_refused_by_its_type(thing: object) -> None:
    with pytest.raises(ImageError, match=f"{type(thing).__name__} is not an image"):
        decode(thing)


@pytest.mark.parametrize("name", ["a.npy", "named_wrongly.png"])
def test_an_npy_file_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        np.save(file, RGB.astype(">u2"))
    pixels, _ = decode(tmp_path / name)
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, RGB)


def test_an_npy_file_of_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[print]], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match=r"a\.npy: cannot be decoded"):
        decode(tmp_path / "a.npy")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_a_photo_rotated_by_exif_stands_upright(tmp_path: Path, orientation: int, name: str) -> None:
    upright = Image.new("RGB", (40, 24), "white")
    upright.paste("red", (0, 0, 16, 8))  # red stands at the top left
    undo = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}.get(orientation, [])
    stored = upright
    for method in undo:
        stored = stored.transpose(Image.Transpose(method))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, stored, name, exif=exif, **({"lossless": True} if name == "a.webp" else {}))
    pixels, _ = decode(path)
    assert pixels.shape == (24, 40, 3)
    assert abs(pixels[2:6, 2:14].astype(int) - (255, 0, 0)).max() < 60
    assert abs(pixels[12:, 20:].astype(int) - 255).max() < 60


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(RGB).quantize(8)
    path = saved(tmp_path, palette)
    np.testing.assert_array_equal(decode(path)[0], np.asarray(palette.convert("RGB")))


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    bits = GREY > 127
    path = saved(tmp_path, Image.fromarray(bits))
    np.testing.assert_array_equal(decode(path)[0][:, :, 0], bits * 255)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "a.jpg", quality=100)
    pixels, _ = decode(path)
    assert pixels.shape == (4, 4, 3)
    assert abs(pixels.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("LA", 1), ("PA", 3)])
def test_opaque_alpha_is_dropped(mode: str, channels: int) -> None:
    source = Image.fromarray(GREY if mode == "LA" else RGB)
    picture = source.quantize(200).convert("PA") if mode == "PA" else source.convert(mode)
    expected = np.asarray(picture.convert("RGB"))[:, :, :channels]
    np.testing.assert_array_equal(decode(picture)[0], expected)


def test_a_transparent_picture_is_blended_with_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = 0, 128, 255
    assert decode(Image.fromarray(rgba))[0][0, :, 0].tolist() == [255, 127, 0]
    assert decode(Image.fromarray(rgba[:, :, 2:]))[0].tolist() == [[[255], [127], [0]]]


def test_a_transparent_colour_of_a_png_is_blended_with_white(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([[0, 9]], np.uint8)), transparency=0)
    assert decode(path)[0].ravel().tolist() == [255, 9]


def test_alpha_stays_where_as_many_bands_are_wanted() -> None:
    rgba = RNG.integers(0, 256, (4, 4, 4), dtype=np.uint8)
    np.testing.assert_array_equal(decode(Image.fromarray(rgba), bands=4)[0], rgba)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_keep_their_depth(tmp_path: Path, name: str) -> None:
    deep = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    pixels, _ = decode(saved(tmp_path, Image.fromarray(deep), name))
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[:, :, 0], deep)


def test_a_float_tiff_keeps_its_values(tmp_path: Path) -> None:
    floats = RNG.normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(decode(saved(tmp_path, Image.fromarray(floats), "a.tif"))[0][:, :, 0], floats)


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), level) for level in (10, 200)]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert set(decode(path)[0].ravel().tolist()) == {10}


def test_the_callers_pil_image_stays_as_it_was() -> None:
    picture = Image.fromarray(RGB)
    picture.getexif()[0x0112] = 6
    assert decode(picture)[0].shape == (7, 5, 3)
    assert picture.size == (7, 5)
    assert picture.getexif()[0x0112] == 6


def test_a_missing_file_a_folder_and_an_empty_file_have_errors_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    for path, what in (("none.png", "no such file"), (".", "a folder"), ("empty.png", "empty")):
        with pytest.raises(ImageError, match=what):
            decode(tmp_path / path)


def test_a_path_that_no_system_knows_is_one_clear_error() -> None:
    with pytest.raises(ImageError, match=r"cannot be decoded|no such file"):
        decode("a\0b.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.npy", "a.gif", "a.bmp"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, noise)
    else:
        Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"cannot be decoded|is not an image"):
        decode(path)


def test_a_text_file_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello, world")
    with pytest.raises(ImageError, match="is not an image that can be read"):
        decode(tmp_path / "a.jpg")


def test_random_damage_raises_nothing_but_an_image_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"):
        Image.fromarray(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path, format=kind)
        data = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            hurt = data.copy()
            hurt[RNG.integers(0, len(hurt), 4)] = RNG.integers(0, 256, 4)
            path.write_bytes(hurt.tobytes())
            try:
                decode(path, max_pixels=10**6)
            except ImageError:
                continue


def test_a_decompression_bomb_is_refused_until_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert pixel_limit() == 20
    with pytest.raises(ImageError, match=r"very large.*35 pixels(.|\n)*raise PIL.Image.MAX_IMAGE_PIXELS"):
        decode(path)
    np.testing.assert_array_equal(decode(path, max_pixels=35)[0], RGB)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_limit_of_ones_own_holds(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="7 x 5 px are more than the 34 allowed"):
        decode(saved(tmp_path, Image.fromarray(RGB)), max_pixels=34)


def test_a_large_file_below_the_limit_warns_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # Pillow warns from here, refuses from the double
    np.testing.assert_array_equal(decode(path)[0], RGB)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match="not a regular file"):
        decode(tmp_path / "a.png")


def test_a_name_too_long_for_the_system_is_one_clear_error() -> None:
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode("a" * 300 + ".png")


def test_metadata_that_cannot_be_read_rotate_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Image.Image) -> Image.Exif:
        raise SyntaxError("not a TIFF file (header b'junk' not valid)")

    monkeypatch.setattr(Image.Image, "getexif", broken)
    np.testing.assert_array_equal(decode(saved(tmp_path, Image.fromarray(RGB)))[0], RGB)
