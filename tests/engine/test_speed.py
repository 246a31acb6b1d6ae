"""What an engine takes on this machine is measured, whatever the engine."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch

from fullfield.engine import speed
from fullfield.engine.engines.choose import EngineChoice
from fullfield.engine.speed import measure_costs
from fullfield.planning.compute import EngineName


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is measured once: the values are of no account here."""
    monkeypatch.setattr(speed, "_MOST_ROUNDS", 1)


@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
def test_every_cost_is_measured_in_every_engine(engine: EngineName, once: None) -> None:
    if engine != "torch":
        pytest.importorskip(engine)
    found = asdict(measure_costs(EngineChoice(engine, "float32", 1)))
    assert len(found) == 9
    assert all(0 < seconds < 1 for seconds in found.values())


def test_torch_is_measured_in_the_type_that_it_computes_in(once: None) -> None:
    assert all(0 < seconds < 1 for seconds in asdict(measure_costs(EngineChoice("torch", "bfloat16", 1))).values())


def test_threads_are_those_asked_for_and_given_back(once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fill = speed._fill_fresh
    monkeypatch.setattr(speed, "_fill_fresh", lambda: (seen.append(torch.get_num_threads()), fill()))
    before = torch.get_num_threads()
    measure_costs(EngineChoice("torch", "float32", before + 1))
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_the_graphs_compute_what_their_multiply_adds_say() -> None:
    for conv in speed._CONVOLUTIONS.values():
        pixels = torch.zeros(conv[0])
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            speed._convolutions([conv], relu=False)(pixels)
        assert counter.get_total_flops() == 2 * speed._macs(conv)


def test_the_seconds_of_work_become_those_of_one_unit() -> None:
    seconds = dict.fromkeys(speed._CONVOLUTIONS, 1.5) | {"linear": 1.5, "bytes": 2.0, "fresh": 3.0, "filled": 1.0}
    found = speed._costs(seconds | {"calls": 8.0, "tiles": 4.0})
    assert found.call_s == 0.5
    assert found.mac_s == 1.0 / (56 * 56 * 64 * 64 * 9)
    assert found.depthwise_s == 1.0 / (56 * 56 * 256 * 9)
    assert found.linear_s == 1.0 / 2**26
    assert found.byte_s == 2.0 / 2**24
    assert found.fresh_byte_s == 2.0 / 2**23
    assert found.tile_s == 0.25
    none_left = speed._costs(seconds | {"calls": 1600.0, "tiles": 4.0, "fresh": 0.5})
    assert min(asdict(none_left).values()) > 0
    assert math.isclose(none_left.mac_s, 0.15 / (56 * 56 * 64 * 64 * 9))
