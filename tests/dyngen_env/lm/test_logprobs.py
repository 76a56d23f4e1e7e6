"""Log-probs and entropies in chunks equal the plain formula, with and without gradients."""

import pytest
import torch
from torch.nn import functional

from dyngen_env.lm import logprobs as module
from dyngen_env.lm.distribution import PLAIN, TokenDistribution
from dyngen_env.lm.logit_chunks import LogitChunks
from dyngen_env.lm.logprobs import completion_logprobs, logprobs_and_entropy, token_scores
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


def kls_of(hidden, ref_hidden, logits_of, ref_logits_of):
    targets = torch.zeros(len(hidden), dtype=torch.long)
    return token_scores(hidden, targets, None, logits_of, ref_hidden=ref_hidden, ref_logits_of=ref_logits_of).kls


def test_the_divergence_equals_kl_div_and_so_does_its_gradient(chunked):
    generator = torch.Generator().manual_seed(0)
    hidden, ref_hidden = torch.randn(2, 10, 8, generator=generator)
    head, ref_head = torch.randn(2, 8, VOCABULARY, generator=generator)
    hidden.requires_grad_(), head.requires_grad_(), ref_head.requires_grad_()
    kl = kls_of(hidden, ref_hidden, lambda h, _: h @ head, lambda h, _: h @ ref_head)
    logp, ref_logp = (hidden @ head).log_softmax(-1), (ref_hidden @ ref_head).log_softmax(-1).detach()
    expected = functional.kl_div(ref_logp, logp, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(kl, expected)
    weights = torch.rand(10, generator=generator)
    ours = torch.autograd.grad((weights * kl).sum(), (hidden, head))
    theirs = torch.autograd.grad((weights * expected).sum(), (hidden, head))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    with pytest.raises(RuntimeError):  # the reference stays what it is
        torch.autograd.grad(
            kls_of(hidden, ref_hidden, lambda h, _: h @ head, lambda h, _: h @ ref_head).sum(), ref_head
        )


def test_tokens_that_cannot_be_drawn_add_nothing_to_the_divergence():
    logits = torch.tensor([[0.3, -1.0, 7.0, 0.0]], requires_grad=True)
    ref_logits = torch.tensor([[0.0, 0.0, -3.0, 0.0]])
    warp = TokenDistribution(torch.tensor([True, True, False, True])).warp
    kl = kls_of(logits, ref_logits, warp, warp)
    p = torch.tensor([0.3, -1.0, 0.0]).softmax(0)
    torch.testing.assert_close(kl, (p * (p * 3).log()).sum().unsqueeze(0))  # the reference is uniform over three
    kl.sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad[0, 2] == 0
