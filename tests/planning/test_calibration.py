"""Constants of a machine are the built-in ones times what the same measurements take more there."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest

from fullfield.geometry.axis import Op
from fullfield.geometry.network import Network
from fullfield.planning import CostCache, make_plan
from fullfield.planning.calibration import (
    MachineCosts,
    calibrated,
    constants_from_json,
    constants_to_json,
    reference_costs,
)
from fullfield.planning.choose import time_per_window
from fullfield.planning.constants import ENGINE_CONSTANTS, CostConstants
from fullfield.planning.mac_kinds import MacKinds, mac_kind
from tests.planning.networks import Draft, padded

BUILT_IN = CostConstants()
HERE = reference_costs("torch", huge_pages=False)


def measured(**factors: float) -> CostConstants:
    """The constants of a machine on which some costs are so many times those of the reference."""
    found = replace(HERE, **{name: factor * getattr(HERE, name) for name, factor in factors.items()})
    return calibrated(BUILT_IN, HERE, found)


@pytest.mark.parametrize("engine", sorted(ENGINE_CONSTANTS))
@pytest.mark.parametrize("huge_pages", [False, True])
def test_the_machine_of_the_built_in_constants_has_these(engine: str, huge_pages: bool) -> None:
    reference = reference_costs(engine, huge_pages=huge_pages)
    twice_as_fast = MachineCosts(**{name: value / 2 for name, value in asdict(reference).items()})
    for found in (reference, twice_as_fast):
        constants = calibrated(ENGINE_CONSTANTS[engine], reference, found)
        assert constants == replace(ENGINE_CONSTANTS[engine], measured=True)


def test_differences_that_another_measurement_may_show_are_chance() -> None:
    assert measured(byte_s=1.4, call_s=0.72) == replace(BUILT_IN, measured=True)
    assert measured(byte_s=1.5).macs_per_byte == 8.0
    assert measured(call_s=0.7).macs_per_call == 5e5


def test_a_faster_processor_makes_all_else_dearer() -> None:
    found = measured(**dict.fromkeys(("mac_s", "pointwise_s", "depthwise_s", "dilated_s", "linear_s"), 1 / 4))
    assert (found.macs_per_byte, found.macs_per_fresh_byte, found.macs_per_call) == (16.0, 40.0, 4e6)
    assert (found.macs_per_tile, found.macs_per_operator, found.macs_per_prepared_call) == (2e8, 1e9, 8e7)
    assert (found.pointwise, found.depthwise, found.dilated, found.linear) == (1.0, 1.0, 1.0, 1.0)


def test_each_kind_of_operator_has_its_own_rate() -> None:
    found = measured(pointwise_s=2, depthwise_s=4, dilated_s=8, linear_s=0.5)
    assert (found.pointwise, found.depthwise, found.dilated, found.linear) == (2.0, 4.0, 8.0, 0.5)
    assert found.macs_per_byte == 4.0


def test_no_constant_is_far_from_the_built_in_one() -> None:
    far = measured(byte_s=1e9, fresh_byte_s=1e-9, call_s=1e9, tile_s=1e-9, depthwise_s=1e9, linear_s=1e-9)
    assert (far.macs_per_byte, far.macs_per_fresh_byte) == (128.0, 1.25)
    assert (far.macs_per_call, far.macs_per_tile, far.macs_per_operator) == (64e6, 6.25e6, 3.125e7)
    assert (far.depthwise, far.linear) == (8.0, 0.25)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "1", None])
def test_costs_that_cannot_be_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="byte_s"):
        MachineCosts(**(asdict(HERE) | {"byte_s": value}))


def test_a_record_states_measured_constants_and_no_built_in_ones() -> None:
    assert constants_to_json(BUILT_IN) is None
    found = measured(byte_s=8, depthwise_s=3)
    said = constants_to_json(found)
    assert said is not None
    assert constants_from_json(BUILT_IN, said) == found
    for wrong in (None, [], {}, {"macs_per_byte": 4.0}, said | {"linear": -1.0}, said | {"macs_per_second": 1.0}):
        assert constants_from_json(BUILT_IN, wrong) == BUILT_IN


def test_operators_are_told_apart_by_what_they_read() -> None:
    draft = Draft((32, 32), channels=8)
    three, one = (Op(3, low=1, high=1),) * 2, (Op(1), Op(1))
    wide = (Op(3, low=2, high=2, dilation=2),) * 2
    specs = {"dense": (three, 16, 72 * 16), "pointwise": (one, 16, 8 * 16), "depthwise": (three, 8, 72)}
    names = {kind: draft.add("windowed", n, ops, macs=macs, reads=("x",)) for kind, (ops, n, macs) in specs.items()}
    names["dilated"] = draft.add("windowed", 16, wide, macs=72 * 16, reads=("x",))
    names["linear"] = draft.add("windowed", 10, (Op(32), Op(32)), macs=10 * 8 * 32**2, reads=("x",))
    nodes = tuple(replace(n, op="conv2d") if n.macs else n for n in draft.nodes)
    network = replace(draft.done(), nodes=nodes)
    assert {kind: mac_kind(network[name], network) for kind, name in names.items()} == {k: k for k in names}
    layer = replace(network[names["dense"]], op="linear")
    assert mac_kind(layer, network) == "linear"
    assert mac_kind(replace(layer, op="matmul"), network) == "dense"


def test_kinds_change_the_time_of_a_plan_and_not_its_count() -> None:
    network = as_convolutions(padded())
    costs = CostCache(network, 4)
    plan, slow = (
        make_plan(network, image=(200, 200), step=(16, 16), tile=(4, 4), costs=costs, constants=constants)
        for constants in (BUILT_IN, measured(linear_s=8))
    )
    assert plan.cost == slow.cost
    linear = plan.cost.kinds.linear
    assert plan.cost.kinds == MacKinds(linear=linear)
    assert 0 < linear < plan.cost.macs
    more = time_per_window(slow) - time_per_window(plan)
    tiles_of_windows = 12 * 12 / math.prod(plan.shape)  # the last row and column are computed twice
    assert more == pytest.approx(7 * linear / 16 * tiles_of_windows)


def as_convolutions(network: Network) -> Network:
    """The network with convolutions named as such."""
    nodes = tuple(replace(n, op="conv2d") if n.macs else n for n in network.nodes)
    return replace(network, nodes=nodes)


def test_predicted_times_follow_the_memory_of_the_machine() -> None:
    plan = make_plan(as_convolutions(padded()), image=(200, 200), step=(16, 16))
    slow = replace(plan, constants=measured(byte_s=8))
    (mine, crops), macs = plan.table.numbers, plan.table.scan.total
    assert plan.table.speedup == pytest.approx((plan.table.crops + 16 * crops) / (macs + 16 * mine))
    assert slow.table.speedup == pytest.approx((plan.table.crops + 128 * crops) / (macs + 128 * mine))


def test_spread_taps_are_dilated_where_a_tile_spreads_them() -> None:
    network = as_convolutions(padded())
    atrous, shifted = (
        make_plan(network, image=(64, 64), step=(1, 1), method=method, tile=(4, 4)).cost.kinds.dilated
        for method in ("atrous", "shifted")
    )
    assert atrous > 0
    assert shifted == 0


def test_tiles_grow_where_each_takes_long_and_shrink_where_memory_does() -> None:
    network = as_convolutions(padded(window=(64, 64), width=64))
    tiles = {
        name: make_plan(network, image=(1024, 1024), step=(32, 32), constants=constants).tile
        for name, constants in {
            "built in": BUILT_IN,
            "slow tiles": measured(tile_s=64),
            "slow memory": measured(fresh_byte_s=32, tile_s=1 / 8, call_s=1 / 8),
        }.items()
    }
    assert math.prod(tiles["slow memory"]) < math.prod(tiles["built in"]) < math.prod(tiles["slow tiles"])
