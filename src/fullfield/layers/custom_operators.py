"""fullfield's own operators. Importing this module registers them with torch, as graphs that contain them need."""

from __future__ import annotations

from fullfield.layers.coupled_probabilities import coupled_probabilities as coupled_probabilities
from fullfield.layers.depth_to_space import depth_to_space as depth_to_space
from fullfield.layers.fake_quantise import fake_quantise as fake_quantise
from fullfield.layers.fft import fft_conv2d_operator as fft_conv2d
from fullfield.layers.fill_cells import fill_cells as fill_cells
from fullfield.layers.fill_cells import fill_cells_ as fill_cells_
from fullfield.layers.local_contraction import locally_connected2d as locally_connected2d
from fullfield.layers.lrn import across as local_response_norm
from fullfield.layers.lrn import within as local_response_norm_within
from fullfield.layers.neighbourhood import neighbourhood as neighbourhood
from fullfield.layers.pool_operators import feature_l2_pool as feature_l2_pool
from fullfield.layers.pool_operators import l2_pool2d as l2_pool2d
from fullfield.layers.pool_operators import root as root
from fullfield.layers.sliding_pool import sliding_pool as sliding_pool
from fullfield.layers.variance_pool import variance_pool as variance_pool

__all__ = [
    "coupled_probabilities",
    "depth_to_space",
    "fake_quantise",
    "feature_l2_pool",
    "fft_conv2d",
    "fill_cells",
    "fill_cells_",
    "l2_pool2d",
    "local_response_norm",
    "local_response_norm_within",
    "locally_connected2d",
    "neighbourhood",
    "root",
    "sliding_pool",
    "variance_pool",
]
