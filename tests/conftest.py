"""What every test runs under: one thread, no display, no network."""

import gc
import logging
import os

# Before torch, transformers and matplotlib are imported: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # tokenizers warn when a process that used threads forks

import hypothesis
import pytest
import torch

torch.set_num_threads(1)  # the order of float sums, hence the last bits, depends on it

# The same examples in every run; the first call into torch alone would break a deadline.
hypothesis.settings.register_profile("dyngen", deadline=None, derandomize=True)
hypothesis.settings.load_profile("dyngen")


def pytest_collection_finish():
    """What has been imported by now stays: without this the garbage collector goes through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _one_thread():
    """Whatever a test has set: the next one would compute other last bits, or time how many threads are best."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def _loggers_as_before():
    """The command sets how much our loggers say; tests of other files must not find more than they ask for."""
    loggers = [logging.getLogger(name) for name in ("dyngen_env", "dyngen_agents")]
    before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    yield
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:], logger.propagate = handlers, propagate
