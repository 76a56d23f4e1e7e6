"""Rollouts against what people use: `python -m benchmarks.rollout [--json PATH] [--device cuda]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import gymnasium as gym
import torch

from benchmarks import setting
from benchmarks.harness import Row, compare, main, rate
from dyngen_agents import Actor, CausalLMPolicy, collect
from dyngen_agents.algorithms.feedback_conditioned import FeedbackConditionedConfig
from dyngen_agents.policy.feedback_memory import MemoryActor
from dyngen_env import TextGenVectorEnv
from dyngen_env.lm import hidden_states, load_model, sample, uniforms


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    device, repeats = arguments.device, arguments.repeats
    for batch in (64, 256):
        yield against_generate(batch, repeats, device)
    yield smollm2_against_generate(16, 32, repeats, device)
    yield with_a_memory(64, repeats, device)
    yield env_share(256, repeats, device)
    yield step_time(64, repeats, device)
    if device == "cpu":
        yield memory()
    yield plain_calls(64, 48, min(repeats, 3), device)
    yield plain_calls(64, 192, min(repeats, 2), device)


def against_generate(batch: int, repeats: int, device: str) -> Row:
    """Policy, sampling, log-prob, value, env step and reward, against `generate` alone."""
    plain = setting.model(device=device)  # an instance of its own: our engine fuses the activations of its model
    env = setting.env(batch, device=device)
    policy = CausalLMPolicy(setting.model(device=device), env.token_distribution())
    prompt = env.reset(seed=0)[0][:, : setting.PROMPT]

    def ours() -> float:
        return float(collect(env, Actor(policy, seed=1), batch, seed=0).completion_lengths.sum())

    return compare(
        f"full rollout, batch {batch}", "transformers.generate alone",
        rate(ours, device), rate(lambda: generate(plain, prompt, setting.NEW), device), "tokens/s", repeats,
    )  # fmt: skip


@torch.no_grad()
def generate(lm, prompt: torch.Tensor, new: int, **options: Any) -> float:
    """transformers' own sampling, all rows to the full length."""
    out = lm.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new, min_new_tokens=new,
        do_sample=True, top_k=0, top_p=1.0, temperature=1.0, pad_token_id=0, **options,
    )  # fmt: skip
    return float((out.shape[1] - prompt.shape[1]) * len(prompt))


def smollm2_against_generate(batch: int, new: int, repeats: int, device: str) -> Row:
    """The same on SmolLM2-135M, with its own tokenizer and film review prompts."""
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    lm = load_model("smollm2", device=device, dtype=dtype)
    settings: dict[str, Any] = dict(
        tokenizer=None, model="smollm2", prompts=["The film begins with a long and very quiet"] * 2
    )
    env = setting.env(batch, new, device=device, max_context_tokens=new + 16, **settings)
    policy = CausalLMPolicy(lm, env.token_distribution())
    tokens, _ = env.reset(seed=0)
    prompt = tokens[:, : int((tokens[0] >= 0).sum())]

    def ours() -> float:
        return float(collect(env, Actor(policy, seed=1), batch, seed=0).completion_lengths.sum())

    return compare(
        f"full rollout, SmolLM2-135M, batch {batch}, {new} tokens", "transformers.generate alone",
        rate(ours, device), rate(lambda: generate(lm, prompt, new), device), "tokens/s", repeats,
    )  # fmt: skip


def with_a_memory(batch: int, repeats: int, device: str) -> Row:
    """Dialogues of dialogue-lm, as `dyngen train feedback-conditioned` plays them, against those without a memory."""
    made = gym.make_vec("dyngen/Dialogue-v0", num_envs=batch, output="torch", autoreset_mode="same_step", device=device)
    env = cast("TextGenVectorEnv", made.unwrapped)
    policy = CausalLMPolicy(load_model("dialogue-lm", device=device), env.token_distribution())
    sizes = FeedbackConditionedConfig()

    def played(actor: Callable[[], Actor]) -> Callable[[], float]:
        return rate(lambda: float(collect(env, actor(), batch, seed=0).completion_lengths.sum()), device)

    memory = partial(MemoryActor, policy, 1, note_tokens=sizes.note_tokens, kept_notes=sizes.kept_notes)
    return compare(
        f"dialogues with a memory, batch {batch}", "without one", played(memory), played(partial(Actor, policy, 1)),
        "tokens/s", repeats,
    )  # fmt: skip


