"""The operators of fullfield's own; importing this makes torch know them, which graphs that hold them need."""

from __future__ import annotations

from fullfield.nn.depth_to_space import depth_to_space as depth_to_space
from fullfield.nn.fft import fft_conv2d_operator as fft_conv2d
from fullfield.nn.local_contraction import locally_connected2d as locally_connected2d
from fullfield.nn.lrn import across as local_response_norm
from fullfield.nn.lrn import within as local_response_norm_within
from fullfield.nn.neighbourhood import neighbourhood as neighbourhood
from fullfield.nn.pools import feature_l2_pool as feature_l2_pool
from fullfield.nn.pools import l2_pool2d as l2_pool2d
from fullfield.nn.pools import root as root
from fullfield.nn.slid_pool import slid_pool as slid_pool

__all__ = [
    "depth_to_space",
    "feature_l2_pool",
    "fft_conv2d",
    "l2_pool2d",
    "local_response_norm",
    "local_response_norm_within",
    "locally_connected2d",
    "neighbourhood",
    "root",
    "slid_pool",
]
