"""Programs are cached, as many as a plan allows, and others dropped before one more is made."""

from __future__ import annotations

import gc
import itertools
import linecache
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch import nn
from torch.fx import GraphModule, graph_module, symbolic_trace

from fullfield.engine.engines.cache import ProgramCache, forgotten_sources
from fullfield.geometry.tile import TileLayout
from fullfield.planning import Tile, make_plan
from tests.planning.networks import padded

PLAN = make_plan(padded(), image=(200, 200), step=(4, 4), tile=(4, 4))
LAYOUTS = [PLAN.layout(Tile(0, 0, rows, 3)) for rows in (1, 2, 3)]


def test_no_more_programs_are_held_than_allowed_while_another_is_made() -> None:
    cache: ProgramCache[str] = ProgramCache()
    held: list[int] = []

    def made(layout: TileLayout, most: int) -> str:
        def make() -> str:
            held.append(len(cache.items))
            return f"program {LAYOUTS.index(layout)}"

        return cache.get(layout, 4, make, most)

    found = [made(LAYOUTS[k], 2) for k in (0, 1, 0, 2, 0, 1)]
    assert found == [f"program {k}" for k in (0, 1, 0, 2, 0, 1)]
    assert held == [0, 1, 1, 1]  # 0, 1, 2 for 1, 1 for 2
    made(LAYOUTS[2], 1)
    assert held[-1] == 0
    assert len(cache.items) == 1


class Cyclic:
    """A program that refers to itself, as graphs do."""

    def __init__(self) -> None:
        self.own = self


@pytest.mark.parametrize("most", [1, 2])
def test_dropped_programs_that_refer_to_themselves_are_collected_once_they_are_as_many_as_are_kept(most: int) -> None:
    cache: ProgramCache[Cyclic] = ProgramCache()
    made: list[weakref.ref[Cyclic]] = []
    gc.disable()
    try:
        for k in range(40):
            program = cache.get(LAYOUTS[k % 3], 4, Cyclic, most)
            made.append(weakref.ref(program))
            del program
            assert sum(program() is not None for program in made) <= 2 * most - 1
    finally:
        gc.enable()


def test_the_source_of_programs_is_forgotten() -> None:
    """torch would keep it as long as the process lives."""
    cache: ProgramCache[GraphModule] = ProgramCache()
    program = cache.get(LAYOUTS[0], 4, lambda: symbolic_trace(nn.ReLU()))
    assert program.code
    name = type(program).forward.__code__.co_filename
    assert linecache.getlines(name) == []
    assert linecache.getlines(type(symbolic_trace(nn.ReLU())).forward.__code__.co_filename)


@pytest.mark.usefixtures("threads_switch_often")
def test_other_threads_may_make_programs_while_sources_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {f"<eval_with_key>.old {k}": "" for k in range(2000)}
    monkeypatch.setattr(graph_module._loader, "eval_cache", kept)
    running = True

    def add() -> None:
        for k in itertools.takewhile(lambda _: running, itertools.count()):
            kept[f"<eval_with_key>.{k % 5000}"] = ""

    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(add)
        try:
            for _ in range(50):
                with forgotten_sources():
                    pass
        finally:
            running = False
        adding.result()
    assert "<eval_with_key>.old 7" in kept
