"""Layers that torch lacks. They can be trained, inspected, scanned and exported."""

from __future__ import annotations

from fullfield.layers.fft import fft_conv2d as fft_conv2d
from fullfield.layers.fft_layer import FFTConv2d as FFTConv2d
from fullfield.layers.locally_connected import LocallyConnected2d as LocallyConnected2d
from fullfield.layers.lrn import LocalResponseNorm2d as LocalResponseNorm2d
from fullfield.layers.pools import AvgPool2d as AvgPool2d
from fullfield.layers.pools import FeatureL2Pool as FeatureL2Pool
from fullfield.layers.pools import L2Pool2d as L2Pool2d
from fullfield.layers.pools import MaxPool2d as MaxPool2d
