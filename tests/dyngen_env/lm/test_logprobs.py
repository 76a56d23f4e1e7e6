"""Log-probs and entropies in chunks equal the plain formula, with and without gradients."""

import pytest
import torch

from dyngen_env.lm import logprobs as module
from dyngen_env.lm.distribution import PLAIN, TokenDistribution
from dyngen_env.lm.logit_chunks import LogitChunks
from dyngen_env.lm.logprobs import completion_logprobs, logprobs_and_entropy
from tests.support.tiny_models import VOCABULARY, tiny_model


@pytest.fixture(
    params=[(2**23, 2**23), (3 * VOCABULARY, 2**23), (3 * VOCABULARY, 0)],
    ids=["one chunk", "many chunks", "many chunks, computed twice"],
)
def chunked(request, monkeypatch):
    monkeypatch.setattr(module, "logit_chunks", lambda device: LogitChunks(*request.param, entropy=2 * VOCABULARY))


def test_equal_the_formula(chunked):
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(VOCABULARY, 8, generator=generator, requires_grad=True)
    hidden = torch.randn(10, 8, generator=generator)
    targets = torch.randint(0, VOCABULARY, (10,), generator=generator)
    logprobs, entropies = logprobs_and_entropy(hidden, targets, None, lambda h, _: h @ head.T, entropy_gradient=True)
    logp = (hidden @ head.T).log_softmax(-1)
    torch.testing.assert_close(logprobs, logp[torch.arange(10), targets])
    torch.testing.assert_close(entropies, -(logp.exp() * logp).sum(-1))
    (gradient,) = torch.autograd.grad(logprobs.sum() + entropies.sum(), head)
    plain = logp[torch.arange(10), targets].sum() - (logp.exp() * logp).sum()
    (expected,) = torch.autograd.grad(plain, head)
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


def test_entropy_of_excluded_tokens_is_finite_and_so_is_its_gradient():
    hidden = torch.zeros(1, 4, requires_grad=True)
    legal = torch.tensor([True, True, False, True])
    _, entropy = logprobs_and_entropy(
        hidden, torch.tensor([0]), None, TokenDistribution(legal).warp, entropy_gradient=True
    )
    torch.testing.assert_close(entropy, torch.tensor([3.0]).log())
    entropy.sum().backward()
    assert hidden.grad is not None and hidden.grad.isfinite().all()


def test_the_entropy_without_gradient_is_the_same_number():
    hidden = torch.randn(6, 5, generator=torch.Generator().manual_seed(2))
    legal = torch.tensor([True, True, False, True, True])
    arguments = hidden, torch.zeros(6, dtype=torch.long), None, TokenDistribution(legal).warp
    torch.testing.assert_close(
        logprobs_and_entropy(*arguments)[1], logprobs_and_entropy(*arguments, entropy_gradient=True)[1]
    )


def test_nothing_to_score_is_nothing():
    logprobs, entropies = logprobs_and_entropy(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), None, lambda h, _: h
    )
    assert logprobs.shape == entropies.shape == (0,)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_completions_are_scored_as_row_by_row_and_padding_changes_nothing(architecture):
    model = tiny_model(architecture)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, VOCABULARY, (3, 12), generator=generator)
    lengths = torch.tensor([12, 5, 8])
    column = torch.arange(12)
    tokens = tokens.masked_fill(column >= lengths.unsqueeze(1), -1)
    chosen = (column >= 3) & (column < lengths.unsqueeze(1))
    got = completion_logprobs(model, tokens, chosen, PLAIN)
    for row, n in enumerate(lengths.tolist()):
        with torch.no_grad():
            logp = model(input_ids=tokens[row : row + 1, :n]).logits[0].log_softmax(-1)
        expected = logp[torch.arange(2, n - 1), tokens[row, 3:n]]
        torch.testing.assert_close(got[row, 3:n], expected, atol=1e-5, rtol=1e-4)
    assert (got[~chosen] == 0).all()
