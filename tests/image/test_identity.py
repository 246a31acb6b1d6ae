"""The identity of a file changes with its content."""

import os
from pathlib import Path

import pytest

from fullfield.image.identity import file_identity, sample_starts


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 18 * 65536, 18 * 65536 + 1, 10**7])
def test_samples_lie_inside_head_and_tail_among_them(size: int) -> None:
    starts = sample_starts(size)
    assert all(0 <= start < size for start in starts)
    assert starts == sorted(set(starts))
    assert len(starts) <= 18
    if size:
        assert starts[0] == 0
        assert starts[-1] + 65536 >= size


@pytest.mark.parametrize("at", [0, 700_000, 9_999_999])
def test_a_byte_changed_in_a_sample_changes_the_hash(tmp_path: Path, at: int) -> None:
    data = bytearray(10**7)
    (tmp_path / "a").write_bytes(data)
    first = file_identity(tmp_path / "a")
    start = min(sample_starts(10**7), key=lambda s: abs(s - at))
    data[start + 5] = 1
    (tmp_path / "a").write_bytes(data)
    assert file_identity(tmp_path / "a")["blake2b"] != first["blake2b"]


def test_a_file_touched_or_longer_is_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    first = file_identity(tmp_path / "a")
    assert file_identity(tmp_path / "a") == first
    os.utime(tmp_path / "a", ns=(1, 1))
    assert file_identity(tmp_path / "a")["mtime_ns"] == 1
    (tmp_path / "a").write_bytes(b"abcd")
    assert file_identity(tmp_path / "a")["size"] == 4
