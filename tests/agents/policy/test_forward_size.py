"""How many tokens go through one forward pass: always as many on a CPU, on a GPU what fits."""

import pytest
import torch

from dyngen_agents.policy import forward_size
from dyngen_agents.policy.forward_size import affordable_tokens, bytes_per_token, tokens_of_a_forward
from tests.support.tiny_models import tiny_model


def test_a_cpu_takes_1024():
    assert tokens_of_a_forward(tiny_model("gpt2")) == 1024


@pytest.mark.parametrize("free, tokens", [(70e9, 2**15), (1e15, 2**16), (1e6, 1), (-1e9, 1)])
def test_a_gpu_takes_a_power_of_two_that_half_of_its_memory_holds(free, tokens):
    assert affordable_tokens(int(free), per_token=1_000_000) == tokens


def test_the_bytes_of_a_token_are_counted_by_matrices():
    """Llama, D 32, intermediate 64, 4 heads of 8, 2 of them for keys: q 64, k and v 48 each, o 64, 3 x 96 a layer."""
    elements = 2 * (64 + 48 + 48 + 64 + 3 * 96)
    assert bytes_per_token(tiny_model("llama")) == 2 * elements * 4
    assert bytes_per_token(tiny_model("llama").bfloat16()) == 2 * elements * 2


def test_what_the_first_step_will_allocate_is_left_out(monkeypatch):
    model = tiny_model("llama")
    trained = sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(type(model), "device", property(lambda self: torch.device("cuda")))
    monkeypatch.setattr(forward_size, "free_memory", lambda device: 16 * trained + 2 * 100 * bytes_per_token(model))
    assert tokens_of_a_forward(model) == 64
