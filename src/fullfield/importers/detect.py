"""Detects the format of a model file by its content, never by its name."""

from __future__ import annotations

import codecs
import shlex
import struct
import zipfile
from pathlib import Path
from typing import Literal

from fullfield.importers.caffe.reader import kind as caffe_file_kind
from fullfield.importers.foreign import USE_ONNX, recognised, recognised_folder
from fullfield.importers.torch7.reader import is_torch7

FileKind = Literal[
    "onnx", "caffe", "torch7", "program", "pickle", "safetensors", "folder", "script", "foreign", "other"
]

_WEB_PAGES = (b"<!doctype html", b"<html")  # in any case, behind blanks and a mark of the byte order
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"GGUF", "is a GGUF language model", USE_ONNX),
    (b"\x93NUMPY", "is a NumPy array, not a network", "load it into a module and use fullfield.load(module)"),
    (b"\x89PNG", "is a picture, not a network", "give the network first, then the image"),
    (b"\xff\xd8\xff", "is a picture, not a network", "give the network first, then the image"),
    (b"II*\x00", "is a picture, not a network", "give the network first, then the image"),
    (b"\x1f\x8b", "is compressed", "unpack it first"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file", "fetch the file: git lfs pull"),
)


def detect(path: Path) -> tuple[FileKind, str, str]:
    """The file's format, what it is in words, and the fix where it is not read.

    That is ``foreign``, a network whose library converts it, or ``other``, anything else.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "foreign", "is a TensorFlow SavedModel", _converted(path, "--saved-model")
        if (path / "config.json").is_file():
            return "folder", "", ""
        if (words := recognised_folder(path)) is not None:
            return "foreign", *words
        return "other", *_folder_words(path)
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        return "other", "is not a regular file", "copy its content to a file first"
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        return "other", f"cannot be read ({error.strerror})", "check the path"
    if not head:
        return "other", "is empty", "export or download the file again"
    if head.startswith(b"PK"):
        return _zip_kind(path)
    if head[0] == 0x80 and len(head) > 1 and head[1] in range(2, 6):
        return "pickle", "is a pickle", ""
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "foreign", "is an HDF5 file, as Keras writes", _of_keras(path)
    if head[4:8] == b"TFL3":
        return "foreign", "is a TensorFlow Lite model", _converted(path, "--tflite")
    for mark, what, fix in _SIGNATURES:
        if head.startswith(mark):
            return "other", what, fix
    if head.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(_WEB_PAGES):
        fix = "download the file itself; the page may say why it was not given"
        return "other", "is a web page, not a network", fix
    if len(head) > 9 and struct.unpack("<Q", head[:8])[0] < 2**27 and head[8:10] == b'{"':
        return "safetensors", "", ""
    if is_torch7(head):
        return "torch7", "", ""
    if (words := recognised(path, head)) is not None:
        return "foreign", *words
    return ("onnx" if caffe_file_kind(path) is None else "caffe"), "", ""


def _folder_words(folder: Path) -> tuple[str, str]:
    """What a folder without a ``config.json`` is, and what to load instead of it."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    weights = [path for path in files if detect(path)[0] in ("safetensors", "pickle")]
    if not weights:
        return "is a directory, not a model file", "name the model file in it"
    file = shlex.quote(str(weights[0]))
    fix = f"load {file} with arch='timm:NAME', --arch timm:NAME or torchvision:NAME; or put its config.json into it"
    return f"has weights ({', '.join(path.name for path in weights)}) and no config.json", fix


def _converted(path: Path, option: str, target: str = "") -> str:
    """The command that makes ONNX of a file of TensorFlow."""
    output = shlex.quote(target or _target(path))
    return f"python -m tf2onnx.convert {option} {shlex.quote(str(path))} --output {output}"


def _of_keras(path: Path) -> str:
    """The commands that make ONNX of a model of Keras.

    Through a SavedModel: Keras's own export to ONNX refuses a sequential model that was only loaded, and leaves the
    numbers of its Normalization layers out. In evaluation mode by hand: its own export keeps layers that augment
    pictures at random.
    """
    saved = path.parent / f"{path.stem}_saved"
    code = (
        f"import keras; m = keras.saving.load_model({str(path)!r}); a = keras.export.ExportArchive(); a.track(m); "
        f"a.add_endpoint('serve', lambda x: m(x, training=False), m.inputs); a.write_out({str(saved)!r})"
    )
    return f"python -c {shlex.quote(code)} && {_converted(saved, '--saved-model', _target(path))}"


def _target(path: Path) -> str:
    return str(path.parent / f"{path.stem}.onnx")


def _zip_kind(path: Path) -> tuple[FileKind, str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "other", "is a damaged or cut short zip archive", "export or download the file again"
    inner = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in inner:
        return "script", "is a TorchScript program", ""
    if "models/model.json" in inner or any(name.startswith("serialized_exported_program") for name in names):
        return "program", "is a torch.export program (.pt2), with pickles inside", ""
    if "data.pkl" in inner:
        return "pickle", "is a torch.save file, a pickle", ""
    if "config.json" in names and "model.weights.h5" in names:
        return "foreign", "is a Keras model", _of_keras(path)
    packed = [name for name in names if not name.endswith("/")]
    if packed:
        listed = ", ".join(packed[:3]) + (f" and {len(packed) - 3} more" if len(packed) > 3 else "")
        return "other", f"is a zip archive of files ({listed})", "unpack it, and name the model file in it"
    return "other", "is a zip archive without a network", USE_ONNX
