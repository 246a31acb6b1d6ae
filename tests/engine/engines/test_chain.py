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
