"""Acting and evaluating are the same distribution; padding and splits change nothing; V is zero at first."""

import pytest
import torch

from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from tests.support.architectures import tiny
from tests.support.small import small_env, small_lm, small_policy

SAMPLINGS = [SamplingConfig(), SamplingConfig(temperature=0.7), SamplingConfig(top_k=20), SamplingConfig(top_p=0.8)]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_evaluate_gives_the_logprobs_stored_at_sampling(sampling):
    """So the ratio is one and the KL zero at the first minibatch; dropout in the config must not matter."""
    env = small_env()
    policy = small_policy(env, sampling=sampling)
    policy.train()  # as a careless training loop would
    batch = collect(env, Actor(policy, seed=1), 32, seed=0)
    new = policy.evaluate(batch.tokens, batch.completion_mask)
    torch.testing.assert_close(new.logprobs, batch.logprobs, atol=1e-5, rtol=0)
    assert (new.logprobs[~batch.completion_mask] == 0).all()
    reference = Reference(policy.lm, policy.distribution)
    torch.testing.assert_close(
        reference.logprobs(batch.tokens, batch.completion_mask), batch.logprobs, atol=1e-5, rtol=0
    )


def test_the_value_is_zero_at_first_and_then_the_heads():
    env = small_env()
    policy = small_policy(env)
    batch = collect(env, Actor(policy, seed=1), 16, seed=0)
    assert (batch.values == 0).all()
    torch.nn.init.normal_(policy.value_head.weight)
    batch = collect(env, Actor(policy, seed=1), 16, seed=0)
    new = policy.evaluate(batch.tokens, batch.completion_mask)
    assert (batch.values[batch.completion_mask] != 0).all()
    torch.testing.assert_close(new.values, batch.values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt-neo", "opt-350m", "mistral", "bloom", "llama, leftover window"])
def test_it_acts_as_it_evaluates_whatever_the_architecture(name):
    """Windows shorter than the rows, a head narrower than the layers, positions that are made in the attention."""
    env = small_env()
    lm = tiny(name, vocabulary=264)
    policy = CausalLMPolicy(lm, env.token_distribution())
    torch.nn.init.normal_(policy.value_head.weight)
    batch = collect(env, Actor(policy, seed=1), 32, seed=0)
    assert int(batch.lengths.max()) > 16 and int(batch.lengths.min()) < 12
    new = policy.evaluate(batch.tokens, batch.completion_mask)
    torch.testing.assert_close(new.logprobs, batch.logprobs, atol=1e-4, rtol=0)
    torch.testing.assert_close(new.values, batch.values, atol=1e-4, rtol=1e-4)


def test_padding_and_splitting_change_nothing():
    env = small_env()
    policy = small_policy(env)
    batch = collect(env, Actor(policy, seed=2), 16, seed=0)
    whole = policy.evaluate(batch.tokens, batch.completion_mask)
    width = int(batch.lengths.max())
    trimmed = policy.evaluate(batch.tokens[:, :width], batch.completion_mask[:, :width])
    halves = [policy.evaluate(batch.tokens[i : i + 8], batch.completion_mask[i : i + 8]) for i in (0, 8)]
    for k in range(3):
        torch.testing.assert_close(whole[k][:, :width], trimmed[k], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(whole[k], torch.cat([h[k] for h in halves]), atol=1e-5, rtol=1e-5)


def test_illegal_tokens_are_never_sampled_and_entropy_is_never_negative():
    env = small_env()
    policy = small_policy(env)
    batch = collect(env, Actor(policy, seed=3), 64, seed=0)
    chosen = batch.tokens[batch.completion_mask]
    assert env.action_masks()[chosen.numpy()].all()
    assert set(batch.finish_reasons) <= {"stop", "length"}
    assert (policy.evaluate(batch.tokens, batch.completion_mask).entropies >= 0).all()


def test_the_actor_repeats_with_its_seed():
    env = small_env()
    policy = small_policy(env)
    first, again, other = (collect(env, Actor(policy, seed=s), 16, seed=5).tokens for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_model_that_is_not_causal_is_refused():
    with pytest.raises(ValueError, match="BertLMHeadModel cannot be used: it is not causal"):
        CausalLMPolicy(tiny("bert"), TokenDistribution())


def test_a_head_narrower_than_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="policy has 264 tokens, env has 300"):
        CausalLMPolicy(small_lm(), TokenDistribution(torch.ones(300, dtype=torch.bool)))


def test_a_greedy_policy_acts_and_can_be_scored_but_has_no_gradient():
    env = small_env()
    policy = small_policy(env, sampling=SamplingConfig(temperature=0))
    batch = collect(env, Actor(policy, 0), 16, seed=0)
    with torch.no_grad():
        assert (policy.evaluate(batch.tokens, batch.completion_mask).logprobs == 0).all()
    with pytest.raises(ValueError, match="temperature is 0, which is greedy"):
        policy.evaluate(batch.tokens, batch.completion_mask)
    always = small_policy(env)
    assert torch.equal(batch.tokens, collect(env, Actor(always, 0, deterministic=True), 16, seed=0).tokens)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_exact_kl_is_that_of_the_distributions_that_are_drawn_from(temperature):
    env = small_env()
    policy = small_policy(env, sampling=SamplingConfig(temperature=temperature))
    reference = Reference(small_lm(seed=5).eval(), policy.distribution)
    batch = collect(env, Actor(policy, seed=1), 8, seed=0)
    kls = policy.evaluate(batch.tokens, batch.completion_mask, reference=reference).kls
    row, column = (int(x[3]) for x in batch.completion_mask.nonzero(as_tuple=True))
    before = batch.tokens[row : row + 1, :column]
    distributions = []
    for lm in (policy.lm, reference.lm):
        logits = lm(before).logits[0, -1] / temperature
        distributions.append(
            logits[: len(policy.distribution.legal)].masked_fill(~policy.distribution.legal, -torch.inf)
        )
    p, q = (logits[policy.distribution.legal].log_softmax(0).detach() for logits in distributions)
    assert float(kls[row, column].detach()) == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-5)
    assert (kls[~batch.completion_mask] == 0).all()
    itself = policy.evaluate(batch.tokens, batch.completion_mask, reference=Reference(policy.lm, policy.distribution))
    assert float(itself.kls.detach().abs().max()) < 1e-6


def test_values_without_gradient_leave_the_language_model_alone():
    env = small_env()
    policy = small_policy(env)
    torch.nn.init.normal_(policy.value_head.weight)
    batch = collect(env, Actor(policy, seed=1), 4, seed=0)
    for reaches in (True, False):
        policy.zero_grad()
        policy.evaluate(batch.tokens, batch.completion_mask, value_gradient=reaches).values.sum().backward()
        assert policy.value_head.weight.grad is not None
        assert any(p.grad is not None and p.grad.any() for p in policy.lm.parameters()) == reaches
