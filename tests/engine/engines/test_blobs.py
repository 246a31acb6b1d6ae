"""Compiled programs on disk: read again, bounded, and never trusted when they are cut or foreign."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fullfield.engine.engines import blobs
from fullfield.engine.engines.blobs import Blobs, cache_folder
from tests.engine.engines.scans import in_float32
from tests.oracle import Scan, captured

KEY, OTHER = bytes(range(32)), bytes(32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FULLFIELD_CACHE", str(tmp_path))
    monkeypatch.setattr(blobs, "_reported", set())
    return tmp_path / "engine"


def body(key: bytes = KEY) -> bytes | None:
    found = Blobs("engine").read(key)
    return None if found is None else found.tobytes()


def test_a_program_is_read_as_it_was_written() -> None:
    assert body() is None
    Blobs("engine").write(KEY, b"program")
    assert body() == b"program"
    assert body(OTHER) is None


DAMAGES = {
    "cut": lambda data: data[:-3],
    "cut within its header": lambda data: data[:20],
    "empty": lambda data: b"",
    "changed": lambda data: data[:-1] + b"x",
    "foreign": lambda data: b"PK" + data[2:],
    "of another key": lambda data: data[:8] + OTHER + data[40:],
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_program_is_removed_with_one_line(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    Blobs("engine").write(KEY, b"program")
    (path,) = folder.iterdir()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert body() is None
    assert [record.message.split(": ")[0] for record in caplog.records] == [str(path)]
    assert "\n" not in caplog.text.strip()
    assert not path.exists()


def test_the_oldest_programs_make_room(folder: Path) -> None:
    cache = Blobs("engine", most_bytes=1000)
    for k in range(6):
        cache.write(bytes([k] * 32), bytes(200))
        for path in folder.iterdir():
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10))
        assert cache.read(bytes(32)) is not None  # used, so kept
    kept = [k for k in range(6) if (folder / f"{bytes([k] * 32).hex()}.blob").exists()]
    assert kept == [0, 4, 5]
    cache.write(OTHER, bytes(251))
    assert cache.read(OTHER) is not None
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 1000


def test_a_program_of_more_than_a_quarter_of_the_room_is_not_kept(folder: Path) -> None:
    Blobs("engine", most_bytes=1000).write(KEY, bytes(251))
    assert not folder.exists()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")])
def test_where_nothing_can_be_written_one_line_says_so(
    folder: Path, error: OSError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", refuse)
    for key in (KEY, OTHER):
        Blobs("engine").write(key, b"program")
    assert [record.message for record in caplog.records] == [
        f"{folder}: compiled programs are not kept ({error.strerror})"
    ]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), NotADirectoryError(20, "Not a directory")])
def test_where_nothing_can_be_read_one_line_says_so(
    folder: Path, error: OSError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    for key in (KEY, OTHER):
        Blobs("engine").write(key, b"program")
    monkeypatch.setattr(np, "memmap", refuse)
    for key in (KEY, OTHER):
        assert Blobs("engine").read(key) is None
    assert [record.message for record in caplog.records] == [
        f"{folder}: compiled programs are not kept ({error.strerror})"
    ]
    assert len(list(folder.iterdir())) == 2


def test_several_writers_leave_one_whole_program(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Blobs("engine").write(KEY, bytes(10_000)), range(20)))
    assert body() == bytes(10_000)
    assert len(list(folder.iterdir())) == 1


def test_the_folder_is_the_systems_unless_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path
    monkeypatch.setenv("FULLFIELD_CACHE", "")
    assert cache_folder() is None
    Blobs("engine").write(KEY, b"program")
    assert body() is None
    monkeypatch.delenv("FULLFIELD_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "fullfield"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "fullfield"


def _scores(net: Any, scan: Scan) -> torch.Tensor:
    from fullfield.engine.engines.openvino.engine import OpenVinoEngine

    image = torch.linspace(-1, 1, 3 * 30 * 30, dtype=torch.float64).reshape(1, 3, 30, 30)
    ((_, layout, pixels),) = scan.tiles(image, (6, 6), None)
    plan: Any = SimpleNamespace(network=scan.network, batch=4, programs=16)
    return torch.from_numpy(OpenVinoEngine(net).compile(plan, layout)(pixels[0].float().numpy()))


def test_openvino_takes_kept_programs_and_makes_damaged_ones_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    from fullfield.engine.engines.openvino.package import core

    made = []
    compile_model = core().compile_model
    counting = SimpleNamespace(
        get_property=core().get_property,
        import_model=core().import_model,
        compile_model=lambda *args: made.append(1) or compile_model(*args),
    )
    monkeypatch.setattr("fullfield.engine.engines.openvino.engine.core", lambda: counting)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 81, 3))
    scan = Scan(captured(module, 18))
    first = _scores(in_float32(scan.canonical), scan)
    count = len(made)
    assert count >= 1
    assert torch.equal(_scores(in_float32(scan.canonical), scan), first)
    assert len(made) == count
    for path in (tmp_path / "openvino").iterdir():  # whole by its checksum, but no program
        key = bytes.fromhex(path.stem)
        Blobs("openvino").write(key, b"no program")
    assert torch.equal(_scores(in_float32(scan.canonical), scan), first)
    assert len(made) == 2 * count
    assert len([record for record in caplog.records if record.name == "fullfield"]) == count
    with torch.no_grad():
        other = in_float32(scan.canonical)
        next(iter(other.graph.parameters())).mul_(2)
    assert not torch.equal(_scores(other, scan), first)  # other weights are another program


def test_a_program_that_compiles_about_as_fast_as_it_is_read_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    scan = Scan(captured(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 81, 3)), 18))
    monkeypatch.setattr("fullfield.engine.engines.openvino.engine._WORTH_KEEPING", float("inf"))
    first = _scores(in_float32(scan.canonical), scan)
    assert not (tmp_path / "openvino").exists()
    monkeypatch.setattr("fullfield.engine.engines.openvino.engine._WORTH_KEEPING", 0)
    assert torch.equal(_scores(in_float32(scan.canonical), scan), first)
    assert list((tmp_path / "openvino").iterdir())


def test_a_signature_says_how_long_weights_were_read() -> None:
    signature = blobs.Signature("about")
    assert signature.read_s == 0
    weight = torch.ones(1000, 1000)
    signature.constant(weight)
    once = signature.read_s
    assert once > 0
    signature.constant(weight)
    assert signature.read_s == once
