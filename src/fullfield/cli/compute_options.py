"""Options of how scores are computed: mode, engine, memory. Those of records are their fields."""

from __future__ import annotations

import click

from fullfield.cli import records
from fullfield.cli.command import option
from fullfield.cli.records import collected
from fullfield.cli.values import any_mode, any_modes, pair

_MODE = (
    "exact: the crops' scores. context: layers that pad see neighbouring pixels; faster. B[,N]: B border cells as in "
    "the crop, maps of up to N cells whole. [default: exact]"
)
mode = option("--mode", group="How", type=any_mode, metavar="MODE", help=_MODE)
modes = option("--mode", group="How", type=any_modes, metavar="MODE", help=_MODE)
target = collected(
    "target",
    records.target,
    ("tolerance", "agreement"),
    option("--tolerance", group="How", type=float, metavar="E", help="Find the fastest mode with at most this error."),
    option(
        "--agreement",
        group="How",
        rare=True,
        type=float,
        metavar="A",
        help="Find the fastest mode whose top class is the crop's at so many windows, such as 0.99.",
    ),
)
_budget = option(
    "--budget",
    group="How",
    metavar="SIZE",
    help="Memory, such as 2GB. [default: 2 GiB, or a window's need]",
)
_device = option("--device", group="How", metavar="DEVICE", help="Where to compute, such as cpu or cuda:0.")
_engine = option(
    "--engine",
    group="How",
    type=click.Choice(["auto", "torch", "openvino", "onnxruntime"]),
    metavar="ENGINE",
    default="auto",
    help="torch, openvino, onnxruntime. [default: the fastest]",
)
_precision = option(
    "--precision",
    group="How",
    type=click.Choice(["float32", "tf32", "bfloat16", "float16"]),
    metavar="TYPE",
    help="float32, bfloat16, float16; tf32 on GPUs.",
)
_threads = option(
    "--threads",
    group="How",
    rare=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads of the engine. [default: all cores]",
)
_tile = option(
    "--tile",
    group="How",
    rare=True,
    type=pair,
    metavar="N[,N]",
    help="Rows and columns of windows computed together. [default: the plan's choice]",
)
_method = option(
    "--method",
    group="How",
    rare=True,
    type=click.Choice(["auto", "atrous", "fragments", "shifted"]),
    default="auto",
    show_default=True,
    help="How steps finer than the network's stride are computed; the scores are the same.",
)
_share = (
    option(
        "--rank",
        group="How",
        rare=True,
        type=click.IntRange(min=0),
        default=0,
        metavar="R",
        help="This is process R, from 0, of those that share one output.",
    ),
    option(
        "--world",
        group="How",
        rare=True,
        type=click.IntRange(min=1),
        default=1,
        metavar="N",
        help="Number of processes that share one output.",
    ),
)
_COMPUTE = ("budget", "tile", "method", "device", "engine", "precision", "threads")
_COMPUTE_OPTIONS = (_budget, _device, _engine, _precision, _threads, _tile, _method)
compute = collected("compute", records.compute, _COMPUTE, *_COMPUTE_OPTIONS)
shared_compute = collected("compute", records.compute, (*_COMPUTE, "rank", "world"), *_COMPUTE_OPTIONS, *_share)
seed = option(
    "--seed", group="How", rare=True, type=int, default=0, show_default=True, help="Seed of the draw of these windows."
)
