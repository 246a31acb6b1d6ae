"""Reads a Caffe file as a ``NetParameter`` of today's syntax; recognises it by its content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no types
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from fullfield.errors import CaptureError, first_line
from fullfield.importers.caffe.fields import unknown_fields
from fullfield.importers.caffe.schema import Message, message
from fullfield.importers.caffe.upgrade import upgrade
from fullfield.importers.limits import broken, read_bytes
from fullfield.importers.protobuf_fields import top_fields

TEXT_BYTES = 2**24
"""The most bytes of a ``.prototxt``."""
_HEAD_BYTES = 2**16
_FIELDS_NAMED = 8
_TEXT = re.compile(r"^\s*(?:(?:layers?|input_shape|state)\s*:?\s*\{|(?:input|input_dim|name)\s*:)", re.MULTILINE)
_UNKNOWN_ENUM = re.compile(r"\btype\s*:\s*([A-Z][A-Z0-9_]*)\b")


def kind(path: Path) -> str | None:
    """``text`` or ``binary`` for a Caffe file, ``None`` for other files and those that cannot be read."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
            if _is_text(head):
                return "text"
            return "binary" if _is_binary(stream) else None
    except OSError:
        return None


def read(path: Path) -> Message:
    """The network in the file, upgraded to today's syntax, with ``raw`` blobs.

    Raises:
        CaptureError: the file cannot be read, is damaged or too large, or has no layers.
    """
    data = read_bytes(path)
    if _is_text(data[:_HEAD_BYTES]):
        net = _parse_text(path, data)
    else:
        net = message("NetParameter")()
        try:
            net.ParseFromString(data)
        except DecodeError as error:
            raise broken(path, "is not a Caffe network, or is damaged or cut short") from error
    if not net.layer and not net.layers:
        raise broken(path, "is not a Caffe network: it has no layers")
    if not all(isinstance(text, str) for text in _texts(net)):
        raise broken(path, "is damaged: a name in it is not UTF-8 text")
    return upgrade(net, path)


def _texts(net: Message) -> Iterator[object]:
    """Every text that is used; protobuf returns bytes where one is not UTF-8."""
    yield from (net.name, *net.input)
    for layer in (*net.layer, *net.layers, *(old.layer for old in net.layers)):
        yield layer.name
        if isinstance(layer.type, (str, bytes)):
            yield layer.type
        for rule in (*getattr(layer, "include", ()), *getattr(layer, "exclude", ())):
            yield from (*rule.stage, *rule.not_stage)
        yield from (*getattr(layer, "bottom", ()), *getattr(layer, "top", ()))
        for spec in getattr(layer, "param", ()):
            yield spec if isinstance(spec, (str, bytes)) else spec.name


def _parse_text(path: Path, data: bytes) -> Message:
    if len(data) > TEXT_BYTES:
        raise CaptureError(str(path), f"has {len(data)} bytes, too many for a .prototxt", fix="is it the file?")
    written = message("NetParameter", raw=False)()
    text = data.decode("utf-8", errors="replace")
    try:
        text_format.Parse(text, written, allow_unknown_field=True)
        net = message("NetParameter")()
        net.ParseFromString(written.SerializeToString())
    except (text_format.ParseError, DecodeError, RecursionError, ValueError, OverflowError) as error:
        unknown = _unknown_types(text) if "no value named" in str(error) else ""
        what = f"has layers that fullfield cannot read: {unknown}" if unknown else f"is damaged ({first_line(error)})"
        raise CaptureError(str(path), what, fix="check the file; lines and columns count from 1") from error
    if fields := list(islice(unknown_fields(text), _FIELDS_NAMED)):
        what = f"has fields that Caffe does not know: {', '.join(map(str, fields))}"
        raise CaptureError(str(path), what, fix="correct them, or remove them if they change nothing")
    return net


def _unknown_types(text: str) -> str:
    """The unknown layer types of a file in the old syntax."""
    field = message("V1LayerParameter").DESCRIPTOR.fields_by_name["type"]
    return ", ".join(sorted(set(_UNKNOWN_ENUM.findall(text)) - set(field.enum_type.values_by_name)))


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8-sig")
    return _TEXT.search(text) is not None and not any(c < " " and c not in "\t\r\n\f" for c in text)


def _is_binary(stream: BinaryIO) -> bool:
    """Whether the top-level fields are those of ``NetParameter`` and not of ONNX.

    Both number their fields from 1, with different types: field 1 is the name in Caffe and a number in ONNX.
    """
    layers, last = False, 0
    for field in top_fields(stream):
        if field is None:
            return layers and last == 100
        last = field[0]
        if field[:2] not in _TOP:
            return False
        layers = layers or last in (2, 100)
    return layers


_TOP = frozenset({(1, 2), (2, 2), (3, 2), (4, 0), (4, 2), (5, 0), (6, 2), (7, 0), (8, 2), (100, 2)})
