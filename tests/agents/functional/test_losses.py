"""Loss terms against hand arithmetic, exact expectations over a categorical, and autograd identities."""

import math

import pytest
import torch
from torch import Tensor

from dyngen_agents.functional.losses import (
    approx_kl,
    clip_fraction,
    clipped_surrogate,
    clipped_value_loss,
    kl_k1,
    kl_k3,
    masked_sum_over,
    policy_gradient_loss,
    tapered_weights,
)


def test_policy_gradient_loss_by_hand():
    loss = policy_gradient_loss(torch.tensor([-0.5, -2.0]), torch.tensor([4.0, -3.0]))
    assert loss.tolist() == [2.0, -6.0]


@pytest.mark.parametrize(
    "ratio, advantage, loss, gradient_flows",
    [
        (1.0, 2.0, -2.0, True),
        (1.1, 2.0, -2.2, True),
        (1.5, 2.0, -2.4, False),  # a good token has become likely enough
        (0.5, 2.0, -1.0, True),  # a good token has become unlikely: bring it back
        (1.5, -2.0, 3.0, True),  # a bad token has become likely: push it down
        (0.5, -2.0, 1.6, False),  # a bad token has become unlikely enough
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, loss, gradient_flows):
    logprobs = torch.tensor(math.log(ratio) - 1.0, requires_grad=True)
    value = clipped_surrogate(logprobs, torch.tensor(-1.0), torch.tensor(advantage), clip_coef=0.2)
    assert value.item() == pytest.approx(loss, abs=1e-6)
    (gradient,) = torch.autograd.grad(value, logprobs)
    expected = -advantage * ratio if gradient_flows else 0.0  # ∂ρ/∂log π = ρ
    assert gradient.item() == pytest.approx(expected, abs=1e-6)


def test_ppo_first_gradient_is_that_of_reinforce_with_a_baseline():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 6, generator=generator, requires_grad=True)
    actions = torch.randint(6, (3, 4, 1), generator=generator)
    returns, baseline = torch.randn(2, 3, 4, generator=generator)
    logprobs = logits.log_softmax(-1).gather(-1, actions).squeeze(-1)
    ppo = clipped_surrogate(logprobs, logprobs.detach(), returns - baseline, clip_coef=0.2)
    reinforce = policy_gradient_loss(logprobs, returns - baseline)
    (from_ppo,) = torch.autograd.grad(ppo.sum(), logits, retain_graph=True)
    (from_reinforce,) = torch.autograd.grad(reinforce.sum(), logits)
    torch.testing.assert_close(from_ppo, from_reinforce)
    torch.testing.assert_close(ppo, baseline - returns)


@pytest.mark.parametrize(
    "value, old_value, target, loss",
    [
        (1.1, 1.0, 2.0, 0.405),  # within the range: (0.9)²/2
        (1.5, 1.0, 2.0, 0.32),  # moved too far to the target: (1.2 − 2)²/2
        (0.0, 1.0, 2.0, 2.0),  # moved away: the unclipped (2)²/2 is worse than (1.2)²/2
    ],
)
def test_clipped_value_loss_by_hand(value, old_value, target, loss):
    tensors = (torch.tensor(x) for x in (value, old_value, target))
    assert clipped_value_loss(*tensors, clip_range=0.2).item() == pytest.approx(loss)


