"""How good a choice turned out: rewards become returns and advantages.

Tensors of shape (N, L) hold one episode per row and one token per position, float32. `completion_mask`
is True where the agent chose the token; elsewhere (prompt, the user's words, padding) nothing is read
and the result is zero. `rewards[n, p]` came after token p, `values[n, p]` is V of the tokens before p.
Time counts the agent's choices: the user's words between two of them are part of one transition.
"""

import torch
from torch import Tensor


def gae(
    rewards: Tensor,
    values: Tensor,
    bootstrap: Tensor,
    completion_mask: Tensor,
    gamma: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation. Schulman et al. 2016, eq. 16, in its recursive form:

        δₜ = rₜ + γ V(sₜ₊₁) − V(sₜ)
        Âₜ = δₜ + γλ Âₜ₊₁
        R̂ₜ = Âₜ + V(sₜ)                (the target of the value function)

    rewards, values, completion_mask: (N, L). bootstrap: (N,), V of the final state of an episode that
    was truncated, 0 for one that has terminated, truncated as well or not. Returns advantages and
    returns, both (N, L).

    A segment that another one continues takes V′ + λÂ′ of the continuation's first choice as its
    bootstrap; the recursion then crosses the cut as if there were none.
    """
    advantages = torch.zeros_like(rewards)
    next_value, next_advantage = bootstrap, torch.zeros_like(bootstrap)
    for p in reversed(range(rewards.shape[1])):
        chosen = completion_mask[:, p]
        delta = rewards[:, p] + gamma * next_value - values[:, p]
        advantage = delta + gamma * gae_lambda * next_advantage
        advantages[:, p] = torch.where(chosen, advantage, 0.0)
        next_value = torch.where(chosen, values[:, p], next_value)
        next_advantage = torch.where(chosen, advantage, next_advantage)
    return advantages, torch.where(completion_mask, advantages + values, 0.0)


def returns_to_go(rewards: Tensor, bootstrap: Tensor, completion_mask: Tensor, gamma: float) -> Tensor:
    """What an episode still earned from each choice on: Gₜ = rₜ + γ Gₜ₊₁. Sutton & Barto 2018, eq. 3.9.

    rewards, completion_mask: (N, L). bootstrap: (N,), what follows the last choice. Returns (N, L).
    """
    returns = torch.zeros_like(rewards)
    to_go = bootstrap
    for p in reversed(range(rewards.shape[1])):
        chosen = completion_mask[:, p]
        to_go = torch.where(chosen, rewards[:, p] + gamma * to_go, to_go)
        returns[:, p] = torch.where(chosen, to_go, 0.0)
    return returns


def segment_advantages(rewards: Tensor, values: Tensor, valued: Tensor, completion_mask: Tensor) -> Tensor:
    """Advantages where the values of some states are known: the choices between two of these share one, undiscounted.

        Âₜ = Σ rᵤ + V(s_q) − V(s_p)        summed over p ≤ u < q

    s_p is the last state with a value before the choice t, s_q the next one after it; V is 0 at the end of an episode.
    With a value at each choice that is r + V(s′) − V(s). VinePPO, Kazemnejad et al. 2024, sec. 4, whose s_p are the
    beginnings of the steps of a proof.

    rewards, values, valued (bool), completion_mask: (N, L). `values` is read where `valued`, which must be True at the
    first choice of each episode and False where nothing was chosen. Returns (N, L).
    """
    segment = valued.cumsum(1)  # 1, 2, ...; 0 before the first choice
    begins = torch.where(valued, segment, 0)
    nothing = rewards.new_zeros(len(rewards), rewards.shape[1] + 2)
    paid = nothing.scatter_add(1, segment, torch.where(completion_mask, rewards, 0.0))
    value = nothing.scatter_add(1, begins, torch.where(valued, values, 0.0))  # V of each segment's first state
    advantages = paid + value.roll(-1, dims=1) - value
    return torch.where(completion_mask, advantages.gather(1, segment), 0.0)


def turn_rewards(rewards: Tensor, completion_mask: Tensor) -> Tensor:
    """What the turn that each choice belongs to was paid: the sum of its tokens' rewards, zero outside the mask.

    A turn is a run of choices. rewards, completion_mask: (N, L). Returns (N, L).
    """
    before = torch.nn.functional.pad(completion_mask[:, :-1], (1, 0))
    turn = (completion_mask & ~before).cumsum(1)  # 0 before the first
    paid = rewards.new_zeros(len(rewards), rewards.shape[1] + 1)
    paid = paid.scatter_add(1, turn, torch.where(completion_mask, rewards, 0.0))
    return torch.where(completion_mask, paid.gather(1, turn), 0.0)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries of `x` that count, a scalar. Raises ValueError if none does."""
    return _counted(x, mask, at_least=1).mean()


def masked_whiten(x: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """(x − mean)/√(var + 10⁻⁸) over the entries that count; the mean is added back if not `shift_mean`.

    Huang et al. 2023, "The N Implementation Details of RLHF with PPO": advantages are whitened with
    `shift_mean`, rewards without. The variance is the population's (1/n), as in that paper's code and
    in OpenAI's; TRL divides by n − 1. x, mask: any one shape. Returns that shape, zero outside the mask.
    """
    pivot = _pivot(_counted(x, mask, at_least=1))
    shifted = x - pivot
    counted = _counted(shifted, mask, at_least=1)
    mean, variance = counted.mean(), counted.var(correction=0)
    whitened = (shifted - mean) * torch.rsqrt(variance + 1e-8)
    return torch.where(mask, whitened if shift_mean else whitened + (mean + pivot), 0.0)


def rebn(returns: Tensor, mask: Tensor, eps: float = 1e-9) -> Tensor:
    """Return batch normalisation: A = (G − mean G)/(std G + ε) over all transitions of the batch.

    GEM, Liu et al. 2025, whose code divides the variance by n − 1. A transition is a token here and a
    turn there; a mask that is True at one token of each turn gives theirs. returns, mask: any one shape.
    Returns that shape, zero outside the mask. Raises ValueError with fewer than two transitions.
    """
    # Measured from one of them, equal returns cancel exactly; the rounding error of their mean,
    # divided by ε, would be an advantage of order one.
    shifted = returns - _counted(returns, mask, at_least=2)[0]
    counted = _counted(shifted, mask, at_least=2)
    return torch.where(mask, (shifted - counted.mean()) / (counted.std() + eps), 0.0)


def discounted_returns(rewards: Tensor, completion_mask: Tensor, gamma: float) -> Tensor:
    """The return of each episode from its first choice on, Σₜ γᵗ rₜ, t counting choices. (N, L) each -> (N,)."""
    steps = (completion_mask.cumsum(1) - 1).clamp(min=0)
    return (rewards * gamma**steps).sum(1)


def batch_baseline(episode_returns: Tensor) -> Tensor:
    """Mean return of the batch, the same for every episode.

    An episode is in its own baseline, which shrinks the expected gradient by (N − 1)/N; `rloo_baseline`
    does not. episode_returns: (N,). Returns (N,).
    """
    return episode_returns.mean().expand_as(episode_returns)


def rloo_baseline(episode_returns: Tensor, groups: Tensor) -> Tensor:
    """Mean return of the other episodes of the same prompt: bᵢ = 1/(G−1) Σ_{j≠i} Rⱼ.

    RLOO, Kool et al. 2019, Ahmadian et al. 2024. episode_returns: (N,). groups: (N,) int64,
    equal for episodes of one prompt, in any order. Returns (N,). Raises ValueError for a group of one.
    """
    together = _together(groups, episode_returns.dtype)
    return (together @ episode_returns - episode_returns) / (together.sum(1) - 1)


def group_centred(episode_returns: Tensor, groups: Tensor) -> Tensor:
    """Aᵢ = Rᵢ − mean of its group. Dr. GRPO, Liu et al. 2025. Shapes and errors of `rloo_baseline`.

    It is RLOO's advantage times (G − 1)/G.
    """
    together = _together(groups, episode_returns.dtype)
    # As the mean of Rᵢ − Rⱼ, equal returns give exactly zero.
    return (together * (episode_returns[:, None] - episode_returns)).sum(1) / together.sum(1)


def group_normalised(episode_returns: Tensor, groups: Tensor, eps: float = 1e-4) -> Tensor:
    """Aᵢ = (Rᵢ − mean of its group)/(std of its group + ε). GRPO, Shao et al. 2024, sec. 4.1.2.

    The paper has no ε and does not say which std; both are TRL's here (n − 1, 10⁻⁴). Equal returns
    give zero. Shapes and errors of `rloo_baseline`.
    """
    together = _together(groups, episode_returns.dtype)
    centred = group_centred(episode_returns, groups)
    variance = together @ centred**2 / (together.sum(1) - 1)
    return centred / (variance.sqrt() + eps)


def has_spread(episode_returns: Tensor, groups: Tensor) -> Tensor:
    """(N,) bool: whether the returns of an episode's group differ. If not, it teaches nothing (DAPO, Yu et al. 2025).

    A return that is not a number differs from all others. Shapes and errors of `rloo_baseline`.
    """
    return _together(groups, episode_returns.dtype) @ group_centred(episode_returns, groups).abs() != 0


def _counted(x: Tensor, mask: Tensor, at_least: int) -> Tensor:
    """The entries of `x` where `mask` is True, (count,)."""
    counted = x.masked_select(mask)
    if len(counted) < at_least:
        raise ValueError(f"mask is True at {len(counted)} of {mask.numel()} entries, need at least {at_least}")
    return counted


def _pivot(counted: Tensor) -> Tensor:
    """What to subtract from numbers (count,) so that their differences are not lost in their size: a scalar.

    It is the first of them where they lie so close together that each difference from it is exact (Sterbenz 1974), else
    0. In float32 the mean of equal numbers of 1000.7 is another number, by an error that whitening makes one of 0.5.
    """
    first = counted[0]
    return torch.where(counted.max() - counted.min() < first.abs() / 16, first, torch.zeros_like(first))


def _together(groups: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where two episodes are of one group, else 0, (N, N). Raises ValueError for a group of one."""
    together = (groups[:, None] == groups).to(dtype)
    lonely = together.sum(1) < 2
    if lonely.any():
        raise ValueError(f"groups {groups[lonely].tolist()} have one episode each: play every prompt at least twice")
    return together
