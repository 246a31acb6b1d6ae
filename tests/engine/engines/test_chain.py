"""Chains of an engine's programs: when each is compiled, and what happens to the memory that this takes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace

from fullfield.engine.engines import chain
from fullfield.engine.engines.chain import EnginePart, Run, UncompiledPart, chained
from fullfield.layers.custom_operators import fill_cells, fill_cells_

aten = torch.ops.aten
SHAPE = (3, 4)


class TwoRuns(nn.Module):
    """What an engine runs, an operator that runs in torch, and what an engine runs again."""

    def forward(self, x: Tensor) -> Tensor:
        x = aten.relu.default(aten.neg.default(x))
        x = aten.cumsum.default(x, 1)
        result: Tensor = aten.neg.default(aten.relu.default(x))
        return result


class Compiler:
    """Programs that run each of a part's operators in torch; notes when it is asked for one."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, source: UncompiledPart) -> Run:
        self.events.append("compiled")

        def run(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
            self.events.append("run")
            (value,), (output,) = inputs, outputs
            for node in source.part.nodes:
                value = node.target(value)  # type: ignore[operator]
            output.copy_(value)

        return run


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    found = Compiler()
    monkeypatch.setattr(chain, "trim", lambda: found.events.append("trimmed"))
    monkeypatch.setattr(chain, "trim_excess_within_tile", lambda: found.events.append("limited"))
    return found


def test_each_part_is_compiled_when_it_first_runs_and_its_memory_handed_back(compiler: Compiler) -> None:
    """Else OpenVINO would hold the inputs of all parts at once."""
    module, _ = chained(symbolic_trace(TwoRuns()), [torch.empty(SHAPE, device="meta")], compiler)
    assert compiler.events == []
    x = torch.randn(SHAPE)
    assert torch.equal(module(x), TwoRuns()(x))
    assert compiler.events == ["compiled", "run", "trimmed"] * 2
    assert torch.equal(module(-x), TwoRuns()(-x))
    assert compiler.events[6:] == ["run", "limited"] * 2


class Filled(nn.Module):
    """What an engine computes, with cells filled in torch, which an engine reads; ``again`` if it reads both."""

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.again = again

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        x = aten.relu.default(x)
        filled = fill_cells.default(x, index, -1.0)
        result: Tensor = aten.abs.default(filled)
        if self.again:
            result = torch.stack([result, aten.cumsum.default(x, 1)])
        return result


@pytest.mark.parametrize("again", [False, True])
def test_cells_of_what_a_part_gives_are_filled_in_place_where_nothing_else_reads_it(
    compiler: Compiler, again: bool
) -> None:
    network = Filled(again=again)
    x, index = torch.randn(2, 3, 4, 5), torch.tensor([0, 7, 39])
    shapes = [torch.empty(x.shape, device="meta"), torch.empty(index.shape, dtype=torch.int64, device="meta")]
    module, _ = chained(symbolic_trace(network), shapes, compiler)
    targets = [node.target for node in module.graph.nodes]
    assert (fill_cells_.default in targets, fill_cells.default in targets) == (not again, again)
    with torch.inference_mode():
        assert torch.equal(module(x, index), network(x, index))


def test_a_part_that_two_threads_run_at_once_is_compiled_once(compiler: Compiler) -> None:
    together = threading.Barrier(2)
    part = EnginePart(lambda: compiler(UNUSED), [SHAPE])

    def run(x: Tensor) -> Tensor:
        together.wait(60)
        (found,) = part(x)
        return found

    inputs = torch.randn(SHAPE), torch.randn(SHAPE)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run, inputs))
    assert all(torch.equal(a, b) for a, b in zip(found, inputs, strict=True))
    assert compiler.events.count("compiled") == compiler.events.count("trimmed") == 1


UNUSED = UncompiledPart(chain.Part(True, (), (), ()), {}, {})  # gives what it reads
