"""The record of an operator: its geometry, emission, scratch memory, operation counts and batch independence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch.fx import Node

from fullfield.geometry.axis import Op
from fullfield.geometry.network import Scratch
from fullfield.graph.calls import pair
from fullfield.operators.emitter import Emission, Emitter, Strips
from fullfield.operators.work import Work

Args = Mapping[str, Any]  # arguments by the names of the operator's schema, tensors as their nodes
Shapes = Mapping[str, tuple[int, ...]]  # of the tensors among the arguments, for one window
OnWindows = Callable[[Emitter, dict[str, Any], tuple[int, ...]], Any]
NodeCheck = Callable[[Node, Mapping[Node, Any]], bool]  # by a node's arguments and the values of all nodes


@dataclass(frozen=True)
class Anywhere:
    """Independence that a check decides, along whichever dimensions the windows lie."""

    holds: NodeCheck


Independence = Literal["first", "anywhere", "reshape"] | NodeCheck | Anywhere


@dataclass(frozen=True)
class Windowed:
    """What an operator that reads neighbouring cells does along y and x.

    Args:
        geometry: its arguments as integers along y and x.
        emit: writes it on a strip, without padding of its own; ``None`` where canonical form never has the operator.
        slides: whether a kernel slides over the map: reports show its size and stride even where it runs per window.
        padding: the number in its padding.
        uniform: whether all cells of its result on a strip are computed alike, so that it may run on fragments.
        counts_padding: whether its result depends on how many of the cells under its kernel are padding.
        one_channel_dim: whether its emission takes maps of one channel dimension: others are merged before it.
        emit_head: writes it where its kernel is as large as the map, on every window's own cells.
        reads_window: whether it is a pool, of the ``largest`` numbers or of means, in which every cell of a window's
            border reads all of the window.
        scratch: memory that it needs besides what it reads and gives, by its integers and the multiply-adds of one
            number of its result.
    """

    geometry: Callable[[Args, Shapes], tuple[Op, Op]]
    emit: Emission | None = None
    slides: bool = False
    padding: Callable[[Args], float] = lambda args: 0.0
    uniform: Callable[[Args, Strips], bool] = lambda args, strips: True
    counts_padding: Callable[[Args], bool] = lambda args: False
    one_channel_dim: bool = False
    emit_head: Callable[..., Any] | None = None
    reads_window: bool = False
    scratch: Callable[[tuple[Op, Op], int], Scratch] = lambda ops, taps: Scratch()


@dataclass(frozen=True)
class Operator:
    """One operator, under all names that mean it.

    An operator without a record runs on the whole window; one that torch tags as pointwise needs none.

    Args:
        targets: operators with all their overloads, or single overloads.
        kind: what canonical form keeps it as, without a rule of its own: ``pointwise``; ``per_cell`` if it reads all
            channels of one cell; ``windowed`` if its first argument is the only map that it reads.
        windowed: what it does along y and x, if it reads neighbouring cells.
        shapes_map: whether its second argument is the shape of its result, with rows and columns last.
        macs: multiply-adds of one number of its result, from the shapes of its arguments.
        counts: all its other operations on one window, from its arguments, the numbers that it reads and those that it
            gives; left out where it is not known.
        movement: how it moves numbers, where it computes none: a ``view`` of the same memory, a ``copy`` in the same
            order, or in another order, or repeated (``arrange``).
        in_place: the overload that writes its result over what it reads.
        commutes: whether it takes two tensors in any order, and may write over either.
        new_memory: whether its result is memory of its own, of the type of what it reads: its reader may overwrite it.
        casts: whether its result may be of another type than what it reads.
        independent: how it treats the windows of a batch: those along the ``first`` dimension apart, or those along
            any (``anywhere``); ``reshape`` leaves all numbers in order; a check decides by its arguments, along the
            first dimension or ``Anywhere``. Networks with operators that leave it out are run to find out.
        on_windows: writes it on windows' own cells, from its arguments by name and the rows and columns that it reads;
            left out, or ``None``, where it is called as it is.
        takes_batch_size: whether it takes the number of windows as a size.
        repeats: whether its result has the same numbers at every index of a dimension that what it reads lacks.
        reads_numbers: whether its result depends on the numbers in what it reads, not on the shapes alone.
        title: its name in reports, if not its own.
    """

    targets: tuple[Any, ...]
    kind: Literal["pointwise", "per_cell", "windowed"] | None = None
    windowed: Windowed | None = None
    shapes_map: bool = False
    macs: Callable[[Shapes], int] | None = None
    counts: Callable[[Args, int, int], Work] | None = None
    movement: Literal["view", "copy", "arrange"] | None = None
    in_place: Any = None
    commutes: bool = False
    new_memory: bool = False
    casts: bool = False
    independent: Independence | None = None
    on_windows: OnWindows | None = None
    takes_batch_size: bool = False
    repeats: bool = False
    reads_numbers: bool = True
    title: str = ""


def kernel_geometry(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    """A convolution's or pool's arguments, as canonical form or as the network has them, as integers."""
    kernel = pair(shapes["weight"][-2:] if "weight" in shapes else args["kernel_size"])
    stride, dilation = pair(args.get("stride", 1) or kernel), pair(args.get("dilation", 1))
    padding = args["padding"]
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        low, high = [t // 2 for t in total], [t - t // 2 for t in total]
    else:
        low = high = pair(padding)
    ceil = bool(args.get("ceil_mode"))
    y, x = (Op(*options, ceil=ceil) for options in zip(kernel, stride, low, high, dilation, strict=True))
    return y, x
