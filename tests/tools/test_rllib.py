"""RLlib's new API stack takes the environments as they are, in this process and in its workers.

It pins an older Gymnasium: `make test-rllib` makes an environment for it. Elsewhere these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.envs import SMALL, single

ray = pytest.importorskip("ray", reason="needs RLlib: make test-rllib")

from ray.rllib.algorithms.ppo import PPOConfig  # noqa: E402  only if ray is there
from ray.rllib.connectors.env_to_module import FlattenObservations  # noqa: E402
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig  # noqa: E402
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner  # noqa: E402

ROOT = Path(__file__).parents[1]
ROWS = 4


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    yield
    ray.shutdown()


def config(workers: int = 0, vectorize: str = "vector_entry_point", **env_config):
    return (
        PPOConfig()
        .environment("dyngen_env:dyngen/Generate-v0", env_config=SMALL | env_config)
        .env_runners(num_env_runners=workers, num_envs_per_env_runner=ROWS, gym_env_vectorize_mode=vectorize)
        .training(train_batch_size=128, minibatch_size=64, num_epochs=2, gamma=1.0)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[32]))
        .debugging(seed=0)
    )


@pytest.mark.parametrize("vectorize", ["vector_entry_point", "sync"])
@pytest.mark.parametrize("length_limit", ["terminate", "truncate"])
def test_its_episodes_are_those_of_single_envs(vectorize, length_limit):
    """Whole episodes that it samples, played again by hand from the same prompt with the same actions."""
    runner = SingleAgentEnvRunner(config=config(vectorize=vectorize, length_limit=length_limit))
    episodes = runner.sample(num_episodes=24, random_actions=True)
    runner.stop()
    assert len(episodes) >= 24
    env, ended = single(length_limit=length_limit), []
    for episode in episodes:
        observations, actions, rewards = (
            np.array(part) for part in (episode.get_observations(), episode.get_actions(), episode.get_rewards())
        )
        prompt = bytes(observations[0][1:][observations[0][1:] >= 0].tolist()).decode()  # [0] is BOS
        observation, _ = env.reset(options={"prompt": prompt})
        np.testing.assert_array_equal(observations[0], observation)
        for t, action in enumerate(actions):
            observation, reward, terminated, truncated, _ = env.step(action)
            np.testing.assert_array_equal(observations[t + 1], observation)
            assert rewards[t] == pytest.approx(reward, abs=1e-6)
            assert (terminated or truncated) == (episode.is_done and t == len(actions) - 1)
        if episode.is_done:
            assert (episode.is_terminated, episode.is_truncated) == (terminated, truncated)
            ended.append(truncated)
    assert len(ended) >= 24
    assert any(ended) == (length_limit == "truncate")


@pytest.mark.timeout(900)  # a worker process imports torch, transformers and RLlib anew
@pytest.mark.parametrize("workers, vectorize", [(0, "vector_entry_point"), (0, "sync"), (1, "vector_entry_point")])
def test_ppo_trains(workers, vectorize):
    # Its default networks take floats: tokens are to be flattened first, which makes them so.
    floats = dict(env_to_module_connector=lambda env, spaces, device: FlattenObservations())
    algorithm = config(workers, vectorize).env_runners(**floats).build_algo()
    try:
        before = weights(algorithm)
        results = [algorithm.train() for _ in range(2)]
        after = weights(algorithm)
    finally:
        algorithm.stop()
    for result in results:
        assert np.isfinite(result["learners"]["default_policy"]["total_loss"])
    counts = [result["env_runners"]["num_episodes_lifetime"] for result in results]
    assert counts[1] > counts[0] > 0
    assert -2.0 < results[-1]["env_runners"]["episode_return_mean"] <= 1.0  # length(3) - 0.5*repetition(1) - illegal
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def weights(algorithm) -> list[np.ndarray]:
    state = algorithm.get_module().state_dict()
    return [value.detach().numpy().copy() for value in state.values() if isinstance(value, torch.Tensor)]


def test_infos_reach_it_as_a_dict_for_each_row():
    """Its DictInfoToList takes our batched infos apart: the keys of an end are there at ends, and nowhere else."""
    runner = SingleAgentEnvRunner(config=config())
    episodes = runner.sample(num_episodes=8, random_actions=True)
    runner.stop()
    for episode in episodes:
        infos = episode.get_infos()
        assert all("finish_reason" not in info for info in infos[:-1])
        if episode.is_done:
            assert infos[-1]["finish_reason"] in ("stop", "length", "illegal")
            assert sum(infos[-1]["reward_terms"].values()) == pytest.approx(episode.get_return(), abs=1e-5)
    assert sum(episode.is_done for episode in episodes) >= 8
