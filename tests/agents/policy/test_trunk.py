"""The trunk gives the same hidden states and gradients however its passes are run."""

import logging

import pytest
import torch

from dyngen_agents.policy import trunk as module
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.trunk import Trunk, padded
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.engine.heads import hidden_states
from tests.support.tiny_models import VOCABULARY, tiny_model

TOKENS = torch.arange(5 * 11).view(5, 11) * 31 % VOCABULARY
TOKENS[2, 7:] = TOKENS[4, 3:] = -1


def gradients(trunk: Trunk) -> list[torch.Tensor | None]:
    trunk.lm.zero_grad()
    hidden = trunk(TOKENS)
    (hidden[TOKENS >= 0] ** 2).mean().backward()
    return [None if p.grad is None else p.grad.clone() for p in trunk.lm.parameters()]


@pytest.fixture
def graphs(monkeypatch):
    """On a CPU a "graph" is the module itself, which takes batches of its own shape alone. What was captured."""
    made: list[tuple[int, int]] = []

    def capture(lm, shape, pool):
        whole_rows = module._WholeRows(lm)

        def replay(tokens: torch.Tensor) -> torch.Tensor:
            assert tokens.shape == shape and (tokens >= 0).all()
            return whole_rows(tokens)

        made.append(shape)
        return replay

    monkeypatch.setattr(module, "capture", capture)
    monkeypatch.setattr(Trunk, "_capturable", lambda self: True)
    return made


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral-sliding", "opt"])
def test_a_captured_trunk_sees_padded_batches_and_gives_the_same(name, graphs):
    plain, captured = Trunk(tiny_model(name)), Trunk(tiny_model(name))
    captured.captured = True
    for a, b in zip(gradients(plain), gradients(captured), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert captured(TOKENS).shape == (5, 11, plain(TOKENS).shape[-1])
    assert graphs == [(8, 16)]


def test_a_graph_serves_all_batches_of_about_its_shape_and_there_are_not_too_many(graphs, monkeypatch):
    monkeypatch.setattr(module, "MOST_GRAPHS", 2)
    trunk = Trunk(tiny_model("llama"))
    trunk.captured = True
    for rows, columns in ((5, 11), (8, 16), (3, 9), (5, 4), (1, 1), (5, 20), (17, 8)):
        tokens = torch.ones(rows, columns, dtype=torch.int64)
        torch.testing.assert_close(trunk(tokens), hidden_states(trunk.lm, tokens), atol=1e-5, rtol=1e-4)
    assert graphs == [(8, 16), (8, 8)]


def test_replaced_weights_make_new_graphs_and_trained_ones_do_not(graphs):
    trunk = Trunk(tiny_model("llama"))
    trunk.captured = True
    trunk(TOKENS)
    with torch.no_grad():
        for p in trunk.lm.parameters():
            p.mul_(1.01)
    trunk(TOKENS)
    assert len(graphs) == 1
    for p in trunk.lm.parameters():
        p.data = p.data.clone()
    trunk(TOKENS)
    assert len(graphs) == 2


def test_without_gradients_there_is_no_graph(graphs):
    trunk = Trunk(tiny_model("llama"))
    trunk.captured = True
    with torch.no_grad():
        trunk(TOKENS)
    assert not graphs


def test_a_model_that_cannot_be_captured_is_said_once_and_runs_as_it_is(monkeypatch, caplog):
    def refuse(lm, shape, pool):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(module, "capture", refuse)
    monkeypatch.setattr(Trunk, "_capturable", lambda self: True)
    trunk = Trunk(tiny_model("llama"))
    trunk.captured = True
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(trunk(TOKENS), hidden_states(trunk.lm, TOKENS))
    assert len(caplog.records) == 1 and "not permitted when stream is capturing" in caplog.text


def test_only_low_precision_on_a_gpu_is_captured():
    """Elsewhere the wish changes nothing: a graph's gradients stay in its own memory until somebody takes them."""
    for dtype in (torch.float32, torch.bfloat16):
        trunk = Trunk(tiny_model("llama").to(dtype))
        trunk.captured = True
        assert torch.equal(trunk(TOKENS), hidden_states(trunk.lm, TOKENS)) and not trunk._graphs


def test_padding_fills_up_to_the_next_multiples():
    out = padded(TOKENS)
    assert out.shape == (8, 16)
    assert torch.equal(out[:5, :11], TOKENS.clamp(min=0)) and not out[5:].any() and not out[:, 11:].any()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_checkpointed_layers_run_twice_and_give_the_same_gradients(name):
    plain, checkpointed = Trunk(tiny_model(name)), Trunk(tiny_model(name))
    checkpointed.checkpoint_layers()
    hidden_states(checkpointed.lm, TOKENS)  # the first call tries the model
    runs: list[int] = []
    attention = [m for n, m in checkpointed.lm.named_modules() if n.endswith((".attn", ".self_attn"))]
    for layer in attention:
        layer.register_forward_pre_hook(lambda *_: runs.append(1))
    for a, b in zip(gradients(plain), gradients(checkpointed), strict=True):
        assert a is b or torch.equal(a, b)  # both None, or the same bits
    assert len(runs) == 2 * len(attention) > 0
    assert not any(part.training for part in checkpointed.lm.modules())


def test_a_model_without_such_layers_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_layers", lambda lm: [])
    with pytest.raises(ValueError, match="LlamaForCausalLM has no gradient checkpointing"):
        Trunk(tiny_model("llama")).checkpoint_layers()


def test_checkpointed_layers_leave_acting_and_its_cache_alone():
    lm, other = tiny_model("llama"), tiny_model("llama")
    legal = TokenDistribution(torch.ones(VOCABULARY, dtype=torch.bool))
    policy, plain = CausalLMPolicy(lm, legal), CausalLMPolicy(other, legal)
    policy.trunk.checkpoint_layers()
    tokens = torch.full((2, 8), -1)
    tokens[:, :3] = 5
    for length in (3, 4, 5):
        mine, theirs = (p.act(tokens, torch.full((2,), length), None) for p in (policy, plain))
        assert torch.equal(mine.tokens, theirs.tokens) and torch.equal(mine.logprobs, theirs.logprobs)
        tokens[:, length] = mine.tokens
    assert policy.engine.tokens_run == plain.engine.tokens_run == 2 * 3 + 2 + 2
