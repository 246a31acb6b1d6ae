"""Recognises networks of other frameworks by their content, and says which way leads to a file that is read."""

from __future__ import annotations

import json
import pickletools
import re
import shlex
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fullfield.importers.protobuf_fields import BYTES, NUMBER, top_fields

Words = tuple[str, str]
"""What a file is, and the way to one that is read."""

USE_ONNX = "export the network to ONNX and load that"
_FROM_SOURCE = "export the network that it was made of to ONNX and load that"
_HEAD = 2**16  # bytes
_JSON_BYTES = 2**26
_PICKLE_BYTES = 2**22

_COREML = ("is a CoreML model, which Apple's libraries run alone", _FROM_SOURCE)
_OPENVINO = ("is an OpenVINO IR, whose .bin holds the weights", _FROM_SOURCE)
_TENSORRT = ("is a TensorRT engine, compiled for one GPU", "load the ONNX file that it was built from")
_TF_WEIGHTS = ("holds weights of TensorFlow without their network", "export the network as a SavedModel first")

_BEGINNINGS: tuple[tuple[bytes, Words], ...] = (
    (b"ftrt", _TENSORRT),
    (b"7767517\n", ("is an ncnn network", _FROM_SOURCE)),
    (b"\xdd\x85\x76\x00", ("is an ncnn network", _FROM_SOURCE)),
    (b"\x12\x01\0\0\0\0\0\0", ("holds weights of MXNet", "")),
    (b"MATLAB ", ("is a MATLAB file", "write ONNX in MATLAB: exportONNXNetwork(net, 'model.onnx')")),
)
_AT_FOUR: tuple[tuple[bytes, Words], ...] = (  # names of formats of FlatBuffers, as patterns
    (rb"ORTM", ("is a model in ONNX Runtime's own format", "load the .onnx file that it was made of")),
    (rb"ET\d\d", ("is an ExecuTorch program", "load the module, or torch.export's .pt2, that it was made of")),
)
_LENGTH = rb"[\x80-\xff]{0,5}[\x00-\x7f]"
_NODE_OF_TENSORFLOW = re.compile(rb"\x0a" + _LENGTH + rb"\x0a" + _LENGTH + rb"[\w./-]+\x12[\x01-\x40][A-Z]\w+")
_BLOCK_OF_PADDLE = re.compile(rb"\x0a" + _LENGTH + rb"\x08\x00\x10\xff{9}\x01")


def recognised(path: Path, head: bytes) -> Words | None:
    """What a file of another framework is; ``None`` where it is none that is known.

    Args:
        path: of a regular file.
        head: its first bytes, at least 64 of them where it has as many.
    """
    words = next((words for mark, words in _BEGINNINGS if head.startswith(mark)), None)
    words = words or next((words for mark, words in _AT_FOUR if re.match(mark, head[4:])), None)
    for find in () if words else (_with_engine, _of_text, _of_message, _of_darknet, _of_pair):
        words = words or find(path, head)
    if words is not None and not words[1]:
        return words[0], _of_mxnet(path)
    return words


def recognised_folder(path: Path) -> Words | None:
    """What a folder of another framework is; ``None`` where it is none that is known."""
    if (path / "coremldata.bin").is_file():
        return _COREML
    manifest = path / "Manifest.json"
    return _COREML if manifest.is_file() and "com.apple.CoreML" in _text(manifest) else None


@dataclass(frozen=True)
class ForeignPickle:
    """A pickle of another library: what it is, the way to a file that is read, and whether a module is in it."""

    what: str
    fix: str
    holds_module: bool


def recognised_pickle(path: Path) -> ForeignPickle | None:
    """What a pickle of another library is, by the classes that it names; it is not opened."""
    names = pickled_packages(path)
    if "fastai" in names:
        return ForeignPickle("is a Learner that fastai exported, a pickle", _of_fastai(path), holds_module=True)
    for library, title in (("sklearn", "scikit-learn"), ("xgboost", "XGBoost"), ("lightgbm", "LightGBM")):
        if library in names:
            what = f"is a pickled model of {title}, no network"
            return ForeignPickle(what, _of_features(path, library), holds_module=False)
    return None


