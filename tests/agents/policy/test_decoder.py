"""The captured step on a simulated GPU: what a graph may hold, when it is dropped, how often the host reads."""

import pytest
import torch

from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_env.lm.distribution import SamplingConfig
from tests.support.simulated_cuda import needs_compiler, put_module, simulated
from tests.support.simulated_graphs import use_simulated_graphs
from tests.support.small import small_env, small_lm, small_policy
from tests.support.tiny_models import VOCABULARY, tiny_model

pytestmark = needs_compiler


@pytest.fixture
def device(monkeypatch):
    use_simulated_graphs(monkeypatch)
    with simulated() as counts:
        yield counts


def on_device(policy, env):
    put_module(policy)
    policy.distribution = env.token_distribution(policy.distribution.sampling)
    return policy


def collected(device, sampling=None, episodes=16, **options):
    env = small_env(8, device=device, **options)
    policy = small_policy(env, sampling=sampling)
    return collect(env, Actor(on_device(policy, env) if device != "cpu" else policy, 3), episodes, seed=0).to(
        "cpu"
    ), policy


@pytest.mark.parametrize(
    "options",
    [{}, dict(banned=["a"]), dict(stop=["e"]), dict(sampling=SamplingConfig(0.7, top_k=20, top_p=0.9))],
    ids=["plain", "banned", "stop", "top-p"],
)
def test_a_replayed_graph_gives_what_the_cpu_gives(options, device, caplog):
    with torch.utils._python_dispatch._disable_current_modes():
        theirs, _ = collected("cpu", **options)
    ours, policy = collected("cuda:0", **options)
    assert torch.equal(ours.tokens, theirs.tokens)
    assert torch.equal(ours.rewards, theirs.rewards)
    torch.testing.assert_close(ours.logprobs, theirs.logprobs, atol=1e-5, rtol=1e-5)
    assert [decoder.captures for decoder in policy.decoders.values()] == [1]
    assert not caplog.records  # nothing was refused


def started(rows=8, **options):
    env = small_env(rows, device="cuda", **options)  # without an index, as people write it
    policy = on_device(small_policy(env), env)
    collect(env, Actor(policy, 3), rows, seed=0)
    return env, policy, next(iter(policy.decoders.values()))


def test_a_replay_is_one_launch_and_reads_nothing(device):
    env, _, decoder = started()
    decoder.load(env.state, torch.zeros(8, dtype=torch.bool, device="cuda:0"))
    device.reset()
    decoder.run(4, 20, greedy=False)
    assert device.ops["graph"] == 4
    assert (device.reads, device.transfers) == ([], [])
    decoder.read()
    assert len(device.reads) == 1


def test_weights_that_are_trained_in_place_keep_the_graph(device):
    env, policy, decoder = started()
    with torch.no_grad():
        for parameter in policy.lm.parameters():
            parameter.mul_(1.1)
    ours = collect(env, Actor(policy, 5), 8, seed=1)
    fresh = CausalLMPolicy(policy.lm, policy.distribution)
    theirs = (
        collect(env, lambda tokens, lengths: actor(tokens, lengths), 8, seed=1) if (actor := Actor(fresh, 5)) else None
    )
    assert torch.equal(ours.tokens.real_, theirs.tokens.real_)
    assert decoder.captures == 1


def replaced_weight(policy, env):
    layer = policy.lm.transformer.h[0].mlp.c_fc
    layer.weight = torch.nn.Parameter(layer.weight * 2)


def another_distribution(policy, env):
    policy.distribution = env.token_distribution(SamplingConfig(temperature=0.5))


@pytest.mark.parametrize("change", [replaced_weight, another_distribution])
def test_what_is_replaced_drops_the_graph(change, device):
    env, policy, decoder = started()
    change(policy, env)
    ours = collect(env, Actor(policy, 5), 8, seed=1)
    actor = Actor(policy, 5)
    theirs = collect(env, lambda tokens, lengths: actor(tokens, lengths), 8, seed=1)
    assert torch.equal(ours.tokens.real_, theirs.tokens.real_)
    assert decoder.captures == 2


def test_a_step_that_cannot_be_captured_runs_uncaptured_with_a_warning(device, monkeypatch, caplog):
    env = small_env(8, device="cuda:0")
    policy = on_device(small_policy(env), env)
    value = policy.value
    monkeypatch.setattr(policy, "value", lambda hidden: value(hidden) + 0 * float(hidden.sum()))  # a host read
    ours = collect(env, Actor(policy, 3), 8, seed=0)
    assert "cannot be captured" in caplog.text and len(caplog.records) == 1
    actor = Actor(policy, 3)
    theirs = collect(env, lambda tokens, lengths: actor(tokens, lengths), 8, seed=0)
    assert torch.equal(ours.tokens.real_, theirs.tokens.real_)


def test_compile_is_asked_for_by_one_of_three_words():
    with pytest.raises(ValueError, match="True, False or"):
        CausalLMPolicy(small_lm(), small_env(2).token_distribution(), compile="always")


def test_rows_of_other_shapes_have_decoders_of_their_own_and_few_are_kept(device):
    lm = put_module(small_lm())
    env = small_env(4, device="cuda:0")
    policy = on_device(CausalLMPolicy(lm, env.token_distribution()), env)
    for rows in (4, 2, 3, 3):
        collect(small_env(rows, device="cuda:0"), Actor(policy, 0), rows, seed=0)
    assert [rows for rows, _ in policy.decoders] == [2, 3]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral-sliding", "gemma2", "gpt-neox"])
def test_other_architectures_can_be_captured(architecture, device, caplog):
    env = small_env(4, tokenizer="bytes", device="cuda:0", max_context_tokens=40)
    lm = tiny_model(architecture)
    assert len(env.tokenizer) > VOCABULARY
    head = torch.nn.Linear(lm.get_output_embeddings().in_features, 264, bias=False)
    torch.nn.init.normal_(head.weight, std=0.3, generator=torch.Generator().manual_seed(0))
    lm.set_output_embeddings(head)
    lm.get_input_embeddings().weight.data = lm.get_input_embeddings().weight.data.repeat(3, 1)[:264]
    policy = on_device(CausalLMPolicy(put_module(lm), env.token_distribution()), env)
    ours = collect(env, Actor(policy, 1), 6, seed=0)
    actor = Actor(policy, 1)
    theirs = collect(env, lambda tokens, lengths: actor(tokens, lengths), 6, seed=0)
    assert torch.equal(ours.tokens.real_, theirs.tokens.real_)
    assert not caplog.records
