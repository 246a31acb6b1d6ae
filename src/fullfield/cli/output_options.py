"""Options of what is written: encoding, decisions, JSON. Those of records are their fields."""

from __future__ import annotations

import click

from fullfield.cli import records
from fullfield.cli.command import option
from fullfield.cli.records import collected
from fullfield.cli.values import class_keys, factors, interval, view_names

encoding = collected(
    "encoding",
    records.encoding,
    ("classes", "labels", "activation", "dtype", "range"),
    option("--classes", group="Output", type=class_keys, metavar="A,...", help="Only these classes, by name or index."),
    option("--labels", group="Output", is_flag=True, help="The index of the top class, not the scores."),
    option(
        "--activation",
        group="Output",
        type=click.Choice(["softmax", "sigmoid"]),
        metavar="NAME",
        help="Turn logits into probabilities: softmax or sigmoid.",
    ),
    option(
        "--dtype",
        group="Output",
        rare=True,
        type=click.Choice(["float32", "float16", "uint8"]),
        help="Type of the stored numbers. [default: the network's]",
    ),
    option(
        "--range",
        group="Output",
        rare=True,
        type=interval,
        metavar="LOW,HIGH",
        help="Scores that are stored as 0 and 254 in uint8. [default: 0,1 with --activation]",
    ),
)
DECISION_FIELDS = ("decide", "on", "temperature")
DECISION = (
    option("--decide", group="Output", metavar="HOW", help="One score a class: mean, max, top-k:10, quantile:0.9, ..."),
    option(
        "--on",
        group="Output",
        rare=True,
        type=click.Choice(["scores", "logits", "probabilities", "softmax", "sigmoid"]),
        help="What is decided on. [default: scores, as in the map]",
    ),
    option(
        "--temperature",
        group="Output",
        rare=True,
        type=float,
        metavar="T",
        help="Divide logits by T before softmax or sigmoid.",
    ),
)
rule = collected(
    "rule",
    records.rule,
    (*DECISION_FIELDS, "regions"),
    *DECISION,
    option(
        "--regions",
        group="Output",
        rare=True,
        metavar="FILE",
        help="GeoJSON or vector file; each of its annotations gets a decision.",
    ),
)
scales = option(
    "--scales",
    group="Output",
    rare=True,
    type=factors,
    metavar="A,B,...",
    help="Decide these sizes as one: 0.75,1,1.5. --decide with --mode exact+context averages modes.",
)
views = option(
    "--views",
    group="Output",
    rare=True,
    type=view_names,
    metavar="SET",
    help="Decide views as one: flips, turns, all, or original,flip-x,...",
)
as_json = option("--json", "as_json", group="Output", is_flag=True, help="Print JSON.")
json_progress = option(
    "--json-progress", group="Output", rare=True, is_flag=True, help="Progress as lines of JSON on standard error."
)
overwrite = option("--overwrite", group="Output", is_flag=True, help="Replace an earlier result.")
