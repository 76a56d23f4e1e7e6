"""sb3-contrib's MaskablePPO with the language model as its policy: masks are kept to, and their price is named."""

from __future__ import annotations

import importlib
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from dyngen_agents.sb3 import KLPenalty, as_sb3_vec_env
from dyngen_env.wrappers import LMFeatures, TopKActions
from tests.support.bans import PROMPTS, WORDS
from tests.support.sb3_agents import roll_out, spread, vec_env

MaskablePPO = pytest.importorskip("sb3_contrib").MaskablePPO
maskable = importlib.import_module("dyngen_agents.sb3.maskable")


def make(model, env=None, **options):
    settings = dict(n_steps=16, seed=0, device="cpu", batch_size=32, n_epochs=2, policy_kwargs=dict(model=str(model)))
    return MaskablePPO(maskable.MaskableLMActorCriticPolicy, env or vec_env(model), **(settings | options))


def narrowed(env) -> np.ndarray:
    """Make the env allow only every second token; (V,) what it allows."""
    allowed = env.env_method("action_masks")[0]
    allowed[::2] = False
    env.unwrapped.env.unwrapped.action_masks = lambda: allowed
    return allowed


def test_it_keeps_to_the_masks_of_the_env(tiny_model):
    env = vec_env(tiny_model)
    allowed = narrowed(env)
    agent = make(tiny_model, env).learn(128)
    assert allowed[agent.rollout_buffer.actions.astype(int)].all()
    actions, _ = agent.predict(env.reset(), action_masks=np.stack([allowed] * 4))
    assert allowed[actions].all()


def test_no_action_completes_a_banned_word_with_masks_and_without(tiny_model):
    env = vec_env(tiny_model, prompts=PROMPTS, banned=WORDS, max_new_tokens=12)
    agent = make(tiny_model, env)
    spread(agent)
    agent.learn(128)
    starts = agent.rollout_buffer
    assert starts.action_masks.reshape(16, 4, -1)[
        np.arange(16)[:, None], np.arange(4), starts.actions.reshape(16, 4).astype(int)
    ].all()
    observations = env.reset()
    for step in range(48):
        masks = np.stack(env.env_method("action_masks"))
        given = masks if step % 2 else None
        actions = agent.predict(observations, action_masks=given, deterministic=step % 3 == 0)[0]
        assert masks[np.arange(4), actions].all()
        observations = env.step(actions)[0]


def test_the_first_minibatch_has_the_log_probs_of_the_rollout(tiny_model):
    env = vec_env(tiny_model)
    allowed = narrowed(env)
    agent = make(tiny_model, env)
    spread(agent)
    roll_out(agent)
    agent.policy.set_training_mode(True)
    for batch in agent.rollout_buffer.get(32):
        arguments = batch.observations, batch.actions.flatten()
        _, log_prob, entropy = agent.policy.evaluate_actions(*arguments, action_masks=batch.action_masks)
        torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-5, rtol=0)
        assert (entropy <= np.log(allowed.sum())).all()
        (log_prob.sum() + entropy.sum()).backward()
    assert all(p.grad.isfinite().all() for p in agent.policy.lm_policy.lm.parameters())


def test_saved_and_loaded_it_is_the_same_agent(tiny_model, tmp_path):
    agent = make(tiny_model).learn(128)
    agent.save(tmp_path / "agent")
    loaded = MaskablePPO.load(tmp_path / "agent", env=agent.env, device="cpu")
    np.testing.assert_array_equal(loaded.policy.parameters_to_vector(), agent.policy.parameters_to_vector())
    loaded.learn(64)


def test_the_kl_penalty_knows_the_masks(tiny_model):
    """Before the first update the policy is its reference, under the same masks: the penalty is nothing."""
    env = vec_env(tiny_model)
    narrowed(env)
    agent = make(tiny_model, env)
    penalty = KLPenalty(1.0)
    roll_out(agent, penalty)
    reference = penalty._reference_logprobs(agent.rollout_buffer)
    np.testing.assert_allclose(reference, agent.rollout_buffer.log_probs, atol=1e-5)


def test_a_mask_without_a_legal_token_is_refused(tiny_model):
    agent = make(tiny_model)
    with pytest.raises(ValueError, match="mask of row 0 allows no legal token"):
        agent.predict(agent.env.reset(), action_masks=np.zeros((4, agent.action_space.n), dtype=bool))


def test_the_memory_that_masks_of_a_large_vocabulary_take_is_named(tiny_model, monkeypatch):
    # 4 bytes x 50257 tokens = 0.20 MB a step; x 2048 steps = 0.41 GB an env
    with pytest.warns(UserWarning, match=r"all 50257 tokens .* n_steps x n_envs x 0\.20 MB.* 0\.41 GB.*TopKActions"):
        maskable._warn_of_masks(50257)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(tiny_model)
    monkeypatch.setattr(maskable, "LARGE_VOCABULARY", 100)
    with pytest.warns(UserWarning, match="float32 mask"):
        make(tiny_model)


def test_a_missing_sb3_contrib_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("sb3_contrib")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "dyngen_agents.sb3.maskable")
    with pytest.raises(ImportError, match="needs sb3-contrib: pip install sb3-contrib"):
        importlib.import_module("dyngen_agents.sb3.maskable")


@pytest.mark.parametrize("batched", [False, True])
def test_the_stock_agent_learns_ranks_among_candidates(tiny_model, batched):
    """With few actions the masks cost nothing, and MlpPolicy does."""

    def wrapped(env):
        return LMFeatures(TopKActions(env, str(tiny_model), k=4), str(tiny_model))

    settings = dict(
        model=str(tiny_model), prompts=["The film"], max_new_tokens=6, max_context_tokens=32, reward="length"
    )
    if batched:
        many = gym.make_vec("dyngen/Generate-v0", num_envs=4, autoreset_mode="same_step", **settings)
        env = as_sb3_vec_env(wrapped(many))
    else:
        env = DummyVecEnv([lambda: wrapped(gym.make("dyngen/Generate-v0", **settings))])
    agent = MaskablePPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu")
    before = [p.clone() for p in agent.policy.parameters()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent.learn(64 * env.num_envs)
    assert agent.rollout_buffer.action_masks.shape[-1] == 4 and agent.rollout_buffer.action_masks.all()
    assert any(not torch.equal(p, q) for p, q in zip(agent.policy.parameters(), before, strict=True))
