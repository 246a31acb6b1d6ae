"""Settings of torch for GPUs: as asked for inside, as before afterwards. Builds without CUDA keep them too."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from fullfield.model.cuda_arithmetic import cuda_arithmetic

GPU = torch.device("cuda:0")


def current() -> tuple[object, ...]:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    precisions = products.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision  # type: ignore[attr-defined]
    return *precisions, cudnn.benchmark, cudnn.deterministic


@pytest.fixture(autouse=True, params=["default", "all TF32", "legacy names", "none"])
def _settings_of_the_user(request: pytest.FixtureRequest) -> Iterator[None]:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = current()
    if request.param == "all TF32":
        products.fp32_precision = cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "tf32"  # type: ignore[attr-defined]
        cudnn.benchmark = True
    elif request.param == "legacy names":
        products.allow_tf32, cudnn.allow_tf32 = True, False
    elif request.param == "none":
        cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "none"  # type: ignore[attr-defined]
    yield
    if request.param == "legacy names":
        products.allow_tf32, cudnn.allow_tf32 = False, True
    products.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = before[:3]  # type: ignore[attr-defined]
    cudnn.benchmark, cudnn.deterministic = before[3:]


def test_products_are_float32_and_kernels_repeat_their_bits() -> None:
    before = current()
    with cuda_arithmetic(GPU):
        assert current() == ("ieee", "ieee", "ieee", False, True)
    assert current() == before


def test_tf32_is_used_on_request() -> None:
    before = current()
    with cuda_arithmetic(GPU, tf32=True):
        assert current() == ("tf32", "tf32", "tf32", False, True)
        with cuda_arithmetic(GPU):
            assert current() == ("ieee", "ieee", "ieee", False, True)
        assert current() == ("tf32", "tf32", "tf32", False, True)
    assert current() == before


def test_settings_are_given_back_after_an_error() -> None:
    before = current()
    with pytest.raises(KeyError), cuda_arithmetic(GPU):
        raise KeyError
    assert current() == before


def test_other_devices_need_no_settings() -> None:
    before = current()
    with cuda_arithmetic(torch.device("cpu"), tf32=True):
        assert current() == before


def test_the_names_of_earlier_versions_read_as_before() -> None:
    def legacy() -> tuple[object, ...] | str:
        try:
            return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        except RuntimeError:
            return "set by their new names"

    before = legacy()
    with cuda_arithmetic(GPU):
        pass
    assert legacy() == before


def test_threads_that_ask_for_different_arithmetic_take_turns() -> None:
    before, inside, found = current(), threading.Event(), []

    def other() -> None:
        inside.wait()
        with cuda_arithmetic(GPU, tf32=True):
            found.append(current()[0])

    thread = threading.Thread(target=other)
    thread.start()
    with cuda_arithmetic(GPU):
        inside.set()
        thread.join(0.05)
        assert current()[0] == "ieee"
        assert not found
    thread.join()
    assert found == ["tf32"]
    assert current() == before
