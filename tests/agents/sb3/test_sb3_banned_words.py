"""An agent of Stable-Baselines3 in an env with banned words: nobody tells it of them but the action space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from dyngen_agents.sb3 import KLPenalty, SegmentRolloutBuffer
from tests.support.bans import PROMPTS, WORDS
from tests.support.sb3_agents import make, roll_out, spread, vec_env


@pytest.mark.parametrize("observation", ["tokens", "dict"])
def test_no_action_completes_a_banned_word(tiny_model, observation):
    """Nobody tells the policy of them but the env's action space."""
    env = vec_env(tiny_model, observation=observation, prompts=PROMPTS, banned=WORDS, max_new_tokens=12)
    agent = make(tiny_model, buffer=None, env=env)
    spread(agent)
    for deterministic in (True, False):
        reasons = []
        observations = env.reset()
        for _ in range(48):
            masks = np.stack(env.env_method("action_masks"))
            actions = agent.predict(observations, deterministic=deterministic)[0]
            assert masks[np.arange(4), actions].all()
            observations, _, dones, infos = env.step(actions)
            reasons += [info["finish_reason"] for info, done in zip(infos, dones, strict=True) if done]
        assert reasons and "illegal" not in reasons


@pytest.mark.parametrize("buffer", [SegmentRolloutBuffer, None])
def test_the_first_minibatch_has_the_log_probs_of_a_rollout_without_banned_words(tiny_model, buffer):
    env = vec_env(tiny_model, prompts=PROMPTS, banned=WORDS)
    agent = make(tiny_model, env=env, buffer=buffer)
    spread(agent)
    roll_out(agent, KLPenalty(1.0, str(tiny_model)))
    assert np.isfinite(agent.rollout_buffer.rewards).all()
    agent.policy.set_training_mode(True)
    for batch in agent.rollout_buffer.get(32):
        _, log_prob, _ = agent.policy.evaluate_actions(batch.observations, batch.actions.flatten())
        torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-5, rtol=0)


def test_a_saved_agent_keeps_to_its_banned_words(tiny_model, tmp_path):
    env = vec_env(tiny_model, prompts=PROMPTS, banned=WORDS)
    make(tiny_model, env=env).save(tmp_path / "agent")
    assert PPO.load(tmp_path / "agent", device="cpu").policy.lm_policy.distribution.banned.words == WORDS
    PPO.load(tmp_path / "agent", env=vec_env(tiny_model, banned=WORDS), device="cpu")
    with pytest.raises(ValueError, match=r"Discrete\(\d+, 34 banned words\) != Discrete\(\d+\)"):
        PPO.load(tmp_path / "agent", env=vec_env(tiny_model), device="cpu")
