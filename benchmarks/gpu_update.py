"""A PPO update on a GPU: `python -m benchmarks.gpu_update [--device cuda] [--json PATH]`, in less than a minute.

256 episodes of 10 + 64 tokens, 4 epochs, 64 episodes a gradient step, on a random model of SmolLM2-135M's shape. Each
part has its own errors: one that fails prints its traceback, and the others go on. `--tiny --device cpu` runs all parts
on sizes that say nothing, which shows that the script works.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import setting
from benchmarks.gpu_setting import SMOLLM2, TINY, release, sync
from benchmarks.harness import machine, versions
from dyngen_agents import PPO, CausalLMPolicy, PPOConfig, Reference, collect
from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.data.batching import map_in_batches
from dyngen_agents.data.trajectories import Trajectories
from dyngen_env.lm.distribution import TokenDistribution
from dyngen_env.lm.engine.heads import hidden_states
from dyngen_env.lm.logprobs import logprobs_and_entropy

Row = dict[str, Any]

PROMPT = 10


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    device: str
    model: dict[str, Any]
    episodes: int = 256
    new: int = 64
    minibatch: int = 64
    epochs: int = 4
    repeats: int = 2


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes for a look at the script itself")
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in PARTS], help="these parts alone")
    parser.add_argument("--seconds", type=float, default=55, help="parts that come after so many are left out")
    parser.add_argument("--json", type=Path, help="write the rows there as well, one a line")
    chosen = parser.parse_args(arguments)
    sizes = Sizes(chosen.device, SMOLLM2)
    if chosen.tiny:
        sizes = Sizes(chosen.device, TINY, episodes=8, new=6, minibatch=4, epochs=2, repeats=1)

    def tell(row: Row) -> None:
        line = json.dumps(row)
        print(line, flush=True)
        if chosen.json:
            with chosen.json.open("a") as file:
                file.write(line + "\n")

    begin = time.perf_counter()
    tell({"part": "machine", **machine(chosen.device), **versions()})
    for part in PARTS:
        passed = time.perf_counter() - begin
        if chosen.only and part.__name__ not in chosen.only:
            continue
        if passed > chosen.seconds:
            tell({"part": part.__name__, "left out": f"{passed:.0f} s are over"})
            continue
        try:
            for row in part(sizes):
                tell({"part": part.__name__, **row})
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            tell({"part": part.__name__, "failed": f"{type(error).__name__}: {error}"[:500]})
        tell({"part": part.__name__, "seconds": round(time.perf_counter() - begin - passed, 1)})
        release(chosen.device)


def update(sizes: Sizes) -> Iterator[Row]:
    """The row that is quoted: bfloat16, everything by default."""
    yield measured_update(sizes, torch.bfloat16)


def captured(sizes: Sizes) -> Iterator[Row]:
    """The same with the trunk's two passes as CUDA graphs: first whether its gradients are those without."""
    policy = random_policy(sizes, torch.bfloat16)
    batch = random_batch(policy, sizes)
    with_graphs, without = (gradient(policy, batch, sizes, wish) for wish in (True, False))
    again = gradient(policy, batch, sizes, True)
    yield {
        "gradient_off_by": relative(with_graphs, without),
        "of_a_second_replay": relative(again, with_graphs),
        "graphs": [list(shape) for shape in policy.trunk._graphs],
        "norm": round(float(torch.cat([g.flatten() for g in without]).norm()), 4),
    }
    yield measured_update(sizes, torch.bfloat16, captured=True)


def gradient(policy: CausalLMPolicy, batch: Trajectories, sizes: Sizes, wish: bool) -> list[torch.Tensor]:
    """Of the log-probs of a minibatch, in float32."""
    policy.trunk.captured = wish
    optimizer = PolicyOptimizer(policy.parameters(), learning_rate=1e-9)
    rows = slice(0, sizes.minibatch)
    mask = batch.completion_mask[rows]
    optimizer.backward(policy.evaluate(batch.tokens[rows], mask).logprobs[mask].mean())
    return [m.grad.clone() for m in optimizer.masters if m.grad is not None]


