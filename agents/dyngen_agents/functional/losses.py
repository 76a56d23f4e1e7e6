"""The terms of a policy's loss, token by token.

Every term takes and returns tensors of one shape, usually (N, L), and knows no mask: `masked_sum_over`
reduces it. What lies outside the mask must be finite, or its gradient is NaN even at weight zero.
"""

import torch
from torch import Tensor

LARGEST_LOG_RATIO = 20.0  # above it a ratio counts as e²⁰: in float32 e⁸⁹ is infinite, and times 0 no number at all


def policy_gradient_loss(logprobs: Tensor, advantages: Tensor) -> Tensor:
    """−Aₜ log π(aₜ|sₜ), whose gradient is REINFORCE's. Williams 1992; Sutton & Barto 2018, eq. 13.11."""
    return -advantages * logprobs


def clipped_surrogate(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_coef: float, clip_coef_high: float | None = None
) -> Tensor:
    """PPO's clipped objective as a loss. Schulman et al. 2017, eq. 7:

        ρₜ = π(aₜ|sₜ)/π_old(aₜ|sₜ)
        −min(ρₜAₜ, clip(ρₜ, 1−ε, 1+ε′) Aₜ) = max(−ρₜAₜ, −clip(ρₜ, 1−ε, 1+ε′) Aₜ)

    `clip_coef` is ε; ε′ is the same unless `clip_coef_high` says otherwise ("clip-higher": DAPO, Yu et al. 2025).
    At π = π_old its value is −A and its gradient that of `policy_gradient_loss`. log ρ counts up to 20.
    """
    ratio = (logprobs - old_logprobs).clamp(max=LARGEST_LOG_RATIO).exp()
    clipped_ratio = ratio.clamp(1 - clip_coef, 1 + (clip_coef if clip_coef_high is None else clip_coef_high))
    return torch.maximum(-advantages * ratio, -advantages * clipped_ratio)


@torch.no_grad()
def tapered_weights(log_ratios: Tensor, advantages: Tensor) -> Tensor:
    """What −A log π of a replayed text is weighted by: TOPR, Le Roux et al. 2025 ("Tapered Off-Policy REINFORCE").

        A ≥ 0: 1      A < 0: min(1, π/μ)

    Good texts are imitated whoever wrote them; bad ones are pushed away only as long as they are still written, so that
    the loss is bounded from below without a clipped ratio. log_ratios: log π − log μ of whole texts. One shape, any.
    """
    return torch.where(advantages < 0, log_ratios.clamp(max=0.0).exp(), 1.0)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float) -> Tensor:
    """½ max((V − R̂)², (clip(V, V_old − ε, V_old + ε) − R̂)²). Huang et al. 2023.

    `clip_range` is in units of return, not a ratio.
    """
    clipped_values = values.clamp(old_values - clip_range, old_values + clip_range)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped_values - returns) ** 2)


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """−log s, with s = π_ref/π at the sampled token: an unbiased estimate of KL(π‖π_ref) for a ~ π.

    Schulman 2020, "Approximating KL divergence", names k1, k2 and k3. For rewards. As an on-policy loss
    it teaches nothing: E[∇k1] = 0.
    """
    return logprobs - ref_logprobs


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """s − 1 − log s: unbiased, never negative. For metrics. s counts up to e²⁰.

    As an on-policy loss it pulls in the other direction: E[∇k3] = ∇KL(π_ref‖π).
    """
    log_s = ref_logprobs - logprobs
    # s - 1 cancels near s = 1, expm1 does not
    return log_s.clamp(max=LARGEST_LOG_RATIO).expm1() - log_s


@torch.no_grad()
def approx_kl(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """k3 of KL(π_old‖π), for tokens that π_old sampled: how far an update has moved the policy. In nats."""
    return kl_k3(old_logprobs, logprobs)


@torch.no_grad()
def clip_fraction(
    logprobs: Tensor, old_logprobs: Tensor, clip_coef: float, clip_coef_high: float | None = None
) -> Tensor:
    """1 where ρ < 1 − ε or ρ > 1 + ε′, else 0: its mean is the fraction of tokens that PPO may clip."""
    change = (logprobs - old_logprobs).expm1()
    high = clip_coef if clip_coef_high is None else clip_coef_high
    return ((change < -clip_coef) | (change > high)).to(logprobs.dtype)


def masked_sum_over(x: Tensor, mask: Tensor, total: int) -> Tensor:
    """Σ of `x` where `mask` is True, over `total`; a scalar.

    `total` is the count of valid tokens in the whole batch, not in this piece of it. Then the pieces'
    losses, and their gradients, add up to those of the batch however it is split; a mean of means
    would give the tokens of short pieces more weight.
    """
    if total <= 0:
        raise ValueError(f"total is {total}, expected the count of valid tokens of the whole batch")
    return torch.where(mask, x, 0.0).sum() / total
