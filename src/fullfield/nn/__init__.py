"""Layers that torch lacks: trainable, inspectable, scannable; and the meanings of "convolution"."""

from __future__ import annotations

from fullfield.nn.conventions import convolve as convolve
from fullfield.nn.conventions import image_kernel as image_kernel
from fullfield.nn.fft import fft_conv2d as fft_conv2d
from fullfield.nn.fft_layer import FFTConv2d as FFTConv2d
from fullfield.nn.lenet_layers import TABLES as TABLES
from fullfield.nn.lenet_layers import RadialBasis as RadialBasis
from fullfield.nn.lenet_layers import Subsample2d as Subsample2d
from fullfield.nn.lenet_layers import TableConv2d as TableConv2d
from fullfield.nn.locally_connected import LocallyConnected2d as LocallyConnected2d
from fullfield.nn.lrn import LocalResponseNorm2d as LocalResponseNorm2d
from fullfield.nn.pools import AvgPool2d as AvgPool2d
from fullfield.nn.pools import FeatureL2Pool as FeatureL2Pool
from fullfield.nn.pools import L2Pool2d as L2Pool2d
from fullfield.nn.pools import MaxPool2d as MaxPool2d
