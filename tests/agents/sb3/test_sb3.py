"""An unmodified Stable-Baselines3 trains the language model: same distribution in rollout and update, saved exactly."""

from __future__ import annotations

import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.evaluation import evaluate_policy

from dyngen_agents.sb3 import KLPenalty, SegmentRolloutBuffer
from dyngen_env.lm.distribution import SamplingConfig
from tests.support.envs import Talker
from tests.support.sb3_agents import Logged, make, roll_out, share_of_vowels, spread, vec_env

BUFFERS = [SegmentRolloutBuffer, None]


# ---------------------------------------------------------------- one distribution


@pytest.mark.parametrize(
    ("buffer", "observation"), [(SegmentRolloutBuffer, "tokens"), (None, "tokens"), (None, "dict")]
)
@pytest.mark.parametrize("sampling", [None, SamplingConfig(temperature=0.7, top_k=40)], ids=str)
def test_the_first_minibatch_has_the_log_probs_and_values_of_the_rollout(tiny_model, buffer, observation, sampling):
    agent = make(tiny_model, buffer=buffer, sampling=sampling, env=vec_env(tiny_model, observation=observation))
    spread(agent)
    roll_out(agent)
    agent.policy.set_training_mode(True)
    steps = 0
    for batch in agent.rollout_buffer.get(32):
        actions = batch.actions.long().flatten()
        values, log_prob, entropy = agent.policy.evaluate_actions(batch.observations, actions)
        torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-5, rtol=0)
        torch.testing.assert_close(values.flatten(), batch.old_values, atol=1e-5, rtol=1e-5)
        assert (entropy >= 0).all() and entropy.requires_grad
        steps += len(actions)
    assert steps == 16 * 4 and batch.old_values.any()


