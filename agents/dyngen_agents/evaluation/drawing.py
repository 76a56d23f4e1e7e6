"""What the pictures of runs have in common: two shades of grey, and a running mean."""

import numpy as np

INK, FAINT = "#333333", "#dddddd"


def running_mean(values: np.ndarray, window: int = 9) -> np.ndarray:
    """Smooth values (N,): each becomes the mean of a centred window, which at the ends has only one half."""
    half = window // 2
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])
