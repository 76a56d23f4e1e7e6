"""A real pretrained model of 135 M parameters takes one small PPO update on the CPU."""

import copy

import gymnasium as gym
import torch

import dyngen_env  # noqa: F401  (registers the ids)
from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.loading.models import load_model


def test_smollm2_learns_from_one_batch():
    env = gym.make_vec(
        "dyngen/Sentiment-v0", num_envs=4, model="smollm2", max_new_tokens=8, output="torch", autoreset_mode="same_step"
    )
    policy = CausalLMPolicy(load_model("smollm2", fresh=True), env.token_distribution())
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    learner = PPO(policy, reference, PPOConfig(learning_rate=1e-5, epochs=1, minibatch_size=4, warmup_steps=0))
    batch = collect(env, learner.actor(0), 4, seed=0)
    with torch.no_grad():
        new = policy.evaluate(batch.tokens, batch.completion_mask)
    torch.testing.assert_close(new.logprobs, batch.logprobs, atol=1e-3, rtol=0)  # 30 layers in float32
    before = policy.lm.model.layers[0].mlp.up_proj.weight.detach().clone()
    metrics = learner.update(batch)
    assert abs(metrics["kl"]) < 1e-2 and metrics["clip_fraction"] == 0  # the reference is the policy itself
    assert 0 < metrics["entropy"] < 11  # log 49152 = 10.8
    assert not torch.equal(before, policy.lm.model.layers[0].mlp.up_proj.weight)
