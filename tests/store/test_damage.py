"""Damaged results: nothing is read as other scores, and whatever the metadata say there is one clear error."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullfield.api.info import info
from fullfield.api.scores import open_scores
from fullfield.errors import FullfieldError, ImageError
from fullfield.store.check import check_result
from tests.store.maps import stored

DATA = Path(__file__).parent / "data"
FIRST = ("scores-0.1.0.zarr", "labels-0.1.0.zarr", "scores-0.1.0.npz")
CHECKED = ("scores-checksums.zarr", "labels-checksums.zarr")


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def everything(path: Path) -> tuple[Any, ...]:
    """All that a result says: numbers, cells, and what a reader is told of them."""
    scores = open_scores(path)
    levels = [np.asarray(scores.level(k).map.read(0, *scores.level(k).shape[1:2], 0, scores.level(k).shape[2])) for k in
              range(scores.levels)]  # fmt: skip
    spec = replace(scores.map.spec, fill=0.0)
    return [level.tobytes() for level in levels], scores.valid().tobytes(), spec, scores.certificate


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        source = DATA / name
        return Path(shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path))

    return copy


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    open_scores(DATA / "scores-checksums.zarr").level(0).save(tmp_path / "a.npz")
    return tmp_path / "a.npz"


def flips(path: Path, count: int) -> Iterator[tuple[Path, int]]:
    """Flips single bits one after the other, spread over all of a result; undoes each."""
    draw = random.Random(0)
    for file in files(path):
        data = file.read_bytes()
        places = range(8 * len(data)) if 8 * len(data) <= count else sorted(draw.sample(range(8 * len(data)), count))
        for bit in places:
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            yield file, bit
        file.write_bytes(data)


@pytest.mark.parametrize("name", [*CHECKED, "a.npz"])
def test_no_flipped_bit_is_read_as_other_scores(name: str, copied: Callable[[str], Path], archive: Path) -> None:
    path = archive if name == "a.npz" else copied(name)
    wanted, noticed, tried = everything(path), 0, 0
    for file, bit in flips(path, 400 if path.is_file() else 90):
        tried += 1
        try:
            assert everything(path) == wanted, (file, bit)
        except FullfieldError:
            noticed += 1
    assert tried >= 400
    assert noticed > tried / 3  # the others change what only other programs read


def test_every_flipped_bit_in_the_scores_of_a_store_is_found_by_a_check(copied: Callable[[str], Path]) -> None:
    path = copied("scores-checksums.zarr")
    assert str(check_result(path)).endswith("bytes: every checksum is right")
    for file, bit in flips(path, 60):
        if file.name == "zarr.json":
            continue
        with pytest.raises(ImageError, match=rf"1 of \d files are damaged: .*{file.relative_to(path)} .*checksum"):
            check_result(path)
        assert bit >= 0


def test_a_check_counts_the_damaged_files_and_those_that_are_gone(tmp_path: Path) -> None:
    stored(tmp_path / "a.zarr", np.random.default_rng(0).random((2, 130, 100), np.float32))
    assert check_result(tmp_path / "a.zarr").files == 9
    for name in ("0/c/0/0/1", "0/c/0/2/2"):
        data = bytearray((tmp_path / "a.zarr" / name).read_bytes())
        data[5] ^= 8
        (tmp_path / "a.zarr" / name).write_bytes(data)
    with pytest.raises(ImageError, match=r"2 of 9 files are damaged: 0/c/0/0/1 .*the checksum of a chunk is wrong"):
        info(tmp_path / "a.zarr", check=True)
    (tmp_path / "a.zarr/0/c/0/1/1").unlink()
    with pytest.raises(ImageError, match="1 of 9 shards of level 0 are missing"):
        check_result(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", FIRST)
def test_results_without_checksums_are_checked_as_far_as_they_can_be(name: str) -> None:
    assert check_result(DATA / name).checksums == name.endswith(".npz")
    assert "file" in str(info(DATA / name, check=True).facts["checked"])


def test_a_damaged_result_is_not_taken_for_an_image(copied: Callable[[str], Path]) -> None:
    path = copied("scores-checksums.zarr")
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"offset": 0.0', '"offset": 4.0'))
    with pytest.raises(ImageError, match="its record was changed: its checksum is wrong"):
        info(path)


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 255, 2**31, 2**40, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**400, 1.5, -0.0,
    1e-300, 1e308, float("nan"), float("inf"), "", "x", "NaN", "Infinity", "-Infinity", "uint8", "float16", "object",
    "<U5", "complex64", "labels", "0", "\u0000", "\ud800", "a" * 3000, [], [0], [1, 2], [0, 0], [2**40, 2**40], [[]],
    {},    {"a": 1}, [1, 2, 3], [2, 2**40, 2**40], [None], ["x", "y"], [1e308, 1e308],
]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a JSON document."""
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*at, key))