def _of_features(path: Path, library: str) -> str:
    """The command that makes ONNX of a classifier of a table of features, 64 of them as an example."""
    given = "[('x', FloatTensorType([None, 64]))]"
    of_sklearn = library == "sklearn"
    source, convert = ("skl2onnx", "to_onnx") if of_sklearn else ("onnxmltools.convert", f"convert_{library}")
    code = (
        f"import joblib, onnx; from {source}.common.data_types import FloatTensorType; from {source} import "
        f"{convert}; m = joblib.load({str(path)!r}); "
        f"onnx.save({convert}(m, initial_types={given}), {str(path.with_suffix('.onnx'))!r})"
    )
    return f"if its features are pixels, 64 of them, say: python -c {shlex.quote(code)}"


def _of_fastai(path: Path) -> str:
    """The commands that write the network of a Learner as ONNX, or its weights."""
    weights, onnx = (str(path.with_suffix(suffix)) for suffix in (".pth", ".onnx"))
    code = f"import torch; from fastai.learner import load_learner; m = load_learner({str(path)!r}).model.eval(); "
    code += f"torch.onnx.export(m, torch.zeros(1, 3, 224, 224), {onnx!r})"
    state = f"torch.save(learn.model.state_dict(), {weights!r})"
    return f"where fastai is installed: python -c {shlex.quote(code)}; or {state}, and name its network: arch="


def pickled_packages(path: Path) -> set[str]:
    """The top packages of the classes and functions that a pickle names; it is not opened."""
    return set(_pickled_modules(path))


def _pickled_modules(path: Path) -> Iterator[str]:
    texts: list[str] = []
    # a damaged pickle raises anything; what was read before it is enough
    with suppress(Exception):
        for opcode, argument, _ in pickletools.genops(_pickled(path)):
            if opcode.name in ("GLOBAL", "INST"):
                yield str(argument).split(" ")[0].split(".")[0]
            elif isinstance(argument, str):
                texts.append(argument)
            elif opcode.name == "STACK_GLOBAL":  # module and name are two texts, new or remembered
                yield from (text.split(".")[0] for text in texts[-2:])


