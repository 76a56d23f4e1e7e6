"""The kernel distance, against a loop over pairs and against what it must be on average."""

import pytest
import torch

from dyngen_agents.functional.text_distance import kernel_distance


def test_it_is_the_mean_over_pairs_of_different_texts():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 5))

    def mean(a, b, same):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and i == j)]
        return sum((float(a[i] @ b[j]) / 3 + 1) ** 3 for i, j in pairs) / len(pairs)

    expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    assert kernel_distance(x, y) == pytest.approx(expected)


def test_samples_of_one_distribution_are_as_near_as_chance_and_others_are_farther():
    generator = torch.Generator().manual_seed(1)
    draws = [torch.randn(30, 4, generator=generator) for _ in range(80)]
    same = torch.tensor([kernel_distance(a, b) for a, b in zip(draws[::2], draws[1::2], strict=True)])
    assert abs(float(same.mean())) < 3 * float(same.std()) / len(same) ** 0.5
    shifted, narrow = draws[0] + 1.0, draws[0] * 0.1  # of another kind; all alike
    assert kernel_distance(shifted, draws[1]) > float(same.max()) < kernel_distance(narrow, draws[1])
