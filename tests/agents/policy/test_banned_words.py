"""A policy in an env with banned words: it never writes one, and what it stores is what it would evaluate."""

import re
from dataclasses import replace

import pytest
import torch

from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.lm.loading.models import load_model
from tests.support.bans import PROMPTS, banned_in
from tests.support.bans import WORDS as BANNED
from tests.support.small import small_env, small_policy

WORDS = ("the", "a", "of", "and", "film", "is")


@pytest.mark.parametrize("sampling", [SamplingConfig(temperature=1.3), SamplingConfig(top_k=20)], ids=str)
def test_sampling_and_evaluation_keep_to_what_is_legal(sampling):
    env = TextGenVectorEnv(
        16, model="reviews-lm", reward="length", banned=WORDS, max_new_tokens=16, max_context_tokens=48,
        prompts=["Well,", "The acting:"], output="torch", autoreset_mode="same_step",
    )  # fmt: skip
    policy = CausalLMPolicy(load_model("reviews-lm"), env.token_distribution(sampling))
    batch = collect(env, Actor(policy, seed=0), 32, seed=0)
    assert set(batch.finish_reasons) <= {"stop", "length"}
    found = re.compile(rf"(?<![A-Za-z0-9_])({'|'.join(WORDS)})(?![A-Za-z0-9_])", re.IGNORECASE)
    assert not [text for text in batch.texts if found.search(text)]
    new = policy.evaluate(batch.tokens, batch.completion_mask)
    torch.testing.assert_close(new.logprobs, batch.logprobs, atol=1e-4, rtol=0)
    reference = Reference(policy.lm, policy.distribution).logprobs(batch.tokens, batch.completion_mask)
    torch.testing.assert_close(reference, batch.logprobs, atol=1e-4, rtol=0)
    free = CausalLMPolicy(
        policy.lm, replace(policy.distribution, banned=None)
    )  # without the ban its choices are less likely
    assert float(free.evaluate(batch.tokens, batch.completion_mask).logprobs.sum()) < float(batch.logprobs.sum()) - 1


@pytest.mark.parametrize("sampling", [None, SamplingConfig(temperature=0), SamplingConfig(top_p=0.7)], ids=str)
@pytest.mark.parametrize("deterministic", [False, True])
def test_no_actor_writes_one(sampling, deterministic):
    env = small_env(prompts=PROMPTS, banned=BANNED)
    policy = small_policy(env, sampling=sampling)
    batch = collect(env, Actor(policy, 0, deterministic=deterministic), 32, seed=0)
    assert set(batch.finish_reasons) <= {"stop", "length"}
    assert not banned_in(batch.texts, batch.prompts)
    policy.distribution = replace(policy.distribution, banned=None)  # whoever does not know of them writes them
    assert "illegal" in collect(env, Actor(policy, 0, deterministic=deterministic), 32, seed=0).finish_reasons


def test_a_policy_takes_its_distribution_along():
    policy = small_policy(small_env(banned=BANNED)).to("meta")
    assert policy.distribution.legal.device.type == "meta"
    assert policy.distribution.banned.allowed(torch.zeros(1, dtype=torch.int64, device="meta")).device.type == "meta"
