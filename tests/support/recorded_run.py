"""Two updates of a tiny model, with everything that was computed on the way: for test_distributed.py."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmConfig
from dyngen_agents.algorithms.dpo import DPOConfig
from dyngen_agents.algorithms.grpo import GRPOConfig
from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCEConfig
from dyngen_agents.algorithms.vine import VineConfig
from dyngen_agents.distributed.processes import SINGLE_PROCESS, LaunchedProcesses, Processes
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.from_python import FromPython
from dyngen_agents.runs.learner import Learner

# 10 episodes in 4 rows: an uneven share. Minibatches of 9 and 1: in the second a process has nothing to do.
PPO = PPOConfig(epochs=1, minibatch_size=9, max_tokens=64, kl_target=0.1, kl_horizon=50, kl_coef=0.2, ent_coef=0.01)
# One of them scales its reward first, which 256 episodes in so few rows make slow.
RUNS: dict[str, tuple[AlgorithmConfig, dict[str, int]]] = {
    "ppo": (PPO, dict(normalise_reward=True)),
    "lora": (PPO, dict(lora_rank=2)),
    "rloo": (REINFORCEConfig(baseline="rloo", group_size=2), {}),
    "grpo": (GRPOConfig(group_size=2, epochs=1, minibatch_size=7, loss_normalisation="sequence"), {}),
    "dpo": (DPOConfig(group_size=2, minibatch_size=3, max_tokens=64), {}),
    "vine": (VineConfig(forks=2, fork_every=3, epochs=1, minibatch_size=9), {}),
    "rebn": (REINFORCEConfig(baseline="rebn", minibatch_size=4), {}),
}


def vowels(text: str) -> float:
    return sum(text.count(v) for v in "aeiou") + len(text) / 10


def record(model: str, prompts: str, name: str, processes: Processes = SINGLE_PROCESS) -> dict[str, Tensor]:
    """Batches, metrics, the gradient of every step, and the weights at the end, by name."""
    algorithm, changes = RUNS[name]
    sizes = dict(max_new_tokens=6, num_envs=4, episodes=10, updates=2) | changes
    config = TrainConfig(model=model, prompts=prompts, **sizes)  # type: ignore[arg-type]
    learner = Learner(config, algorithm, FromPython(vowels), processes=processes)
    optimizer = learner.algorithm.common.optimizer
    out: dict[str, Tensor] = {"gain": torch.tensor(learner.reward_scale.gain)}
    step = optimizer.adam.step

    def recorded_step() -> None:
        for i, parameter in enumerate(optimizer.parameters):
            out[f"gradient.{optimizer.steps}.{i}"] = parameter.grad.clone()
        step()

    optimizer.adam.step = recorded_step  # type: ignore[method-assign,assignment]
    for update in range(config.updates):
        batch = learner.play()
        metrics = learner.learn(batch)
        out[f"tokens.{update}"], out[f"logprobs.{update}"] = batch.tokens, batch.logprobs
        out |= {f"metric.{update}.{key}": torch.tensor(v) for key, v in metrics.items() if not isinstance(v, dict)}
    out["kl_coef"] = torch.tensor(learner.algorithm.common.kl_control.coef)
    weights = {f"weight.{key}": p.detach().clone() for key, p in learner.policy.named_parameters()}
    return out | weights


def record_as(rank: int, folder: Path, model: str, prompts: str, name: str) -> None:
    """`record` as one of two processes, which meet by a file in `folder`; what was computed is <rank>.safetensors."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = record(model, prompts, name, LaunchedProcesses(rank, 2))
    save_file({key: tensor.contiguous() for key, tensor in found.items()}, folder / f"{rank}.safetensors")
    dist.destroy_process_group()
