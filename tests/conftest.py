"""What all tests share: repeatable draws, and one thread so that tests run side by side."""

import os
import signal
import sys
from collections.abc import Iterator

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("fullfield", deadline=None, derandomize=True, print_blob=True, max_examples=60)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)  # --hypothesis-profile thorough
hypothesis.settings.load_profile("fullfield")
torch.set_num_threads(1)
os.environ["FULLFIELD_CACHE"] = ""  # engines keep no compiled programs in the user's folder
# A shell that starts the tests in the background has them ignore Ctrl-C, and all processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def _seed_fixtures() -> None:
    """Weights that a module's fixtures draw are the same in every run."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Weights that a test draws are the same in every run, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def threads_switch_often() -> Iterator[None]:
    """A thread hands over to the next after a microsecond, not after 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
