"""Masks of regions, cached for the read that follows."""

import numpy as np
import pytest

from fullfield.image.mask_cache import MaskCache

ALPHA = np.random.default_rng(0).integers(0, 3, (13, 17)).astype(np.uint8)


def refuse() -> np.ndarray:
    raise AssertionError("is cached")


@pytest.mark.parametrize("alpha", [ALPHA, np.full_like(ALPHA, 7), None])
def test_a_mask_is_the_same_cached_and_loaded(alpha: np.ndarray | None) -> None:
    masks = [MaskCache().fetch("a", (13, 17), lambda: alpha)]
    cache = MaskCache()
    cache.put("a", alpha)
    masks.append(cache.fetch("a", (13, 17), refuse))
    for mask in masks:
        if alpha is None or alpha.all():
            assert mask is None
        else:
            np.testing.assert_array_equal(mask, alpha != 0)


def test_the_masks_cached_first_are_dropped_beyond_the_limit() -> None:
    cache = MaskCache(1000)
    for key in range(5):
        cache.put(key, ALPHA)
        cache.put(key, ALPHA)
    assert cache.fetch(4, (13, 17), refuse) is not None
    loaded = []
    assert cache.fetch(0, (13, 17), lambda: loaded.append(0)) is None
    assert loaded == [0]