class TestKLEstimators:
    """Expectations are exact: sums over the five outcomes of a categorical, in float64."""

    logits = torch.tensor([0.3, -1.0, 2.0, 0.0, 0.7], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([1.0, 0.2, -0.5, 0.4, 0.0], dtype=torch.float64).log_softmax(-1)

    def expected_gradient(self, estimator) -> Tensor:
        """E[∇k(a)] for a ~ π: the samples' distribution is not differentiated."""
        logprobs = self.logits.log_softmax(-1)
        expectation = (logprobs.exp().detach() * estimator(logprobs, self.ref)).sum()
        return torch.autograd.grad(expectation, self.logits)[0]

    def gradient_of_kl(self, reverse: bool) -> Tensor:
        """∇KL(π‖π_ref), or ∇KL(π_ref‖π) if `reverse`."""
        p, q = self.logits.log_softmax(-1), self.ref
        p, q = (q, p) if reverse else (p, q)
        return torch.autograd.grad((p.exp() * (p - q)).sum(), self.logits)[0]

    def test_values_by_hand(self):
        """s = ½: −log s = 0.693, s − 1 − log s = 0.193."""
        logprobs, ref_logprobs = torch.tensor(0.8).log(), torch.tensor(0.4).log()
        assert kl_k1(logprobs, ref_logprobs).item() == pytest.approx(0.693147, abs=1e-6)
        assert kl_k3(logprobs, ref_logprobs).item() == pytest.approx(0.193147, abs=1e-6)

    def test_k1_and_k3_are_unbiased(self):
        p = self.logits.detach().log_softmax(-1)
        kl = torch.nn.functional.kl_div(self.ref, p, log_target=True, reduction="sum")  # KL(π‖π_ref)
        for estimator in (kl_k1, kl_k3):
            torch.testing.assert_close((p.exp() * estimator(p, self.ref)).sum(), kl)

    def test_k3_is_never_negative(self):
        assert (kl_k3(torch.linspace(-5, 5, 101), torch.zeros(101)) >= 0).all()

    def test_k1_as_a_loss_teaches_nothing(self):
        torch.testing.assert_close(self.expected_gradient(kl_k1), torch.zeros(5, dtype=torch.float64))

    def test_k3_as_a_loss_has_the_gradient_of_the_other_kl(self):
        torch.testing.assert_close(self.expected_gradient(kl_k3), self.gradient_of_kl(reverse=True))

    def test_approx_kl_estimates_the_kl_from_the_old_policy(self):
        old, new = self.ref, self.logits.detach().log_softmax(-1)
        kl = (old.exp() * (old - new)).sum()
        torch.testing.assert_close((old.exp() * approx_kl(new, old)).sum(), kl)

    def test_a_tiny_step_is_not_lost_to_rounding(self):
        """At log s = 10⁻³, k3 = 5.0017·10⁻⁷; a float32 s − 1 − log s is off by 5 percent."""
        k3 = kl_k3(torch.tensor(-1e-3), torch.tensor(0.0))
        assert k3.item() == pytest.approx(5.0017e-7, rel=1e-3)


def test_metrics_are_zero_at_the_first_minibatch():
    logprobs = torch.tensor([[-0.3, -5.0]], requires_grad=True)
    assert (approx_kl(logprobs, logprobs) == 0).all()
    assert (clip_fraction(logprobs, logprobs, 0.2) == 0).all()
    assert not approx_kl(logprobs, logprobs).requires_grad


def test_clip_fraction_by_hand():
    ratios = torch.tensor([1.0, 1.19, 1.21, 0.81, 0.79])
    assert clip_fraction(ratios.log(), torch.zeros(5), 0.2).tolist() == [0.0, 0.0, 1.0, 0.0, 1.0]


def test_masked_sum_over_by_hand():
    x = torch.tensor([[1.0, 2.0], [torch.nan, 4.0]])
    mask = torch.tensor([[True, True], [False, True]])
    assert masked_sum_over(x, mask, total=14) == 0.5
    with pytest.raises(ValueError, match="total is 0"):
        masked_sum_over(x, mask, total=0)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_the_split_of_a_batch_changes_nothing(size):
    generator = torch.Generator().manual_seed(1)
    logprobs = torch.randn(7, 9, generator=generator, requires_grad=True)
    old_logprobs, advantages = torch.randn(2, 7, 9, generator=generator)
    mask = torch.rand(7, 9, generator=generator) < torch.linspace(0.1, 0.9, 7)[:, None]  # uneven rows
    total = int(mask.sum())

    def loss(rows: slice) -> Tensor:
        terms = clipped_surrogate(logprobs[rows], old_logprobs[rows], advantages[rows], 0.2)
        return masked_sum_over(terms, mask[rows], total)

    whole = loss(slice(None))
    pieces = torch.stack([loss(slice(i, i + size)) for i in range(0, 7, size)]).sum()
    torch.testing.assert_close(pieces, whole)
    gradients = [torch.autograd.grad(x, logprobs)[0] for x in (pieces, whole)]
    torch.testing.assert_close(*gradients)
    assert (gradients[0][~mask] == 0).all()


@pytest.mark.parametrize("log_ratio", [88.0, 89.0, 150.0, 1e4])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_a_log_ratio_that_exp_cannot_hold_is_no_reason_for_nan(log_ratio, advantage):
    """e⁸⁹ is infinite in float32; in either direction losses, gradients and metrics stay finite."""
    for sign in (1.0, -1.0):
        logprobs = torch.tensor([sign * log_ratio, 0.1], requires_grad=True)
        old, advantages = torch.zeros(2), torch.tensor([advantage, 1.0])
        loss = clipped_surrogate(logprobs, old, advantages, clip_coef=0.2)
        loss.sum().backward()
        assert loss.isfinite().all() and logprobs.grad.isfinite().all()
        assert logprobs.grad[1] == pytest.approx(-math.exp(0.1))  # the other token learns as ever
        for metric in (approx_kl(logprobs, old), kl_k3(old, logprobs.detach()), clip_fraction(logprobs, old, 0.2)):
            assert metric.isfinite().all()
    good = clipped_surrogate(torch.tensor([log_ratio]), torch.zeros(1), torch.tensor([1.0]), clip_coef=0.2)
    assert good.item() == pytest.approx(-1.2)


def test_bad_texts_weigh_as_much_as_they_are_still_written():
    weights = tapered_weights(torch.tensor([-1.0, -1.0, 2.0, -math.inf]), torch.tensor([1.0, -1.0, -1.0, -1.0]))
    assert weights.tolist() == pytest.approx([1.0, math.exp(-1), 1.0, 0.0])
