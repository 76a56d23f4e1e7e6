"""A run in bfloat16 keeps its float32 weights in the checkpoint; how passes are computed is a setting of the run."""

import pytest
import torch
from safetensors.torch import load_file

from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.learner import Learner


def update(learner: Learner) -> dict:
    return learner.learn(learner.play())


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_resumed_bfloat16_run_equals_an_uninterrupted_one(tiny_config, tmp_path, lora_rank):
    """At a rate that bfloat16 weights alone would not notice."""
    config = tiny_config(dtype="bfloat16", lora_rank=lora_rank)
    settings = PPOConfig(learning_rate=1e-5, warmup_steps=0, scale_values=True)
    whole, first = Learner(config, settings), Learner(config, settings)
    update(whole)
    expected = update(whole)
    update(first)
    first.save(tmp_path / "run")
    second = Learner(config, settings, checkpoint=open_checkpoint(tmp_path / "run"))
    metrics = update(second)
    assert metrics == expected and 0 < metrics["rollout_mismatch"] < 0.02
    ours, theirs = second.algorithm.state().tensors, whole.algorithm.state().tensors
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    saved = load_file(tmp_path / "run" / "training.safetensors")
    masters = [tensor for name, tensor in saved.items() if name.endswith(".master")]
    assert all(tensor.dtype == torch.float32 for tensor in masters) and bool(masters) == (lora_rank == 0)
    assert load_file(tmp_path / "run" / "model.safetensors")["transformer.wte.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_settings_reach_the_policy(tiny_config, lora_rank):
    plain, other = (
        Learner(tiny_config(lora_rank=lora_rank, gradient_checkpointing=x, capture_updates=x), PPOConfig())
        for x in (False, True)
    )
    assert not plain.policy.trunk.captured and other.policy.trunk.captured
    metrics = [update(learner) for learner in (plain, other)]
    assert metrics[0] == metrics[1]  # computed twice, on a CPU: the same bits
    weights = [dict(learner.policy.named_parameters()) for learner in (plain, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
