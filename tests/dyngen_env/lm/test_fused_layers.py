"""Fused norms and rotary positions: which layers are found, and that everything is as it was afterwards."""

import sys
from types import SimpleNamespace

import pytest
import torch
from transformers.models.llama import modeling_llama

from dyngen_env.lm.engine.fused_layers import fused_layers
from tests.support.tiny_models import tiny_model


def rms_norm(x, weight, eps):
    calls.append("norm")
    return torch.nn.functional.rms_norm(x, x.shape[-1:], weight, eps)


def rotate(q, k, cos, sin):
    """As complex numbers, whose real parts are the first half of a head and imaginary parts the second."""
    calls.append("rotary")
    half = q.shape[-1] // 2
    turn = torch.complex(cos[..., :half], sin[..., :half]).unsqueeze(1)
    turned = [torch.complex(x[..., :half], x[..., half:]) * turn for x in (q, k)]
    return tuple(torch.cat([x.real, x.imag], -1) for x in turned)


calls: list[str] = []


@pytest.fixture(autouse=True)
def kernels_without_a_gpu(monkeypatch):
    fake = SimpleNamespace(rms_norm=rms_norm, rotate=rotate)
    monkeypatch.setitem(sys.modules, "dyngen_env.lm.engine.layer_kernels", fake)
    import dyngen_env.lm.engine as engine

    monkeypatch.setattr(engine, "layer_kernels", fake, raising=False)
    calls.clear()


def last_logits(model, tokens):
    with torch.no_grad():
        positions = torch.arange(tokens.shape[1]) + torch.tensor([[4], [2]])  # of rows of different lengths
        return model(input_ids=tokens, position_ids=positions).logits[:, -1]


@pytest.mark.parametrize(
    ("architecture", "norms", "rotary"),
    [("llama", 5, 2), ("qwen2", 5, 2), ("gpt2", 0, 0), ("gpt-neox", 0, 0), ("opt", 0, 0), ("gemma2", 0, 2)],
)
def test_layers_are_found_and_give_what_they_gave(architecture, norms, rotary):
    """Gemma multiplies by 1 + weight, which the kernel does not; GPT-NeoX rotates a part of each head."""
    model = tiny_model(architecture)
    token = torch.tensor([[3], [5]])  # the kernels take one position a row
    expected = last_logits(model, token)
    with fused_layers(model):
        ours = last_logits(model, token)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert (calls.count("norm"), calls.count("rotary")) == (norms, rotary)


def test_longer_rows_take_the_architectures_own_formula():
    model, tokens = tiny_model("llama"), torch.tensor([[3, 4, 5], [6, 7, 8]])
    expected = last_logits(model, tokens)
    with fused_layers(model):
        torch.testing.assert_close(last_logits(model, tokens), expected, atol=1e-5, rtol=1e-5)
    assert "rotary" not in calls


def test_afterwards_everything_is_as_it_was_even_after_an_error():
    model, formula = tiny_model("llama"), modeling_llama.apply_rotary_pos_emb
    with pytest.raises(KeyError), fused_layers(model):
        assert modeling_llama.apply_rotary_pos_emb is not formula
        raise KeyError
    assert modeling_llama.apply_rotary_pos_emb is formula
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="Triton kernels need a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_give_what_transformers_gives(dtype, monkeypatch):
    monkeypatch.undo()
    from dyngen_env.lm.engine.layer_kernels import rms_norm, rotate

    norm = modeling_llama.LlamaRMSNorm(576, 1e-5).to("cuda", dtype)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(7, 1, 576, device="cuda", dtype=dtype)
    torch.testing.assert_close(rms_norm(x, norm.weight, 1e-5), norm(x))
    q, k = (torch.randn(7, 1, heads, 64, device="cuda", dtype=dtype).transpose(1, 2) for heads in (9, 3))
    angles = torch.randn(7, 1, 32, device="cuda").repeat(1, 1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    for ours, theirs in zip(rotate(q, k, cos, sin), modeling_llama.apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        torch.testing.assert_close(ours, theirs)
