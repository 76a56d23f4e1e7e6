"""A byte-level env and a tiny policy for tests of the learners."""

from __future__ import annotations

import gymnasium as gym
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import dyngen_env  # noqa: F401  (registers the ids)
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_env.lm.distribution import SamplingConfig


def share_of_vowels(text: str) -> float:
    return sum(c in "aeiou" for c in text) / 8


def small_env(num_envs: int = 16, **options):
    settings = dict(
        tokenizer="bytes",
        prompts=["ab", "hello", "x", "some longer words"],
        reward=share_of_vowels,
        max_new_tokens=8,
        max_context_tokens=32,
        output="torch",
        autoreset_mode="same_step",
    )
    return gym.make_vec("dyngen/Generate-v0", num_envs=num_envs, **(settings | options))


def small_lm(seed: int = 0, spread: float = 0.3) -> GPT2LMHeadModel:
    """A random GPT-2 over bytes, untied so that its first distribution is not flat."""
    sizes = dict(vocab_size=264, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=256, eos_token_id=257)
    config = GPT2Config(**sizes, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
        for p in model.parameters():
            if p.dim() > 1:
                torch.nn.init.normal_(p, std=spread)
    return model


def small_policy(env, seed: int = 0, sampling: SamplingConfig | None = None, **options) -> CausalLMPolicy:
    return CausalLMPolicy(small_lm(seed, **options), env.token_distribution(sampling))
