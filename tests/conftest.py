"""What every test runs under: one thread, no display, no network."""

import os

# Before torch, transformers and matplotlib are imported: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # tokenizers warn when a process that used threads forks

import hypothesis
import torch

torch.set_num_threads(1)  # the order of float sums, hence the last bits, depends on it

# The same examples in every run; the first call into torch alone would break a deadline.
hypothesis.settings.register_profile("dyngen", deadline=None, derandomize=True)
hypothesis.settings.load_profile("dyngen")
