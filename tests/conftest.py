"""What all tests share: repeatable draws, and one thread so that tests run side by side."""

import signal

import hypothesis
import torch

hypothesis.settings.register_profile("fullfield", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("fullfield")
torch.set_num_threads(1)
# A shell that starts the tests in the background has them ignore Ctrl-C, and all processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
