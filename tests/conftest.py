"""What all tests share: repeatable draws, and one thread so that tests run side by side."""

import hypothesis
import torch

hypothesis.settings.register_profile("fullfield", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("fullfield")
torch.set_num_threads(1)
