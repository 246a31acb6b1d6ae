"""Where nodes run: shared while borders leave room, per window from there on, and why."""

from __future__ import annotations

from fullfield.geometry.axis import Op
from fullfield.geometry.network import Network, NodeSpec, Place


def node(name: str, kind: str, *inputs: str, op: Op | None = None, shape: tuple[int, ...] = (1, 8, 8)) -> NodeSpec:
    pair = (op or Op(1), op or Op(1))
    reason = "looks at the whole window" if kind == "whole" else ""
    return NodeSpec(name, name, kind, kind, inputs, pair, shape, 5, reason)  # type: ignore[arg-type]


def net(*nodes: NodeSpec, window: int = 8) -> Network:
    return Network((node("image", "input"), *nodes), (window, window))


def test_an_unpadded_chain_is_shared_to_its_scores() -> None:
    chain = net(node("conv", "windowed", "image", op=Op(3)), node("head", "windowed", "conv", op=Op(6)))
    places = chain.places()
    assert all(places[n.name].shared for n in chain)
    assert places[chain.output.name].axes[0].closed  # type: ignore[index]
    assert chain["conv"].name == "conv"


def test_from_where_borders_meet_the_network_runs_per_window() -> None:
    padded = Op(5, low=2, high=2)
    chain = net(
        node("a", "windowed", "image", op=padded),
        node("b", "windowed", "a", op=padded),
        node("c", "cell", "b"),
        window=7,
    )
    places = chain.places()
    assert places["a"].shared
    assert places["b"] == Place(None, "borders meet: every cell depends on padding")
    assert places["c"] == Place(None, "follows a layer that runs per window")
    assert chain.places(cap=1)["c"].shared


def test_a_whole_window_operator_says_why() -> None:
    places = net(node("attention", "whole", "image"), NodeSpec("next", "", "", "whole", ("attention",))).places()
    assert places["attention"].reason == "looks at the whole window"
    assert places["next"].reason == "follows a layer that runs per window"


def test_a_plan_may_stop_sharing_early() -> None:
    places = net(node("a", "cell", "image"), node("b", "cell", "a")).places(stop=2)
    assert places["a"].shared
    assert places["b"].reason == "the plan runs it per window"


def test_branches_on_different_grids_run_per_window() -> None:
    places = net(
        node("fine", "windowed", "image", op=Op(2)),
        node("coarse", "windowed", "image", op=Op(2, 2)),
        node("sum", "cell", "fine", "coarse"),
    ).places()
    assert places["sum"].reason == "7 cells every 1 px meet 4 cells every 2 px"


def test_nothing_reads_beside_the_one_cell_of_a_head() -> None:
    head = node("head", "windowed", "image", op=Op(8))
    for op in (Op(1, low=1, high=1), Op(3, low=1, high=1), Op(1, 3, low=1, high=1), Op(2, 2, ceil=True)):
        places = net(head, node("next", "windowed", "head", op=op)).places(cap=0)
        assert places["next"].reason == "reads beside the one cell of a head"
    assert net(head, node("next", "windowed", "head", op=Op(1, 2))).places()["next"].shared


def test_blocks_of_border_cells_alone_are_shared_if_their_cells_are() -> None:
    nodes = (
        node("blocks", "windowed", "image", op=Op(6, 4, low=1, high=1)),
        node("cells", "windowed", "blocks", op=Op(1, up=2, inside=(1, 1))),
        node("next", "cell", "cells"),
    )
    assert all(place.shared for place in net(*nodes).places().values())
    for places in (net(*nodes).places(stop=2), net(*nodes).places(step=(2, 2))):
        assert [places[name].shared for name in ("image", "blocks", "cells")] == [True, False, False]
        assert places["blocks"].reason == places["cells"].reason
    alone = net(nodes[0], node("cells", "windowed", "blocks", op=Op(1, up=2))).places()
    assert alone["blocks"].reason.startswith("borders meet")


def test_work_counts_cells_of_a_map_or_values_of_a_window() -> None:
    cells = node("conv", "windowed", "image", shape=(4, 3, 2))
    assert (cells.elements, cells.window_elements, cells.window_macs) == (4, 24, 30)
    whole = node("attention", "whole", "image", shape=(4, 3, 2))
    assert (whole.elements, whole.window_elements, whole.window_macs) == (24, 24, 5)


def test_a_network_says_whether_it_upsamples() -> None:
    assert net(node("up", "windowed", "image", op=Op(1, up=2))).upsamples
    assert not net(node("conv", "windowed", "image", op=Op(3))).upsamples


def resized_chain(*, step_of: int = 2) -> Network:
    """Windows of 48 px made 21, and a convolution with a stride: blocks of 16 px become 7 cells."""
    up = (Op(1, up=7), Op(1, up=7))
    blocks, stride = Op(20, 16, 2, 2), Op(3, step_of, 1, 1)
    nodes = (
        NodeSpec("x", "x", "image", "input", (), shape=(1, 48, 48)),
        NodeSpec("blocks", "resize", "conv2d", "windowed", ("x",), (blocks, blocks), (49, 3, 3)),
        NodeSpec("cells", "resize", "pixel_shuffle", "windowed", ("blocks",), up, (1, 21, 21)),
        NodeSpec("conv", "conv", "conv2d", "windowed", ("cells",), (stride, stride), (1, 11, 11)),
    )
    return Network(nodes, (48, 48))


def test_cells_that_lie_between_pixels_are_counted_in_parts_of_a_pixel() -> None:
    net = resized_chain()
    assert net.units == (7, 7)
    places = net.places()
    jumps = {name: place.axes[0].to_dict()["jump"] for name, place in places.items() if place.axes is not None}
    assert jumps == {"x": 1, "blocks": 16, "cells": 16 / 7, "conv": 32 / 7}
    assert places["cells"].axes is not None
    assert (places["cells"].axes[0].low, places["cells"].axes[0].count) == (7, 21)
    assert all(net.places(step=(32, 16))[name].shared for name in ("cells", "conv"))
    assert "cells every 16 px are upsampled, which a step of 24 px" in net.places(step=(32, 24))["cells"].reason


def test_the_stride_of_resized_windows_is_whole_and_a_multiple_of_their_blocks() -> None:
    """A stride of 2 cells is less than a block of 16 px, one of 16 cells is 36.6 px."""
    for step_of, stride in ((2, 16), (16, 32)):
        net = resized_chain(step_of=step_of)
        assert net.stride(net.places(cap=0)) == (stride, stride)
