"""The sink that writes a map to disk: what it encodes, counts, writes and records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullfield.engine.protocols import Sink
from fullfield.planning.shards import Shards
from fullfield.store.encoding import Encoding, score_encoder
from fullfield.store.journal import Begin, Journal, open_journal
from fullfield.store.sink import StoreSink
from tests.store.test_memory import plan_of

SCORES = np.random.default_rng(0).uniform(0, 1, (2, 7, 5)).astype(np.float32)


class Files:
    """A writer of blocks, one file each, that remembers them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blocks: dict[tuple[int, int], Any] = {}
        self.fails = False

    def write(self, row: int, column: int, block: np.ndarray, valid: np.ndarray | None) -> tuple[Path, ...]:
        if self.fails:
            raise OSError("no room")
        self.blocks[row, column] = block.copy(), valid
        return self._file(row, column)

    def write_empty(self, row: int, column: int) -> tuple[Path, ...]:
        self.blocks[row, column] = None
        return self._file(row, column)

    def _file(self, row: int, column: int) -> tuple[Path, ...]:
        path = self.folder / f"{row}-{column}"
        path.write_text("x")
        return (path,)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "map").mkdir()
    return tmp_path / "map"


def sink_of(journal: Journal, *, share: range = range(4), **kept: Any) -> tuple[StoreSink, Files]:
    """Of a map of 7x5 cells in blocks of 4x3."""
    plan = replace(plan_of(), tile=(2, 3))
    files = Files(journal.output)
    return StoreSink(Shards(plan, (4, 3)), score_encoder(Encoding(**kept), classes=2), files, journal, share), files


def opened(output: Path) -> Any:
    return open_journal(output, Begin({}, lambda: None))


def put(sink: Sink, rows: slice, columns: slice, block: int, mask: np.ndarray | None = None) -> None:
    sink.put(block, (rows, columns), SCORES[:, rows, columns], mask)


def test_tiles_become_blocks_of_stored_numbers(output: Path) -> None:
    with opened(output) as journal:
        sink, files = sink_of(journal)
        put(sink, slice(0, 4, 2), slice(3, 5, 1), 1)
        put(sink, slice(1, 4, 2), slice(3, 5, 1), 1)
        sink.finish(1)
    (block, valid) = files.blocks[0, 3]
    np.testing.assert_array_equal(block, SCORES[:, 0:4, 3:5])
    assert valid is None


def test_cells_that_are_not_wanted_are_not_valid(output: Path) -> None:
    mask = np.array([[True, False, True], [False, False, True]])
    with opened(output) as journal:
        sink, files = sink_of(journal)
        put(sink, slice(4, 6), slice(0, 3), 2, mask)
        sink.finish(2)
        sink.finish(3)
    block, valid = files.blocks[4, 0]
    np.testing.assert_array_equal(valid, np.vstack([mask, np.zeros((1, 3), bool)]))
    np.testing.assert_array_equal(np.isfinite(block[0]), valid)
    assert files.blocks[4, 3] is None


def test_blocks_that_are_finished_are_not_to_be_done_again(output: Path) -> None:
    with opened(output) as journal:
        sink, files = sink_of(journal)
        assert sink.todo == [0, 1, 2, 3]
        sink.finish(2)
        assert sink.todo == [0, 1, 3]
        files.fails = True
        put(sink, slice(0, 4), slice(0, 3), 0)
        with pytest.raises(OSError, match="no room"):
            sink.finish(0)
        assert sink.todo == [0, 1, 3]
    with opened(output) as journal:
        assert sink_of(journal)[0].todo == [0, 1, 3]
        assert sink_of(journal, share=range(0, 4, 2))[0].todo == [0]


def test_what_could_not_be_stored_is_counted_once(output: Path) -> None:
    """Also if a block was interrupted, and all its tiles are put again."""
    scores = SCORES.copy()
    scores[0, 1, 1] = np.nan
    with opened(output) as journal:
        sink, _ = sink_of(journal, dtype="uint8", range=(0.25, 0.75))
        for rows in (slice(0, 2), slice(0, 2), slice(2, 4)):
            sink.put(0, (rows, slice(0, 3)), scores[:, rows, 0:3], None)
        sink.finish(0)
        sink.finish(1)
        block = scores[:, 0:4, 0:3]
        beyond = int(((block < 0.25 - 0.5 * 0.5 / 254) | (block > 0.75 + 0.5 * 0.5 / 254)).sum())
        assert journal.counts() == {"nans": 1, "saturated": beyond}
        lines = (journal.folder / f"{journal.name}.jsonl").read_text().split("\n")
    assert [json.loads(line[9:])["counts"] for line in lines if line][1] == {"saturated": 0, "nans": 0}