def relative(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    """Norm of the difference over the norm."""
    a, b = (torch.cat([g.flatten() for g in gradients]) for gradients in (some, others))
    return float((a - b).norm() / b.norm())


def rollout_mismatch(sizes: Sizes) -> Iterator[Row]:
    """|log-prob of the rollout - log-prob of the first minibatch| a token, from real rollouts."""
    for dtype in (torch.bfloat16, torch.float32):
        policy = random_policy(sizes, dtype)
        words = setting.Words(sizes.model["vocab_size"])
        env = setting.env(
            sizes.minibatch, new=sizes.new, device=sizes.device, tokenizer=words, reward=len, prompts=setting.prompts(),
            max_context_tokens=setting.PROMPT + sizes.new,
        )  # fmt: skip
        policy = CausalLMPolicy(policy.lm, env.token_distribution())
        learner = learner_of(policy, sizes, epochs=1)
        sync(sizes.device)
        start = time.perf_counter()
        batch = collect(env, learner.actor(1), sizes.minibatch, seed=0)
        sync(sizes.device)
        seconds = time.perf_counter() - start
        metrics = learner.update(batch)
        yield {
            "dtype": name_of(dtype),
            "mean": metrics["rollout_mismatch"],
            "max": metrics["rollout_mismatch_max"],
            "approx_kl_of_the_update": metrics["approx_kl"],
            "rollout_tokens_per_s": round(int(batch.completion_mask.sum()) / seconds),
        }


def profile(sizes: Sizes) -> Iterator[Row]:
    """Where the time of an epoch with graphs goes: how long the GPU is busy, and with which kernels most."""
    if not sizes.device.startswith("cuda"):
        return
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    policy = random_policy(sizes, torch.bfloat16)
    policy.trunk.captured = True
    learner = learner_of(policy, sizes, epochs=1)
    batch = random_batch(policy, sizes)
    learner.update(batch)
    sync(sizes.device)
    with profiler(activities=[ProfilerActivity.CUDA]) as found:
        start = time.perf_counter()
        learner.update(batch)
        sync(sizes.device)
        wall = time.perf_counter() - start
    kernels = [event for event in found.key_averages() if event.self_device_time_total > 0]
    busy = sum(event.self_device_time_total for event in kernels) / 1e3
    yield {"wall_ms": round(wall * 1e3, 1), "busy_ms": round(busy, 1), "kernels": sum(e.count for e in kernels)}
    for event in sorted(kernels, key=lambda event: -event.self_device_time_total)[:14]:
        yield {"ms": round(event.self_device_time_total / 1e3, 2), "count": event.count, "kernel": event.key[:110]}


def pieces(sizes: Sizes) -> Iterator[Row]:
    """The parts of one gradient step, in ms."""
    policy = random_policy(sizes, torch.bfloat16)
    learner = learner_of(policy, sizes)
    tokens = random_tokens(sizes)[: sizes.minibatch]
    width = sizes.model["hidden_size"]
    count = sizes.minibatch * sizes.new
    hidden = torch.randn(count, width, device=sizes.device, dtype=torch.bfloat16, requires_grad=True)
    targets = tokens[:, PROMPT:].flatten()

    def trunk() -> None:
        learner.common.optimizer.backward(hidden_states(policy.lm, tokens[:, :-1]).float().mean())

    def trunk_forward() -> None:
        with torch.no_grad():
            hidden_states(policy.lm, tokens[:, :-1])

    def logits() -> None:
        logprobs_and_entropy(hidden, targets, None, policy.logits)[0].sum().backward()

    def logits_forward() -> None:
        with torch.no_grad():
            logprobs_and_entropy(hidden, targets, None, policy.logits)

    trunk()
    steps: dict[str, Callable[[], Any]] = {
        "trunk, forward": trunk_forward,
        "trunk, both passes": trunk,
        "logits, forward": logits_forward,
        "logits, both passes": logits,
        "optimizer's step": learner.common.optimizer.step,
    }
    for what, work in steps.items():
        work()
        sync(sizes.device)
        start = time.perf_counter()
        for _ in range(sizes.repeats):
            if what.startswith("optimizer"):
                for master in learner.common.optimizer.masters:
                    master.grad = torch.zeros_like(master)
            work()
        sync(sizes.device)
        yield {"what": what, "ms": round((time.perf_counter() - start) / sizes.repeats * 1e3, 2)}


def variants(sizes: Sizes) -> Iterator[Row]:
    """The same update otherwise: in pieces as small as on a CPU, with less memory, and in float32."""
    yield {"what": "pieces of 4096 tokens", **measured_update(sizes, torch.bfloat16, max_tokens=4096)}
    yield {"what": "layers checkpointed", **measured_update(sizes, torch.bfloat16, checkpointed=True)}
    yield {"what": "float32", **measured_update(sizes, torch.float32)}


def measured_update(
    sizes: Sizes, dtype: torch.dtype, captured: bool = False, checkpointed: bool = False, **changes: Any
) -> Row:
    """Completion tokens per second of an epoch: episodes x new x epochs over the time of a whole `PPO.update`."""
    policy = random_policy(sizes, dtype)
    policy.trunk.captured = captured
    if checkpointed:
        policy.trunk.checkpoint_layers()
    learner = learner_of(policy, sizes, **changes)
    batch = random_batch(policy, sizes)
    seconds = []
    for _ in range(1 + sizes.repeats):
        sync(sizes.device)
        if sizes.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        metrics = learner.update(batch)
        sync(sizes.device)
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30 if sizes.device.startswith("cuda") else 0.0
    best = sorted(seconds[1:])[len(seconds[1:]) // 2]
    return {
        "dtype": name_of(dtype),
        "tokens_per_s_an_epoch": round(sizes.episodes * sizes.new * sizes.epochs / best),
        "seconds": [round(x, 3) for x in seconds],
        "peak_GiB": round(peak, 2),
        "max_tokens": learner.common.max_tokens,
        "grad_norm": round(metrics["grad_norm"], 4),
        "mismatch_of_other_shapes": metrics["rollout_mismatch"],
    }


def random_policy(sizes: Sizes, dtype: torch.dtype) -> CausalLMPolicy:
    """A policy of random weights, whose control tokens are not legal."""
    with torch.random.fork_rng(), torch.device(sizes.device):  # on a GPU random numbers take no time
        torch.manual_seed(0)
        lm = LlamaForCausalLM(LlamaConfig(**sizes.model)).eval().to(dtype)  # type: ignore[arg-type]
    legal = torch.ones(sizes.model["vocab_size"], dtype=torch.bool, device=sizes.device)
    legal[sizes.model["bos_token_id"]] = False
    return CausalLMPolicy(lm, TokenDistribution(legal))


def learner_of(policy: CausalLMPolicy, sizes: Sizes, **changes: Any) -> PPO:
    config = replace(PPOConfig(), minibatch_size=sizes.minibatch, **({"epochs": sizes.epochs} | changes))
    frozen = copy.deepcopy(policy.lm).requires_grad_(False)
    return PPO(
        policy, Reference(frozen, policy.distribution), replace(config, learning_rate=1e-9)
    )  # the batch stays on-policy


def random_tokens(sizes: Sizes) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (sizes.episodes, PROMPT + sizes.new)
    return torch.randint(0, sizes.model["vocab_size"] - 2, shape, generator=generator).to(sizes.device)


def random_batch(policy: CausalLMPolicy, sizes: Sizes) -> Trajectories:
    """Episodes of random tokens with the log-probs that the policy has of them, and random rewards at their ends."""
    tokens = random_tokens(sizes)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, PROMPT:] = True
    nothing = torch.zeros(tokens.shape, device=sizes.device)
    rewards = nothing.clone()
    rewards[:, -1] = torch.rand(sizes.episodes, generator=torch.Generator().manual_seed(1)).to(sizes.device)
    groups = torch.arange(sizes.episodes, device=sizes.device)
    batch = Trajectories(tokens, mask, nothing, nothing, rewards, nothing[:, 0], groups)
    with torch.no_grad():
        logprobs = map_in_batches(lambda t, m: policy.evaluate(t, m).logprobs, batch, 4096)
    return replace(batch, logprobs=logprobs)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


PARTS = (update, captured, rollout_mismatch, pieces, profile, variants)


if __name__ == "__main__":
    main()
