"""The exact KL of next-token distributions: PyTorch's own formula, its gradient, tokens that cannot be drawn."""

import pytest
import torch
from torch.nn import functional

from dyngen_env.lm import divergence as module
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.divergence import next_token_kl
from dyngen_env.lm.logit_chunks import LogitChunks

WIDTH = 11


@pytest.fixture(
    params=[(2**21, 2**24), (3 * WIDTH, 2**24), (3 * WIDTH, 0)], ids=["one chunk", "many", "computed twice"]
)
def chunked(request, monkeypatch):
    monkeypatch.setattr(module, "logit_chunks", lambda device: LogitChunks(*request.param, entropy=WIDTH))


def test_it_equals_kl_div_and_so_does_its_gradient(chunked):
    generator = torch.Generator().manual_seed(0)
    hidden, ref_hidden = torch.randn(2, 10, 8, generator=generator)
    head, ref_head = torch.randn(2, 8, WIDTH, generator=generator)
    hidden.requires_grad_(), head.requires_grad_(), ref_head.requires_grad_()
    kl = next_token_kl(hidden, ref_hidden, None, lambda h, _: h @ head, lambda h, _: h @ ref_head)
    logp, ref_logp = (hidden @ head).log_softmax(-1), (ref_hidden @ ref_head).log_softmax(-1).detach()
    expected = functional.kl_div(ref_logp, logp, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(kl, expected)
    weights = torch.rand(10, generator=generator)
    ours = torch.autograd.grad((weights * kl).sum(), (hidden, head))
    theirs = torch.autograd.grad((weights * expected).sum(), (hidden, head))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    with pytest.raises(RuntimeError):  # the reference stays what it is
        torch.autograd.grad(
            next_token_kl(hidden, ref_hidden, None, lambda h, _: h @ head, lambda h, _: h @ ref_head).sum(), ref_head
        )


def test_tokens_that_cannot_be_drawn_add_nothing():
    logits = torch.tensor([[0.3, -1.0, 7.0, 0.0]], requires_grad=True)
    ref_logits = torch.tensor([[0.0, 0.0, -3.0, 0.0]])
    warp = TokenDistribution(torch.tensor([True, True, False, True])).warp
    kl = next_token_kl(logits, ref_logits, None, warp, warp)
    p = torch.tensor([0.3, -1.0, 0.0]).softmax(0)
    torch.testing.assert_close(kl, (p * (p * 3).log()).sum().unsqueeze(0))  # the reference is uniform over three
    kl.sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad[0, 2] == 0


def test_no_state_is_no_divergence():
    assert next_token_kl(torch.zeros(0, 4), torch.zeros(0, 4), None, lambda h, _: h, lambda h, _: h).shape == (0,)
