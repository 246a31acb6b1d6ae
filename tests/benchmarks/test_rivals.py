"""The comparison with other engines' crops: its counts, its ratios, and which scans and crops it measures."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fullfield
from benchmarks.networks import NETWORKS, settled
from benchmarks.rival_crops import RUNS, Crops, Network
from benchmarks.rival_scans import Scan, bound, computes
from benchmarks.rival_tables import over_crops, tables
from benchmarks.turns import Entry, Record, Spent, measure
from fullfield.canonical.integers import network
from fullfield.canonical.pipeline import canonical
from fullfield.geometry.network import Network as Integers
from tests.report import classics


def integers(name: str) -> Integers:
    build, window = NETWORKS[name]
    return network(canonical(classics.weightless(build, window)), torch.float32)


def test_the_bound_of_vgg_16_is_that_of_its_nine_families() -> None:
    assert bound(integers("VGG-16"), 512, 32, "exact") == pytest.approx(4.29, abs=0.02)


def test_windows_that_do_not_overlap_have_a_bound_of_one() -> None:
    assert bound(integers("ResNet-18"), 448, 224, "exact") == pytest.approx(1, abs=1e-3)


def record(kind: str, each_s: float, preparing_s: float, windows: int) -> Record:
    turn = Spent(each_s * windows, 2 * each_s * windows)
    entry = Entry("net", 1, kind, kind, "float32", 64, 8, windows, 4.0)
    return Record(entry, turn + Spent(preparing_s, preparing_s), [turn])


def test_first_scans_are_compared_with_all_that_is_prepared_on_both_sides() -> None:
    slow, fast = record("crops", 0.02, 0.0, 64), record("crops", 0.01, 3.0, 64)
    scan = record("exact", 0.005, 1.0, 100)
    assert over_crops(scan, [slow, fast, scan]) == pytest.approx((2.0 / 1.5, 2.0))  # slow crops take 2 s, fast ones 4


def test_records_survive_their_file() -> None:
    found = record("exact", 0.005, 1.0, 100)
    assert Record.from_json(found.to_json()) == found


def test_torch_computes_in_float32_and_unknown_engines_do_not() -> None:
    assert computes("torch", "float32")
    assert not computes("onnxruntime", "float64")


def test_tables_say_what_was_not_measured() -> None:
    missing = Record(Entry("net", 1, "exact", "torch", "float32", 64, 8, 100), remark="no time left")
    assert "| no time left | – |" in tables([record("crops", 0.01, 0.0, 64), missing])


def test_contenders_without_time_are_left_out() -> None:
    network = Network("LeNet", torch.nn.Identity(), 32, Path("none"))
    crops = Crops(
        Entry("LeNet", 1, "crops", "torch", "float32"), network, RUNS["torch", "float32"], np.zeros((3, 64, 64))
    )
    records: list[Record] = []
    measure([crops], records, until=0.0, most=3)
    assert [(each.turns, each.remark) for each in records] == [([], "no time left")]


def test_crops_and_scans_of_a_small_network_are_measured(tmp_path: Path) -> None:
    module = settled(NETWORKS["LeNet (unpadded)"][0](), 32)
    path = fullfield.save(fullfield.load(module, window=32), tmp_path / "net.onnx")
    net, image = Network("LeNet", module, 32, path), torch.rand(3, 96, 96)
    crops = Crops(
        Entry("LeNet", 1, "crops", "onnxruntime", "float32"), net, RUNS["onnxruntime", "float32"], image.numpy()
    )
    crops.expected = crops.scores(64)
    entry = Entry("LeNet", 1, "exact", "torch", "float32", 96, 8, 81, 1.0)
    scan = Scan(entry, path, 32, image, fullfield.Compute(engine="torch"))
    found: list[Record] = []
    measure([crops, scan], found, until=float("inf"), most=2)
    assert [len(each.turns) for each in found] == [2, 2]
    assert found[0].entry.windows % 64 == 0
    assert found[1].remark == "whole map"
    assert all(each.per_window.cpu_s > 0 for each in found)


def test_crops_of_an_engine_that_computes_other_scores_are_refused(tmp_path: Path) -> None:
    net = Network("LeNet", settled(NETWORKS["LeNet (unpadded)"][0](), 32), 32, tmp_path)
    crops = Crops(
        Entry("LeNet", 1, "crops", "torch", "float32"), net, RUNS["torch", "float32"], np.ones((3, 96, 96), "f4")
    )
    crops.expected = crops.scores(64) + np.arange(10)
    with pytest.raises(AssertionError, match="other scores"):
        crops.begin()


def test_an_interrupted_benchmark_has_what_it_measured() -> None:
    class Interrupted:
        entry = Entry("net", 1, "exact", "torch", "float32", 64, 8, 100)
        remark = "whole map"
        turns = 0

        def begin(self) -> Spent:
            return Spent(2.0, 2.0)

        def turn(self) -> Spent:
            self.turns += 1
            if self.turns > 2:
                raise KeyboardInterrupt
            return Spent(1.0, 1.0)

    records: list[Record] = []
    with pytest.raises(KeyboardInterrupt):
        measure([Interrupted()], records, until=float("inf"), most=9)
    assert [len(each.turns) for each in records] == [2]