def mutated(document: Any, draw: random.Random) -> str:
    """JSON text with some values replaced, removed or repeated, or its bytes damaged."""
    kind = draw.randrange(10)
    if kind == 0:
        text = json.dumps(document)
        start, stop = sorted(draw.sample(range(len(text)), 2))
        return text[:start] + draw.choice(["", "[" * 100_000, '{"a":' * 50_000, text[start:stop], "\0"]) + text[stop:]
    copy = json.loads(json.dumps(document))
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        *above, last = draw.choice([place for place in places(copy) if place] or [("none",)])
        holder = copy
        for key in above:
            holder = holder[key]
        if kind == 1:
            del holder[last]
        else:
            holder[last] = draw.choice(VALUES)
    return json.dumps(copy)


def is_refused(path: Path) -> bool:
    """Whether a result is one clear error; it may also be read."""
    try:
        look_at(path)
    except FullfieldError as error:
        return len(str(error)) < 2000 or pytest.fail(f"a long error: {error}")
    return False


def look_at(path: Path) -> None:
    """What a user does with a result first."""
    scores = open_scores(path)
    repr(scores)
    scores.at(*scores.placement.centre(0, 0))
    _ = scores[0 if scores.kind == "labels" else slice(0, 1), 0, 0], scores.valid(0, 0), scores.certificate
    str(info(path))
    check_result(path)


@pytest.mark.parametrize(("name", "count"), [("scores-0.1.0.zarr", 700), ("labels-0.1.0.zarr", 400)])
def test_damaged_metadata_of_stores_are_one_clear_error(name: str, count: int, copied: Callable[[str], Path]) -> None:
    path = copied(name)
    draw, refused = random.Random(1), 0
    documents = [file for file in files(path) if file.name == "zarr.json"]
    root = path / "zarr.json"
    for _ in range(count):
        file = draw.choice([root, root, root, *documents])
        text = file.read_text()
        file.write_text(mutated(json.loads(text), draw), errors="surrogatepass")
        refused += is_refused(path)
        file.write_text(text)
    assert refused > count / 3


def test_damaged_archives_are_one_clear_error(tmp_path: Path) -> None:
    array, whole = np.load(DATA / "scores-0.1.0.npz")["scores"], DATA / "scores-0.1.0.npz"
    record = json.loads(str(np.load(whole)["fullfield"]))
    draw, data, path = random.Random(2), whole.read_bytes(), tmp_path / "a.npz"
    for number in range(1500):
        if number % 2:
            text = mutated(record, draw).encode("utf-8", "replace").decode()
            np.savez(
                path, scores=draw.choice([array, array, array[:1], array.astype(object)]), fullfield=np.array(text)
            )
        else:
            changed = bytearray(data)
            for _ in range(draw.choice([1, 1, 4])):
                changed[draw.randrange(len(data) if number % 4 else 900)] = draw.randrange(256)
            path.write_bytes(changed[: len(data) if number % 6 else draw.randrange(len(data))])
        is_refused(path)


@pytest.mark.parametrize("shard", [[256, 256], [2**20, 2**20]])
def test_a_record_that_claims_more_cells_than_there_are_is_refused_at_once(
    shard: list[int], copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied("scores-0.1.0.zarr")
    side = 2**20
    document = json.loads((path / "zarr.json").read_text())
    record = document["attributes"]["fullfield"]
    record["spec"] |= {"shape": [2, side, side], "shard": shard}
    record["placement"] |= {"image": [8 * side + 16] * 2, "scanned": [4 * side + 8] * 2}
    (path / "zarr.json").write_text(json.dumps(document))
    listed: list[Path] = []
    real = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: (listed.append(folder), real(folder))[1])
    with pytest.raises(ImageError, match=r"shards of level \d are missing|its record says"):
        open_scores(path)
    assert len(listed) < 20
