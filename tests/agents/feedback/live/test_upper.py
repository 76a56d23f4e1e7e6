"""The layers that learn, run by themselves, give what the whole model gives, and the same gradients."""

import pytest
import torch

from dyngen_agents.feedback.live.config import LiveConfig
from dyngen_agents.feedback.live.upper import UpperLayers
from dyngen_agents.feedback.live.weights import choose_weights, twin
from dyngen_env.lm.engine.forward import whole_rows
from tests.support.tiny_models import tiny_model

TOKENS = torch.tensor([[5, 9, 40, 3, 77, 12], [8, 2, 60, -1, -1, -1]])


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gpt-neox", "opt"])
def test_they_compute_what_the_whole_model_does(name):
    base = tiny_model(name)
    names = choose_weights(base, LiveConfig(last_layers=1))
    lm = twin(base, names)
    upper = UpperLayers.of(lm, twin(base), 1)
    assert upper is not None
    learning = [p.requires_grad_(True) for n, p in lm.named_parameters() if n in names]
    with torch.no_grad():
        for parameter in learning:  # they have learned: the base has not
            parameter.mul_(0.9)
        below = [upper.base_hidden(row[row >= 0].unsqueeze(0))[1] for row in TOKENS]
    gradients = []
    for hidden in (upper(TOKENS, below), whole_rows(lm, TOKENS)):
        seen = hidden[TOKENS >= 0]
        gradients.append(torch.autograd.grad(seen.pow(2).sum(), learning))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_where_every_layer_learns_nothing_is_left_out():
    lm = tiny_model("gpt2")
    assert UpperLayers.of(lm, twin(lm), 2) is None


def test_a_model_that_cannot_be_run_from_the_middle_is_run_whole(monkeypatch):
    base = tiny_model("gpt2")
    monkeypatch.setattr(type(base.base_model.h[0]), "forward", lambda *_, **__: None)
    assert UpperLayers.of(base, twin(base), 1) is None
