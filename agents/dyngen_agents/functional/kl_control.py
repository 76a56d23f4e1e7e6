"""How strongly a policy is held to its reference: the coefficient β of a KL penalty in the reward."""

import math
from typing import Protocol

import torch
from torch import Tensor

from dyngen_agents.functional.losses import kl_k1


def kl_penalised_rewards(
    rewards: Tensor, logprobs: Tensor, ref_logprobs: Tensor, completion_mask: Tensor, coef: float
) -> Tensor:
    """rₜ − β (log π_old − log π_ref)ₜ at the tokens the agent chose; other entries unchanged.

    Ziegler et al. 2019, eq. 2, spread over the tokens. All tensors (N, L); log-probs in nats, of the
    policy that sampled. A constant to the update: no gradient flows through the penalty.
    """
    penalty = coef * kl_k1(logprobs, ref_logprobs).detach()
    return torch.where(completion_mask, rewards - penalty, rewards)


def later_kl_penalised_rewards(
    rewards: Tensor, logprobs: Tensor, ref_logprobs: Tensor, completion_mask: Tensor, coef: float
) -> Tensor:
    """rₜ − β (log π_old − log π_ref)ₜ₊₁, where t+1 is the agent's next choice in the episode.

    For an update whose loss has β KL(π(·|sₜ)‖π_ref(·|sₜ)) in it, with the exact gradient: what is left of the gradient
    of an episode's KL is what a choice does to the KL of the choices after it. A choice then is not charged for its
    own log-ratio, whose expected gradient the loss has without noise. Shapes as in `kl_penalised_rewards`.
    """
    penalty = coef * kl_k1(logprobs, ref_logprobs).detach()
    rows, columns = completion_mask.nonzero(as_tuple=True)  # in each row from left to right
    follows = rows[1:] == rows[:-1]
    out = rewards.clone()
    out[rows[:-1][follows], columns[:-1][follows]] -= penalty[rows[1:][follows], columns[1:][follows]]
    return out


def kl_metrics(logprobs: Tensor, ref_logprobs: Tensor, completion_mask: Tensor) -> dict[str, float]:
    """How far a policy is from its reference, in nats: "kl", summed over an episode's tokens, and "kl_per_token".

    Means over episodes and over tokens. All tensors (N, L); log-probs of the policy that sampled.
    """
    kl = (kl_k1(logprobs, ref_logprobs) * completion_mask).sum(1)  # (N,)
    return {"kl": float(kl.mean()), "kl_per_token": float(kl.sum() / completion_mask.sum())}


class KLController(Protocol):
    """Gives β, and may change it after each batch of episodes."""

    coef: float

    def update(self, kl_per_sequence: float, n_episodes: int) -> None:
        """Learn the mean KL of the last `n_episodes`, in nats, summed over each episode's tokens."""

    def state_dict(self) -> dict[str, float]: ...

    def load_state_dict(self, state: dict[str, float]) -> None: ...


class FixedKLController:
    """β stays what it was."""

    def __init__(self, coef: float) -> None:
        self.coef = _valid_coef(coef)

    def update(self, kl_per_sequence: float, n_episodes: int) -> None:
        """Nothing to adapt."""

    def state_dict(self) -> dict[str, float]:
        return {"coef": self.coef}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.coef = _valid_coef(state["coef"])


class AdaptiveKLController:
    """β follows the KL: a proportional controller in log β. Ziegler et al. 2019, sec. 2.2:

        e = clip(KL_seq/KL_target − 1, −0.2, 0.2)
        β ← β (1 + e n/H)

    The paper writes K_β = 0.1 for n/H; its code, like this, has n the episodes of the batch and H a
    horizon in episodes. `target` is in nats per episode. That code's style tasks have target 6, H 10000.
    """

    def __init__(self, coef: float, target: float, horizon: float) -> None:
        if target <= 0 or horizon <= 0:
            raise ValueError(f"target is {target} and horizon is {horizon}, both must be positive")
        self.coef, self.target, self.horizon = _valid_coef(coef), target, horizon

    def update(self, kl_per_sequence: float, n_episodes: int) -> None:
        """Raise β if the KL was above its target, lower it if below.

        Raises ValueError, with β unchanged, if the KL is not finite, or if the batch is so large for the
        horizon (n ≥ 5H) that β could lose its sign.
        """
        if not math.isfinite(kl_per_sequence):
            raise ValueError(f"kl_per_sequence is {kl_per_sequence}, expected a finite number of nats")
        _check_horizon(n_episodes, self.horizon)
        error = min(max(kl_per_sequence / self.target - 1, -0.2), 0.2)
        self.coef *= 1 + error * n_episodes / self.horizon

    def state_dict(self) -> dict[str, float]:
        return {"coef": self.coef}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.coef = _valid_coef(state["coef"])


def kl_controller(coef: float, target: float | None, horizon: float, n_episodes: int) -> KLController:
    """A fixed β if `target` is None, else an adaptive one for batches of `n_episodes`.

    Raises:
        ValueError: batches so large for the horizon that β could lose its sign.
    """
    if target is None:
        return FixedKLController(coef)
    _check_horizon(n_episodes, horizon)
    return AdaptiveKLController(coef, target, horizon)


def _check_horizon(n_episodes: int, horizon: float) -> None:
    if n_episodes >= 5 * horizon:
        raise ValueError(
            f"{n_episodes} episodes at horizon {horizon} could make the coefficient negative: "
            f"choose a horizon above {n_episodes / 5}"
        )


def _valid_coef(coef: float) -> float:
    if not 0 <= coef < math.inf:
        raise ValueError(f"coef is {coef}, expected a finite number, zero or above")
    return coef
