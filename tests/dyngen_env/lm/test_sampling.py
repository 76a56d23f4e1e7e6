"""Sampling has the right distribution, its uniforms are a pure function, log-probs are those of the distribution."""

import torch

from dyngen_env.lm.sampling import greedy, sample, uniforms


def test_samples_have_the_distribution_of_the_softmax():
    """Pearson's χ² with 19 degrees of freedom: 43.8 is exceeded with probability 0.001."""
    logits = torch.randn(20, generator=torch.Generator().manual_seed(0))
    n = 200_000
    tokens, _ = sample(logits.expand(n, -1), uniforms(7, torch.arange(n), torch.zeros(n, dtype=torch.long)))
    expected = logits.softmax(0) * n
    chi2 = ((torch.bincount(tokens, minlength=20) - expected) ** 2 / expected).sum()
    assert chi2 < 43.8


def test_uniforms_are_uniform_over_rows_and_over_steps():
    """χ² over 100 bins, 99 degrees of freedom: 148.2 is exceeded with probability 0.001."""
    n = 100_000
    zeros, count = torch.zeros(n, dtype=torch.long), torch.arange(n)
    for rows, steps in ((count, zeros), (zeros, count)):
        u = uniforms(3, rows, steps)
        assert u.min() >= 0 and u.max() < 1
        chi2 = ((torch.histc(u, 100, 0, 1) - n / 100) ** 2 / (n / 100)).sum()
        assert chi2 < 148.2
        neighbours = torch.corrcoef(torch.stack([u[:-1], u[1:]]))[0, 1]
        assert abs(neighbours) < 0.01


def test_a_rows_uniforms_do_not_depend_on_the_other_rows():
    rows, steps = torch.arange(8), torch.full((8,), 5)
    torch.testing.assert_close(uniforms(1, rows, steps)[3:4], uniforms(1, rows[3:4], steps[:1]), rtol=0, atol=0)
    assert not torch.equal(uniforms(1, rows, steps), uniforms(2, rows, steps))


def test_the_extremes_of_the_uniform_pick_tokens_that_have_mass():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]])
    assert sample(logits, torch.tensor([0.0]))[0].item() == 1
    assert sample(logits, torch.tensor([1 - 2.0**-24]))[0].item() == 3


def test_logprobs_of_samples_and_of_the_greedy_choice():
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    tokens, logprobs = greedy(logits)
    assert tokens.item() == 1
    torch.testing.assert_close(logprobs, logits.log_softmax(-1)[:, 1])
    tokens, logprobs = sample(logits, torch.tensor([0.99]))  # CDF 0.090, 0.755, 1
    assert tokens.item() == 2
    torch.testing.assert_close(logprobs, logits.log_softmax(-1)[:, 2])
