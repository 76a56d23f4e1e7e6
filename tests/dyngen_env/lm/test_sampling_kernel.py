"""The kernel that samples gives the draws and log-probs of float64. Without a GPU Triton's interpreter runs it."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported
kernel = pytest.importorskip("dyngen_env.lm.sampling_kernel", reason="Triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LAST = 1 - 2.0**-24  # the largest of the uniform numbers


def in_float64(logits, legal, uniform, temperature):
    """Inverse CDF and log-prob of one row, token by token."""
    logits = logits.double()[: len(legal)] / temperature
    shares = logits.masked_fill(~legal, -torch.inf).softmax(0)
    token = next(i for i in range(len(legal)) if shares[: i + 1].sum() > uniform)
    return token, shares[token].log()


@pytest.fixture(params=[4096, 32], ids=["one block", "many blocks"])
def block(request, monkeypatch):
    monkeypatch.setattr(kernel, "LARGEST_BLOCK", request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_draws_and_logprobs_are_those_of_float64(dtype, block):
    """A head that is wider than the vocabulary, at a temperature that is not 1; a fifth of the tokens is illegal."""
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(6, 203, generator=generator)).to(dtype)
    logits[:, 201:] = 50  # of no token
    legal = torch.rand(201, generator=generator) > 0.2
    uniform = torch.rand(6, generator=generator)
    tokens, logprobs = kernel.fused_sample(logits.to(DEVICE), legal.to(DEVICE), uniform.to(DEVICE), 0.7)
    expected = [in_float64(row, legal, float(u), 0.7) for row, u in zip(logits, uniform, strict=True)]
    assert tokens.tolist() == [token for token, _ in expected]
    torch.testing.assert_close(
        logprobs.cpu().double(), torch.stack([logprob for _, logprob in expected]), atol=1e-5, rtol=0
    )


def test_without_illegal_tokens_and_between_rows_that_are_not_contiguous(block):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 2, 100, generator=generator)[:, 1]
    uniform = torch.rand(4, generator=generator)
    tokens, logprobs = kernel.fused_sample(logits.to(DEVICE), None, uniform.to(DEVICE), 1.0)
    everything = torch.ones(100, dtype=torch.bool)
    expected = [in_float64(row, everything, float(u), 1.0) for row, u in zip(logits, uniform, strict=True)]
    assert tokens.tolist() == [token for token, _ in expected]
    torch.testing.assert_close(logprobs.cpu().double(), torch.stack([p for _, p in expected]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("uniform", "expected"), [(0.0, 40), (LAST, 90)])
def test_the_extremes_of_the_uniform_pick_tokens_that_have_mass(uniform, expected, block):
    """Legal are 40 and 90, and 10 and 120 whose probability underflows; the blocks of 32 from 0, 64 and 96 have few."""
    logits, legal = torch.zeros(1, 128), torch.zeros(128, dtype=torch.bool)
    legal[[10, 40, 90, 120]] = True
    logits[0, [10, 120]] = -300.0
    tokens, logprobs = kernel.fused_sample(
        logits.to(DEVICE), legal.to(DEVICE), torch.tensor([uniform], device=DEVICE), 1.0
    )
    assert tokens.tolist() == [expected]
    assert logprobs.tolist() == pytest.approx([-0.693147], abs=1e-5)


def test_many_tokens_of_little_mass_leave_no_gap_at_the_end(block):
    """Sums of float32 miss 1, so that no cumulative sum may pass the largest uniform number."""
    generator = torch.Generator().manual_seed(2)
    logits, legal = torch.randn(3, 500, generator=generator), torch.rand(500, generator=generator) > 0.5
    legal[450:] = False
    tokens, logprobs = kernel.fused_sample(
        logits.to(DEVICE), legal.to(DEVICE), torch.full((3,), LAST, device=DEVICE), 1.0
    )
    assert legal[tokens.cpu()].all() and logprobs.isfinite().all()


def test_what_is_no_number_draws_a_token_of_the_vocabulary_and_no_logprob():
    """Whatever comes next indexes by the token; the log-prob tells."""
    tokens, logprobs = kernel.fused_sample(
        torch.full((1, 8), torch.nan, device=DEVICE), None, torch.tensor([0.5], device=DEVICE), 1.0
    )
    assert 0 <= tokens.item() < 8 and logprobs.isnan().all()


def test_it_is_an_operator_of_torch_with_the_right_shapes():
    logits, legal = torch.zeros(2, 6, device=DEVICE), torch.ones(5, dtype=torch.bool, device=DEVICE)
    torch.library.opcheck(kernel.fused_sample, (logits, legal, torch.tensor([0.1, 0.9], device=DEVICE), 1.0))
