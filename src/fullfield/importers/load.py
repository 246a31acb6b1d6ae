"""Files to classifiers: what a file is is told by its content, never by its name."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fullfield.errors import CaptureError
from fullfield.importers.caffe.importer import load_caffe
from fullfield.importers.caffe.reader import kind as caffe_kind
from fullfield.importers.onnx import load_onnx
from fullfield.importers.torch7.importer import load_torch7
from fullfield.importers.torch7.reader import is_torch7
from fullfield.model.model import Model
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.torch_export import Size, capture

_LONGEST_NAMES_BYTES = 2**24
_ONNX = "export the network to ONNX and load that"

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "is an HDF5 file, as Keras writes",
        "use tf2onnx, or model.export(format='onnx') in Keras",
    ),
    (4, b"TFL3", "is a TensorFlow Lite model", "use tf2onnx"),
    (0, b"GGUF", "is a GGUF language model", _ONNX),
    (0, b"\x93NUMPY", "is a NumPy array, weights at most", "load it into a module and use fullfield.capture(module)"),
    (0, b"\x89PNG", "is a picture, not a network", "give the network first, then the image"),
    (0, b"\xff\xd8\xff", "is a picture, not a network", "give the network first, then the image"),
    (0, b"II*\x00", "is a picture, not a network", "give the network first, then the image"),
    (0, b"\x1f\x8b", "is compressed", "unpack it first"),
)


def load(
    path: str | Path,
    *,
    weights: str | Path | None = None,
    window: Size | None = None,
    preprocessing: str | Preprocessing | None = None,
    class_names: tuple[str, ...] | list[str] | None = None,
    output: int | str | None = None,
    trust: bool = False,
    name: str | None = None,
) -> Model:
    """The classifier in a file: ONNX, Caffe, Torch7, or with ``trust`` a ``.pt2`` program or a whole pickled module.

    Args:
        weights: the ``.caffemodel`` that goes with a ``.prototxt``; without it the file's fillers draw the weights.
        window: height and width, px; by default what the file says.
        preprocessing: a preset's name or a value; by default fullfield's metadata in the file, else ``none``.
        class_names: one name a score; by default those in the file.
        output: index or name of the score where the network has several outputs.
        trust: whether the file's author may run code on this machine, as ``.pt2`` files and pickles can.
        name: for reports; by default the file's.

    Raises:
        CaptureError: the file is missing, damaged, of another kind, or needs trust.
    """
    file = Path(path)
    kind, why, fix = _kind(file)
    if weights is not None and kind != "caffe":
        raise CaptureError(str(file), "carries its weights itself", fix="leave out weights=; they go with a .prototxt")
    if kind == "caffe":
        return load_caffe(
            file,
            weights=None if weights is None else Path(weights),
            window=window,
            preprocessing=preprocessing,
            class_names=class_names,
            output=output,
            name=name,
        )
    if kind in ("onnx", "torch7"):
        reader = load_onnx if kind == "onnx" else load_torch7
        return reader(
            file, window=window, preprocessing=preprocessing, class_names=class_names, output=output, name=name
        )
    if kind == "other":
        raise CaptureError(str(file), why, fix=fix)
    if not trust:
        raise CaptureError(
            str(file),
            f"{why}: opening it can run code that its author put there",
            fix=f"pass trust=True or --trust if you know where it is from; else {_ONNX}",
        )
    module, shape = _program(file) if kind == "program" else (_pickled(file), None)
    channels = None if shape is None else shape[0]
    if window is None and shape is not None:
        window = shape[1:]
    return capture(
        module,
        window=window,
        channels=channels,
        preprocessing=preprocessing,
        class_names=class_names,
        output=output,
        name=name or file.stem,
    )


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """One class name a line, blank lines at the end left out.

    Raises:
        CaptureError: the file cannot be read, is no UTF-8 text, is empty, or has a blank line between names.
    """
    file = Path(path)
    fix = "give a UTF-8 text file with one class name a line"
    try:
        if file.stat().st_size > _LONGEST_NAMES_BYTES:
            raise CaptureError(str(file), f"has {file.stat().st_size} bytes, too many for class names", fix=fix)
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise CaptureError(str(file), f"cannot be read ({error.strerror})", fix=fix) from error
    except UnicodeDecodeError as error:
        raise CaptureError(str(file), "is not UTF-8 text", fix=fix) from error
    while names and not names[-1]:
        names.pop()
    if not names or "" in names:
        where = f"line {names.index('') + 1} is blank" if names else "is empty"
        raise CaptureError(str(file), where, fix=fix)
    return tuple(names)


def _kind(path: Path) -> tuple[str, str, str]:
    """``onnx``, ``program``, ``pickle`` or ``other``, what that is in words, and what to do about ``other``."""
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "other", "is a TensorFlow SavedModel", "use tf2onnx"
        return "other", "is a directory, not a model file", "name the model file in it"
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
    for offset, mark, what, fix in _SIGNATURES:
        if head[offset : offset + len(mark)] == mark:
            return "other", what, fix
    if len(head) > 9 and struct.unpack("<Q", head[:8])[0] < 2**27 and head[8:10] == b'{"':
        return "other", "is a safetensors file: weights without their network", _rebuild("safetensors.torch.load_file")
    if is_torch7(head):
        return "torch7", "", ""
    return ("onnx" if caffe_kind(path) is None else "caffe"), "", ""


def _rebuild(loader: str) -> str:
    return f"make the module, module.load_state_dict({loader}(path)), then fullfield.capture(module)"


def _zip_kind(path: Path) -> tuple[str, str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "other", "is a damaged or cut short zip archive", "export or download the file again"
    inner = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in inner:
        return "other", "is a TorchScript program, which cannot be captured", f"give the Python module, or {_ONNX}"
    if "models/model.json" in inner or any(name.startswith("serialized_exported_program") for name in names):
        return "program", "is a torch.export program (.pt2), with pickles inside", ""
    if "data.pkl" in inner:
        return "pickle", "is a torch.save file, a pickle", ""
    if "config.json" in names and "model.weights.h5" in names:
        return "other", "is a Keras model", "use tf2onnx, or model.export(format='onnx') in Keras"
    return "other", "is a zip archive without a network", _ONNX


def _program(path: Path) -> tuple[nn.Module, tuple[int, int, int] | None]:
    """The module in a ``.pt2`` file, and the channels, height and width of its example where they are fixed."""
    try:
        program = torch.export.load(path)
        module = program.module(check_guards=False)
    except Exception as error:  # whatever torch says of a damaged archive is the reason
        raise _unreadable(path, error) from error
    inputs = set(program.graph_signature.user_inputs)
    shapes = [n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder" and n.name in inputs]
    plain = torch.fx.GraphModule(module, module.graph)
    fixed = len(shapes) == 1 and len(shapes[0]) == 4 and all(isinstance(size, int) for size in shapes[0][1:])
    return plain, tuple(shapes[0][1:]) if fixed else None


def _pickled(path: Path) -> nn.Module:
    """The module in a pickle whose author is trusted."""
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # unpickling runs foreign code: it can raise anything
        raise _unreadable(path, error) from error
    if isinstance(loaded, nn.Module):
        return loaded
    what = type(loaded).__name__
    if isinstance(loaded, dict):
        kept = [key for key in ("model", "state_dict", "module", "net") if isinstance(loaded.get(key), nn.Module)]
        if kept:
            module: nn.Module = loaded[kept[0]]
            return module
        what = "a dictionary of weights: the architecture is missing"
    raise CaptureError(str(path), f"holds {what}", fix=_rebuild("torch.load"))


def _unreadable(path: Path, error: Exception) -> CaptureError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = f"{type(error).__name__}: {(lines or [''])[0][:300]}"
    return CaptureError(str(path), f"cannot be read ({why})", fix="export it again with the torch installed here")
