"""Layers that torch lacks, each one node in every graph: trainable, inspectable, scannable."""

from __future__ import annotations

from fullfield.nn.locally_connected import LocallyConnected2d as LocallyConnected2d
from fullfield.nn.lrn import LocalResponseNorm2d as LocalResponseNorm2d
from fullfield.nn.pools import AvgPool2d as AvgPool2d
from fullfield.nn.pools import FeatureL2Pool as FeatureL2Pool
from fullfield.nn.pools import L2Pool2d as L2Pool2d
from fullfield.nn.pools import MaxPool2d as MaxPool2d
