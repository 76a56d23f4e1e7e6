"""Keeps transformers from writing progress bars and notices on the terminal."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import logging as hub_logging

from dyngen_env.lm.loading.exclusive import exclusive


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block transformers logs errors only and shows no bars; afterwards it is as it was before.

    These settings are the process's, so other threads wait (`exclusive`).
    """
    with exclusive():
        from transformers.utils import logging as hf_logging

        verbosity, hub_verbosity = hf_logging.get_verbosity(), hub_logging.get_verbosity()
        had_bars = hf_logging.is_progress_bar_enabled()
        hf_logging.set_verbosity_error()
        hub_logging.set_verbosity_error()
        hf_logging.disable_progress_bar()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            hf_logging.set_verbosity(verbosity)
            hub_logging.set_verbosity(hub_verbosity)
            if had_bars:
                hf_logging.enable_progress_bar()
