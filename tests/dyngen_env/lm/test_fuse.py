"""Fused formulas give the numbers of transformers' own, with the same weights under the same names."""

import copy
import pickle

import pytest
import torch
from torch import nn

from dyngen_env.lm.engine.fuse import fuse_elementwise
from tests.support.tiny_models import VOCABULARY, tiny_model

# Two norms in each of two layers and one after them; Gemma's formula is another, and GPT-2 has none.
NORMS = {"llama": 5, "qwen2": 5, "mistral-sliding": 5, "gemma2": 0, "gpt2": 0}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_logits_and_the_weights_are_the_models_own(name, dtype):
    plain = tiny_model(name).to(dtype)
    fused = copy.deepcopy(plain)
    fuse_elementwise(fused)
    assert sum(isinstance(module, nn.RMSNorm) for module in fused.modules()) == NORMS[name]
    tokens = torch.arange(24).view(2, 12) * 31 % VOCABULARY
    near = dict(atol=1e-5, rtol=1e-5) if dtype == torch.float32 else dict(atol=0.02, rtol=0.02)
    torch.testing.assert_close(fused(input_ids=tokens).logits, plain(input_ids=tokens).logits, **near)
    ours, theirs = fused.state_dict(), plain.state_dict()
    assert list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_gradients_are_the_models_own():
    plain = tiny_model("llama")
    fused = copy.deepcopy(plain)
    fuse_elementwise(fused)
    for model in (plain, fused):
        model(input_ids=torch.arange(10).unsqueeze(0)).logits.pow(2).mean().backward()
    for (name, a), (other, b) in zip(plain.named_parameters(), fused.named_parameters(), strict=True):
        assert name == other
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-4)


def test_a_fused_model_is_copied_and_pickled_as_any_other():
    model = tiny_model("llama")
    weights = dict(model.named_parameters())
    fuse_elementwise(model)
    assert all(weights[name] is parameter for name, parameter in model.named_parameters())  # an optimizer holds them
    tokens = torch.arange(5).unsqueeze(0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(input_ids=tokens).logits, model(input_ids=tokens).logits)
