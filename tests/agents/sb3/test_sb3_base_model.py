"""A saved agent knows which model it began with: a KL penalty does not take another one for it."""

from __future__ import annotations

import shutil

import pytest
import torch
from stable_baselines3 import PPO

from dyngen_agents.sb3 import KLPenalty
from dyngen_env.lm.loading.models import load_model
from tests.support.sb3_agents import make, roll_out, vec_env


@pytest.fixture
def base(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "base")


def changed(base) -> None:
    lm = load_model(str(base), fresh=True)
    with torch.no_grad():
        lm.transformer.wte.weight[7] += 1
    lm.save_pretrained(base)


def test_a_reference_that_has_changed_since_the_agent_began_is_refused(base, tiny_model, tmp_path):
    make(base).save(tmp_path / "agent")
    roll_out(PPO.load(tmp_path / "agent", env=vec_env(base)), KLPenalty(0.1))
    changed(base)
    agent = PPO.load(tmp_path / "agent", env=vec_env(base))  # its weights are all in the file
    with pytest.raises(ValueError, match=r"base model '.*base' has changed since this policy began with it"):
        roll_out(agent, KLPenalty(0.1))
    roll_out(agent, KLPenalty(0.1, ref_model=str(tiny_model)))


def test_a_file_of_before_is_loaded_and_not_checked(base):
    agent = make(base)
    weights = agent.policy.state_dict()
    assert weights.pop("_extra_state") == agent.policy.model_fingerprint
    agent.policy.load_state_dict(weights)
    changed(base)
    roll_out(agent, KLPenalty(0.1))