def _pickled(path: Path) -> bytes:
    """The pickle in a file of ``torch.save``, or the beginning of the file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as stream:
                return stream.read(_PICKLE_BYTES)
    with path.open("rb") as file:
        return file.read(_PICKLE_BYTES)


def _with_engine(path: Path, head: bytes) -> Words | None:
    """A TensorRT engine behind the settings that Ultralytics writes."""
    length = int.from_bytes(head[:4], "little")
    if head[4:5] != b"{" or not 0 < length < _HEAD:
        return None
    with path.open("rb") as stream:
        stream.seek(4 + length)
        return _TENSORRT if stream.read(4) == b"ftrt" else None


def _of_text(path: Path, head: bytes) -> Words | None:
    """XML, JSON and INI files."""
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"<"):
        return _OPENVINO if re.search(r"<net\b[^>]*\bversion=", _beginning(path)) else None
    if begin.startswith(b"{") and path.stat().st_size <= _JSON_BYTES:
        return _of_json(path)
    if re.match(rb"(#.*\s+)*\[net(work)?\]", begin) and "[convolutional]" in _beginning(path):
        return "is a Darknet network", USE_ONNX
    return None


def _of_json(path: Path) -> Words | None:
    try:
        held = json.loads(_text(path))
    except (ValueError, RecursionError):
        return None
    if {"nodes", "arg_nodes", "heads"} <= held.keys():
        return "is an MXNet network", _of_mxnet(path)
    if "modelTopology" in held:
        folder = shlex.quote(str(path.parent / "saved"))
        fix = f"tensorflowjs_converter --input_format=tfjs_layers_model --output_format=tf_saved_model {path} {folder}"
        return "is a TensorFlow.js model", fix
    if isinstance(held.get("base_code"), dict) and held["base_code"].get("magic") == "pir":
        return "is a PaddlePaddle network", _of_paddle(path)
    return None


def _of_message(path: Path, head: bytes) -> Words | None:
    """Files that are one protobuf message: CoreML, PaddlePaddle, TensorFlow."""
    if _BLOCK_OF_PADDLE.match(head):
        return "is a PaddlePaddle network", _of_paddle(path)
    with path.open("rb") as stream:
        fields = list(top_fields(stream))
    if not fields or None in fields:
        return None
    kinds = {field[:2] for field in fields if field is not None}
    numbers = {number for number, _ in kinds}
    if {(1, NUMBER), (2, BYTES)} <= kinds and any(200 <= number < 1000 or number >= 2000 for number in numbers):
        return _COREML
    if (1, BYTES) in kinds and kinds <= {(1, BYTES), (2, BYTES), (3, NUMBER), (4, BYTES)}:
        if not _NODE_OF_TENSORFLOW.match(head):
            return None
        name, target = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(".onnx")))
        command = f"python -m tf2onnx.convert --graphdef {name} --output {target}"
        return "is a frozen graph of TensorFlow", f"{command} --inputs INPUT:0 --outputs OUTPUT:0"
    return None


def _of_darknet(path: Path, head: bytes) -> Words | None:
    """Darknet's weights: its version 0.1 or 0.2, how many pictures it saw, and numbers of 4 bytes."""
    if len(head) < 20:
        return None
    major, minor, revision = struct.unpack("<3i", head[:12])
    if major or minor not in (1, 2) or not 0 <= revision <= 9 or path.stat().st_size % 4:
        return None
    return "holds weights of Darknet, without their network", USE_ONNX


def _of_pair(path: Path, head: bytes) -> Words | None:
    """Files of bare numbers, whose network is a file of the same name."""
    makers: tuple[tuple[str, Callable[[Path], bool], Words], ...] = (
        (".xml", lambda file: "<net" in _beginning(file), ("holds the weights of an OpenVINO IR", _FROM_SOURCE)),
        (".param", lambda file: _beginning(file).startswith("7767517"), ("holds weights of ncnn", _FROM_SOURCE)),
        (".pdmodel", lambda _: True, ("holds weights of PaddlePaddle", _of_paddle(path.with_suffix(".pdmodel")))),
    )
    for suffix, fits, words in makers:
        other = path.with_suffix(suffix)
        if other != path and other.is_file() and fits(other):
            return words
    with path.open("rb") as stream:
        stream.seek(-min(8, path.stat().st_size), 2)
        return _TF_WEIGHTS if stream.read() == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb" else None


def _of_mxnet(path: Path) -> str:
    """The command that makes ONNX of a network of MXNet, whose two files share the beginning of their names."""
    stem = re.sub(r"-(symbol|\d{4})$", "", path.stem)
    symbol, params = (str(path.with_name(f"{stem}-{end}")) for end in ("symbol.json", "0000.params"))
    code = f"import mxnet; mxnet.onnx.export_model({symbol!r}, {params!r}, [(1, 3, 224, 224)])"
    return f"python -c {shlex.quote(code)}"


def _of_paddle(path: Path) -> str:
    """The command that makes ONNX of a network of PaddlePaddle."""
    names = shlex.quote(path.name), shlex.quote(path.with_suffix(".pdiparams").name)
    target = shlex.quote(str(path.with_suffix(".onnx")))
    command = f"paddle2onnx --model_dir {shlex.quote(str(path.parent))}"
    return f"{command} --model_filename {names[0]} --params_filename {names[1]} --save_file {target}"


def _beginning(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_HEAD).decode("utf-8", "replace")


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace")
