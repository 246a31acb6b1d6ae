"""What a model caches between its uses."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import ArgumentError, Compute
from fullfield.jobs.prepare import prepare
from fullfield.model.model import Model


def network() -> tuple[nn.Sequential, Model]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    return module.double(), fullfield.load(module, window=8)


IMAGE = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)


def scores(net: Model) -> np.ndarray:
    return fullfield.scan(net, IMAGE, step=1).array


def test_a_network_is_prepared_once_for_scans_of_one_mode() -> None:
    _, net = network()
    assert prepare(net) is prepare(net)
    assert prepare(net, sliding=True) is not prepare(net)
    np.testing.assert_array_equal(scores(net), scores(net))


def test_weights_written_behind_autograd_change_the_next_scan() -> None:
    module, net = network()
    before, name = scores(net), net.hash
    module[0].weight.data.neg_()  # flips an even number of sign bits, without a new version
    assert net.hash != name
    fresh = fullfield.load(copy.deepcopy(module), window=8)
    np.testing.assert_array_equal(scores(net), scores(fresh))
    assert abs(scores(net) - before).max() > 0.1


def test_a_single_bit_of_the_statistics_counts() -> None:
    module, net = network()
    before = prepare(net)
    module[1].running_mean.view(torch.int64)[0] ^= 1
    assert prepare(net) is not before


def test_weights_put_back_give_the_first_hash_again() -> None:
    module, net = network()
    name, weight = net.hash, module[4].weight.detach().clone()
    with torch.no_grad():
        module[4].weight.mul_(2)
        assert net.hash != name
        module[4].weight.copy_(weight)
    assert net.hash == name


def test_the_cache_is_not_pickled() -> None:
    _, net = network()
    size = len(pickle.dumps(net.__getstate__()))
    prepare(net)
    assert len(pickle.dumps(net.__getstate__())) == size
    assert vars(copy.copy(net)).keys() == vars(net).keys() - {"_cache"}


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "meta"])
def test_a_device_that_cannot_be_used_is_refused(device: str) -> None:
    _, net = network()
    with pytest.raises(ArgumentError, match=f"device: '{device}' cannot be used"):
        fullfield.scan(net, IMAGE, step=1, compute=Compute(device=device))
