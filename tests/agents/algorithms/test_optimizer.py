"""The optimizer works in float32 whatever the model is, and goes on where it stopped."""

import pytest
import torch
from torch import nn

from dyngen_agents.algorithms.optimizer import PolicyOptimizer


def weights(dtype: torch.dtype) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in ((40, 30), (30,))]


def steps(optimizer: PolicyOptimizer, first: int, count: int) -> None:
    """Steps along fixed gradients, each the sum of two parts."""
    for step in range(first, first + count):
        generator = torch.Generator().manual_seed(step)
        for _ in range(2):
            optimizer.backward(
                sum((p * torch.randn(p.shape, generator=generator).to(p.dtype)).sum() for p in optimizer.parameters)
            )
        optimizer.step()


def test_steps_too_small_for_bfloat16_are_not_lost():
    """A weight of 1 is 2**-7 from the next larger one: 100 steps of 1e-4 make one such step of it, not none."""
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = PolicyOptimizer([weight], learning_rate=1e-4, max_grad_norm=1e9)
    for _ in range(100):
        optimizer.backward(-weight.sum())
        optimizer.step()
    assert weight.dtype == torch.bfloat16
    assert (weight == 1 + 2**-7).all()  # 1.01, rounded
    torch.testing.assert_close(optimizer.masters[0].detach(), torch.full((4,), 1.01), atol=1e-4, rtol=0)


def test_the_second_moment_decays_as_in_float32():
    """After 1,000 gradients of 0.01 and 1,000 of 0: (1 - 0.999**1000) 0.999**1000 1e-4, which bfloat16 cannot reach."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    optimizer = PolicyOptimizer([weight], learning_rate=1e-9)
    for step in range(2000):
        optimizer.backward(weight.sum() * (0.01 if step < 1000 else 0.0))
        optimizer.step()
    moment = float(optimizer.adam.state[optimizer.masters[0]]["exp_avg_sq"])
    decay = 0.999**1000
    assert moment == pytest.approx((1 - decay) * decay * 1e-4, rel=0.01)  # the gradient is 0.01 rounded to bfloat16


def test_the_weights_are_those_of_a_float32_optimizer_rounded():
    """With the same gradients, torch's own AdamW on float32 weights is the reference."""
    low = weights(torch.bfloat16)
    exact = [nn.Parameter(p.detach().float()) for p in low]
    ours, theirs = (PolicyOptimizer(ps, learning_rate=1e-3, max_grad_norm=1e9) for ps in (low, exact))
    steps(ours, 0, 20)
    for step in range(20):
        generator = torch.Generator().manual_seed(step)
        for _ in range(2):
            for p in exact:
                gradient = torch.randn(p.shape, generator=generator).bfloat16().float()
                p.grad = gradient if p.grad is None else p.grad + gradient
        theirs.step()
    for a, b in zip(low, exact, strict=True):
        torch.testing.assert_close(a, b.bfloat16(), atol=0, rtol=0)


def test_weights_are_written_in_place():
    """A captured graph and every view of the weights go on with the new ones, and a cache sees that they changed."""
    ours = weights(torch.bfloat16)
    before = [(p.data_ptr(), p._version) for p in ours]
    steps(PolicyOptimizer(ours, learning_rate=1e-2), 0, 1)
    assert all(p.data_ptr() == at and p._version > version for p, (at, version) in zip(ours, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_cache_sees_changes_that_kernels_for_many_tensors_make(dtype, monkeypatch):
    """On a GPU these do not count as changes, as here those of `.data` do not."""

    def copy(into, what):
        for a, b in zip(into, what, strict=True):
            a.data.copy_(b)

    ours = weights(dtype)
    optimizer = PolicyOptimizer(ours, learning_rate=1e-2)
    monkeypatch.setattr(torch, "_foreach_copy_", copy)
    monkeypatch.setattr(optimizer.adam, "step", lambda: None)
    before = [p._version for p in ours]
    steps(optimizer, 0, 1)
    assert all(p._version > version for p, version in zip(ours, before, strict=True))


def test_float32_weights_have_no_copies():
    ours = weights(torch.float32)
    optimizer = PolicyOptimizer(ours, learning_rate=1e-3)
    assert all(a is b for a, b in zip(optimizer.masters, ours, strict=True))
    steps(optimizer, 0, 1)
    assert not [name for name in optimizer.tensors() if name.endswith("master")]


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_stopped_and_resumed_equals_never_stopped(dtype, fused, monkeypatch):
    if fused:  # as on a GPU; torch has fused steps on CPUs, too
        adam = torch.optim.AdamW
        monkeypatch.setattr(torch.optim, "AdamW", lambda p, **options: adam(p, **(options | {"fused": True})))
    whole = weights(dtype)
    steps(PolicyOptimizer(whole, learning_rate=1e-3, total_steps=9, warmup_steps=2), 0, 6)
    half = weights(dtype)
    first = PolicyOptimizer(half, learning_rate=1e-3, total_steps=9, warmup_steps=2)
    steps(first, 0, 3)
    saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
    resumed = [nn.Parameter(p.detach().clone()) for p in half]  # as a checkpoint has them, in the model's precision
    second = PolicyOptimizer(resumed, learning_rate=1e-3, total_steps=9, warmup_steps=2)
    second.load_tensors(saved)
    steps(second, 3, 3)
    for a, b in zip(whole, resumed, strict=True):
        assert torch.equal(a, b)


def test_a_bfloat16_run_from_before_there_were_masters_goes_on():
    ours = weights(torch.bfloat16)
    old = torch.optim.AdamW(ours, lr=1e-3)
    for p in ours:
        p.grad = torch.ones_like(p)
    old.step()
    tensors = {"steps": torch.tensor(1)}
    tensors |= {f"{i}.{key}": value for i, p in enumerate(ours) for key, value in old.state[p].items()}
    for p in ours:
        p.grad = None
    optimizer = PolicyOptimizer(ours, learning_rate=1e-3)
    optimizer.load_tensors(tensors)
    steps(optimizer, 1, 2)
    assert all(x.dtype == torch.float32 for m in optimizer.masters for x in optimizer.adam.state[m].values())


def test_what_is_not_finite_changes_no_weight():
    ours = weights(torch.bfloat16)
    before = [p.detach().clone() for p in ours]
    optimizer = PolicyOptimizer(ours, learning_rate=1e-2)
    optimizer.backward(sum((p * float("nan")).sum() for p in ours))
    with pytest.raises(FloatingPointError, match="norm is nan"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, ours, strict=True))
    steps(optimizer, 0, 1)  # nothing of it is left
    assert all(p.isfinite().all() for p in ours)