def test_the_cache_changes_nothing_but_the_number_of_tokens_that_are_run(tiny_model):
    agent = make(tiny_model)
    spread(agent)
    policy, env = agent.policy, agent.env
    obs = env.reset()
    for _ in range(20):
        rows = torch.as_tensor(obs)
        with torch.no_grad():
            actions, values, log_probs = policy(rows)
            seen = policy.get_distribution(rows).distribution.logits
        whole = policy.get_distribution(rows).distribution.logits  # with gradients: nothing cached
        torch.testing.assert_close(seen, whole.detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(log_probs, whole.gather(1, actions[:, None])[:, 0].detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(values, policy.predict_values(rows).detach(), atol=1e-5, rtol=1e-5)
        obs, *_ = env.step(actions.numpy())
    policy.lm_policy.engine.tokens_run = 0
    roll_out(agent)
    # A token a row and step, and the prompts of rows that restart; without a cache it would be every prefix again.
    assert policy.lm_policy.engine.tokens_run < 3 * agent.n_steps * env.num_envs


@pytest.mark.parametrize("options", [dict(length_limit="truncate"), dict(max_context_tokens=13)])
def test_no_value_is_added_to_what_a_cut_turn_was_paid(tiny_model, options):
    """Stable-Baselines3 adds V of `terminal_observation` where it believes that an episode would have gone on."""
    user = dict(user=Talker(), max_turns=9) if "max_context_tokens" in options else {}
    agent = make(tiny_model, env=vec_env(tiny_model, max_new_tokens=3, reward=1, prompts=["A"], **options, **user))
    torch.nn.init.constant_(agent.policy.lm_policy.value_head.bias, 100.0)
    roll_out(agent)
    assert agent.rollout_buffer.episode_starts[1:].any() and set(np.unique(agent.rollout_buffer.rewards)) == {0.0, 1.0}


def test_dropout_stays_off_in_training_mode(tiny_model):
    agent = make(tiny_model)
    agent.policy.set_training_mode(True)
    assert not any(module.training for module in agent.policy.lm_policy.modules())
    obs, actions = torch.as_tensor(agent.env.reset()), torch.zeros(4)
    once, again = (agent.policy.evaluate_actions(obs, actions)[1] for _ in range(2))
    assert torch.equal(once, again)


def test_it_plays_a_single_env(tiny_model):
    env = gym.make("dyngen/Generate-v0", model=str(tiny_model), prompts=["A film"], reward=share_of_vowels)
    agent = make(tiny_model, env=env).learn(32)
    action, _ = agent.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(action) and action.shape == ()


def test_only_legal_tokens_are_chosen(tiny_model):
    agent = make(tiny_model)
    roll_out(agent)
    legal = agent.env.env_method("action_masks")[0]
    assert not legal.all() and legal[agent.rollout_buffer.actions.astype(int)].all()


# ---------------------------------------------------------------- segments


def random_rollout(buffer: RolloutBuffer, seed: int) -> RolloutBuffer:
    """Dialogues of random tokens: one or more tokens a step, episodes that end at random."""
    rng = np.random.default_rng(seed)
    width = buffer.observation_space.shape[0]
    rows: list[list[int]] = [[] for _ in range(buffer.n_envs)]
    starts = np.ones(buffer.n_envs)
    for _ in range(buffer.buffer_size):
        for env in range(buffer.n_envs):
            if starts[env]:
                rows[env] = []
            rows[env] = [*rows[env], *rng.integers(0, 50, size=rng.integers(1, 4))]
        obs = np.array([row + [-1] * (width - len(row)) for row in rows])
        numbers = rng.normal(size=(3, buffer.n_envs))
        actions = rng.integers(0, 50, size=(buffer.n_envs, 1))
        buffer.add(obs, actions, numbers[0], starts, *torch.tensor(numbers[1:], dtype=torch.float32))
        starts = ((rng.random(buffer.n_envs) < 0.2) | [len(row) > width - 4 for row in rows]).astype(float)
    buffer.compute_returns_and_advantage(torch.zeros(buffer.n_envs), starts)
    return buffer


@pytest.mark.parametrize("batch_size", [1, 7, 64, None])
@pytest.mark.parametrize("seed", range(3))
def test_segments_hold_each_step_once_with_what_the_plain_buffer_has(seed, batch_size):
    spaces = gym.spaces.Box(-1, 49, (30,), np.int64), gym.spaces.Discrete(50)
    plain, segments = (
        random_rollout(kind(40, *spaces, "cpu", n_envs=5), seed) for kind in (RolloutBuffer, SegmentRolloutBuffer)
    )
    torch.manual_seed(seed)

    def steps(batch, observations):
        return [(tuple(seen), *(float(x.flatten()[i]) for x in batch[1:])) for i, seen in enumerate(observations)]

    found, sizes = [], []
    for _ in range(2):  # two epochs
        found.clear()
        for batch in segments.get(batch_size):
            s = batch.observations
            read = [s.tokens[row, : column + 1].tolist() for row, column in zip(s.rows, s.columns, strict=True)]
            found += steps(batch, read)
            sizes.append(len(read))
    expected = []
    for batch in plain.get(16):
        expected += steps(batch, [[t for t in row if t >= 0] for row in batch.observations.tolist()])
    assert sorted(found) == sorted(expected) and len(found) == 200
    if batch_size == 64:
        assert 2 * 2 <= len(sizes) <= 2 * 4 and min(sizes) > 32


def test_a_cut_context_is_another_segment():
    """Where an observation does not continue the one before, though no episode began."""
    buffer = SegmentRolloutBuffer(3, gym.spaces.Box(-1, 49, (6,), np.int64), gym.spaces.Discrete(50), "cpu")
    for row in ([1, 2, 3, -1, -1, -1], [1, 2, 3, 4, -1, -1], [3, 4, 5, -1, -1, -1]):
        buffer.add(np.array([row]), np.zeros((1, 1)), np.zeros(1), np.zeros(1), torch.zeros(1), torch.zeros(1))
    (batch,) = buffer.get()
    tokens = {tuple(t for t in row if t >= 0) for row in batch.observations.tokens.tolist()}
    assert tokens == {(1, 2, 3, 4), (3, 4, 5)}


def test_an_update_is_the_same_with_segments_and_with_prefixes(tiny_model):
    """A2C makes one gradient step from everything."""
    weights = []
    for buffer in BUFFERS:
        agent = make(tiny_model, A2C, buffer)
        spread(agent)
        agent.learn(agent.n_steps * 4)
        weights.append(agent.policy.parameters_to_vector())
    np.testing.assert_allclose(weights[0], weights[1], atol=2e-5)


def test_segments_of_other_observations_are_refused(tiny_model):
    with pytest.raises(ValueError, match='observation="tokens"'):
        make(tiny_model, env=vec_env(tiny_model, observation="dict"))


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("algorithm", [PPO, A2C])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_the_same_seed_is_the_same_run(tiny_model, algorithm, buffer):
    runs = []
    for _ in range(2):
        agent = make(tiny_model, algorithm, buffer).learn(128)
        runs.append((agent.policy.parameters_to_vector(), [e["r"] for e in agent.ep_info_buffer]))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1] and len(runs[0][1]) > 10
    assert np.abs(runs[0][0] - make(tiny_model).policy.parameters_to_vector()).max() > 0


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_saved_and_loaded_it_is_the_same_agent(tiny_model, tmp_path, algorithm):
    agent = make(tiny_model, algorithm, None, sampling=SamplingConfig(temperature=0.9)).learn(128)
    agent.save(tmp_path / "agent")
    with zipfile.ZipFile(tmp_path / "agent.zip") as file:
        assert file.getinfo("data").file_size < 100_000  # names, not models
    loaded = algorithm.load(tmp_path / "agent", env=agent.env, device="cpu")
    obs = agent.env.reset()
    for deterministic in (True, False):
        choices = []
        for a in (agent, loaded):
            torch.manual_seed(0)
            choices.append(a.predict(obs, deterministic=deterministic)[0])
        np.testing.assert_array_equal(*choices)
    assert loaded.policy.sampling.temperature == 0.9
    agent.learn(64), loaded.learn(64)  # the optimizer's state has come along
    assert loaded._n_updates == agent._n_updates

    agent.policy.save(tmp_path / "policy")
    policy = type(agent.policy).load(tmp_path / "policy", device="cpu")
    np.testing.assert_array_equal(policy.parameters_to_vector(), agent.policy.parameters_to_vector())


def test_it_learns_in_seconds(tiny_model):
    env = vec_env(tiny_model, num_envs=16)
    agent = make(tiny_model, env=env, n_steps=20, batch_size=80, n_epochs=4, learning_rate=3e-3, gamma=1.0)
    before, _ = evaluate_policy(agent, env, 64, deterministic=False)
    agent.learn(6000)
    after, _ = evaluate_policy(agent, env, 64, deterministic=False)
    assert before < 0.25 and after > 2 * before


# ---------------------------------------------------------------- KL penalty


@pytest.mark.parametrize("buffer", BUFFERS)
def test_the_kl_penalty_is_taken_from_the_rewards_and_returns_follow(tiny_model, buffer):
    agents = []
    for coef in (0.0, 0.5):
        agent = make(tiny_model, PPO, buffer, gamma=0.9, gae_lambda=0.8)
        spread(agent)
        roll_out(agent, KLPenalty(coef))
        agents.append(agent)
    without, penalised = (agent.rollout_buffer for agent in agents)

    reference = make(tiny_model).policy  # not spread: the model that the run began with
    expected = without.rewards.copy()
    for step in range(without.buffer_size):
        obs, actions = torch.as_tensor(without.observations[step]), torch.as_tensor(without.actions[step, :, 0])
        log_ref = reference.get_distribution(obs).log_prob(actions).detach().numpy()
        expected[step] -= 0.5 * (without.log_probs[step] - log_ref)
    np.testing.assert_allclose(penalised.rewards, expected, atol=1e-5)
    assert np.abs(penalised.rewards - without.rewards).max() > 0.1

    last = agents[1].policy.predict_values(torch.as_tensor(agents[1]._last_obs)).detach().numpy()[:, 0]
    values = np.vstack([penalised.values, last])
    going_on = 1 - np.vstack([penalised.episode_starts[1:], agents[1]._last_episode_starts])
    delta = expected + 0.9 * values[1:] * going_on - values[:-1]
    for t in range(len(delta)):
        advantage, weight = np.zeros(4), np.ones(4)
        for s in range(t, len(delta)):
            advantage += weight * delta[s]
            weight = weight * 0.9 * 0.8 * going_on[s]
        np.testing.assert_allclose(penalised.advantages[t], advantage, atol=1e-4)
    np.testing.assert_allclose(penalised.returns, penalised.advantages + penalised.values, atol=1e-6)


def test_the_kl_is_zero_before_the_first_update_and_grows_with_it(tiny_model):
    agent = make(tiny_model, learning_rate=3e-3)
    logged = Logged("rollout/kl")
    agent.learn(64 * 4, callback=[KLPenalty(0.0), logged])
    assert abs(logged.values[0]) < 1e-6 and logged.values[-1] > 1e-4


def test_the_kl_penalty_is_finite_whatever_top_k_leaves_out(tiny_model):
    agent = make(tiny_model, sampling=SamplingConfig(top_k=3))
    spread(agent)  # so its three most likely tokens are not the reference's
    roll_out(agent, KLPenalty(0.1))
    assert np.isfinite(agent.rollout_buffer.rewards).all() and np.isfinite(agent.rollout_buffer.advantages).all()


def test_the_kl_penalty_says_what_it_needs(tiny_model):
    with pytest.raises(ValueError, match="coef is -1"):
        KLPenalty(-1)
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(TypeError, match="LMActorCriticPolicy"):
        agent.learn(8, callback=KLPenalty(0.1))
