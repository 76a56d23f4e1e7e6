"""What the learner makes of the env's rewards before it learns from them: one scale, one penalty."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dyngen_agents.data.trajectories import Trajectories


@dataclass(frozen=True)
class RewardScale:
    """R ← gain R + bias, for the return R of an episode."""

    gain: float = 1.0
    bias: float = 0.0


UNSCALED = RewardScale()


def standardising(returns: Tensor) -> RewardScale:
    """The scale that gives returns (N,) mean 0 and deviation 1: gain 1/σ, bias -μ/σ (Ziegler et al. 2019, sec. 2.2).

    Raises:
        ValueError: the returns are all equal, which no gain can spread.
    """
    deviation, mean = float(returns.double().std()), float(returns.double().mean())
    if not deviation > 1e-8:
        raise ValueError(
            f"normalise_reward: all {len(returns)} episodes of the untrained model return {mean:g}, so the reward "
            "cannot be scaled: leave the option out, or choose a reward that tells completions apart"
        )
    return RewardScale(1 / deviation, -mean / deviation)


def scaled_rewards(batch: Trajectories, scale: RewardScale, missing_eos_penalty: float = 0.0) -> Tensor:
    """The batch's rewards (N, L) whose sums are gain R + bias, less the penalty where the agent did not end its last
    turn itself.

    Bias and penalty are paid at the last token that the agent chose.
    """
    positions = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
    last = (positions * batch.completion_mask).argmax(1, keepdim=True)  # (N, 1)
    at_end = scale.bias - missing_eos_penalty * (~batch.stopped).to(batch.rewards.dtype)  # (N,)
    return (scale.gain * batch.rewards).scatter_add(1, last, at_end.unsqueeze(1))