def env_share(batch: int, repeats: int, device: str) -> Row:
    """The part of a rollout's time that is spent inside the env (steps, resets, rewards)."""
    env = setting.env(batch, device=device)
    policy = CausalLMPolicy(setting.model(device=device), env.token_distribution())
    inside = 0.0

    def watched(method):
        def call(*args, **kwargs):
            nonlocal inside
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                inside += time.perf_counter() - start

        return call

    env.step, env.reset = watched(env.step), watched(env.reset)

    def share() -> float:
        nonlocal inside
        inside, start = 0.0, time.perf_counter()
        collect(env, Actor(policy, seed=1), batch, seed=0)
        return 100 * inside / (time.perf_counter() - start)

    return compare(f"env's share of a rollout, batch {batch}", "the whole rollout", share, lambda: 100.0, "%", repeats)


def plain_calls(batch: int, new: int, repeats: int, device: str) -> Row:
    """A loop that passes nothing but observations to the policy, against the same loop without a cache."""
    lm = setting.model(device=device)
    env = setting.env(batch, new, device=device, reward=lambda text: 0.0)
    policy = CausalLMPolicy(lm, env.token_distribution())
    rows = torch.arange(batch, device=device)

    def loop(choose) -> float:
        tokens, _ = env.reset(seed=0)
        for step in range(new):
            uniform = uniforms(1, rows, torch.full_like(rows, step))
            tokens = env.step(choose(tokens, uniform))[0]
        return float(batch * new)

    def cached(tokens: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        return policy.act(tokens, (tokens >= 0).sum(1), uniform).tokens

    @torch.no_grad()
    def uncached(tokens: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        lengths = (tokens >= 0).sum(1)
        hidden = hidden_states(lm, tokens[:, : int(lengths.max())])
        return sample(policy.logits(hidden[rows, lengths - 1], policy.distribution.state(tokens, lengths)), uniform)[0]

    return compare(
        f"plain policy(obs) calls, batch {batch}, {new} tokens", "the uncached loop",
        rate(lambda: loop(cached), device), rate(lambda: loop(uncached), device), "tokens/s", repeats,
    )  # fmt: skip


def step_time(batch: int, repeats: int, device: str) -> Row:
    """Time per token-step of long episodes, against short ones."""

    def of(new: int):
        env = setting.env(batch, new, device=device)
        policy = CausalLMPolicy(setting.model(device=device), env.token_distribution())
        per_second = rate(lambda: float(collect(env, Actor(policy, 1), batch, seed=0).completion_lengths.sum()), device)
        return lambda: 1e6 / per_second()

    return compare("time per token-step at 192 new tokens", "at 24", of(192), of(24), "us/token", repeats)


def memory() -> Row:
    """Peak memory of a rollout beyond model and KV cache: vocabulary 50k, batch 64, 256 new tokens, in a process."""
    out = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    peak, kv = map(float, out.stdout.split())
    return dict(measure="peak memory beyond model and KV cache, vocabulary 50k, batch 64, 256 tokens",
                peer="the KV cache", ours=peak, theirs=kv, ratio=peak / kv, unit="MB")  # fmt: skip


MEMORY = """
import re, torch
from dyngen_agents import Actor, CausalLMPolicy, collect
from benchmarks import setting
torch.set_num_threads(2)
lm = setting.model(50_000)
env = setting.env(64, 256, 50_000)
policy = CausalLMPolicy(lm, env.token_distribution())
env.reset(seed=0)
policy.act(torch.zeros(1, 2, dtype=torch.long), torch.tensor([2]), torch.zeros(1))  # what torch itself allocates
policy.engine.invalidate()
megabytes = lambda key: int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = megabytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the high-water mark starts again from here
collect(env, Actor(policy, 1), 64, seed=0)
kv = 2 * 4 * 64 * (16 + 256) * 256 * 4 / 2**20
print(megabytes("VmHWM") - before - kv, kv)
"""


if __name__ == "__main__":
    main(__doc__, measure)
