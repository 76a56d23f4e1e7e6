"""TorchRL takes the environments as they are: its own checks pass, its rollouts are the env's own trajectories."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import dyngen_env  # noqa: F401  registers the ids
from dyngen_env.wrappers import LMFeatures, TopKActions
from tests.support.envs import SMALL, batch, random_actions, single

torchrl_envs = pytest.importorskip("torchrl.envs", reason="needs torchrl: pip install torchrl")

from tensordict.nn import TensorDictModule  # noqa: E402  only if torchrl is there
from torchrl.collectors import Collector  # noqa: E402
from torchrl.envs.utils import check_env_specs  # noqa: E402
from torchrl.modules import ProbabilisticActor, ValueOperator  # noqa: E402
from torchrl.objectives import ClipPPOLoss  # noqa: E402
from torchrl.objectives.value import GAE  # noqa: E402

MODES = ["same_step", "disabled"]
ROWS, STEPS = 8, 60


def wrapped(env):
    return torchrl_envs.GymWrapper(env, categorical_action_encoding=True)


@pytest.mark.parametrize("env_id", ["dyngen/Sentiment-v0", "dyngen/Generate-v0", "dyngen/Dialogue-v0"])
def test_torchrl_finds_nothing_wrong_with_the_registered_envs(env_id):
    env = torchrl_envs.GymEnv(env_id, categorical_action_encoding=True)
    check_env_specs(env)
    assert env.action_spec.space.n == 4096
    check_env_specs(wrapped(gym.make_vec(env_id, num_envs=ROWS, autoreset_mode="disabled")))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{}, {"observation": "dict"}, {"output": "torch"}, {"length_limit": "truncate"}])
def test_torchrl_finds_nothing_wrong_with_batches(mode, options):
    check_env_specs(wrapped(batch(ROWS, autoreset_mode=mode, **options)))


@pytest.mark.parametrize("mode", MODES)
def test_torchrl_finds_nothing_wrong_with_the_wrappers(mode):
    envs = gym.make_vec("dyngen/Sentiment-v0", num_envs=ROWS, autoreset_mode=mode)
    env = wrapped(LMFeatures(TopKActions(envs, "reviews-lm", k=8), "reviews-lm"))
    check_env_specs(env)
    assert env.action_spec.space.n == 8
    check_env_specs(wrapped(LMFeatures(gym.make("dyngen/Sentiment-v0"), "reviews-lm")))


def test_it_says_which_autoreset_modes_it_takes():
    with pytest.raises(RuntimeError, match="SAME_STEP or DISABLED"):
        wrapped(batch(ROWS))


class Prescribed:
    """A policy that plays actions (B, T), or (T,) in an env of one row, in order."""

    def __init__(self, actions: np.ndarray):
        self.actions = iter(torch.from_numpy(actions).movedim(-1, 0))

    def __call__(self, observation):
        return next(self.actions)


def by_hand(actions: np.ndarray, seed: int, **options) -> dict[str, np.ndarray]:
    """What a single env gives step by step; where an episode ends, the next is begun."""
    env = single(**options)
    env.reset(seed=seed)
    seen: dict[str, list] = {key: [] for key in ("observation", "next", "reward", "terminated", "truncated")}
    observation, _ = env.reset()  # TorchRL's `set_seed` is a reset, its `rollout` another
    for action in actions.tolist():
        seen["observation"].append(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        for key, value in zip(("next", "reward", "terminated", "truncated"),
                              (observation, reward, terminated, truncated), strict=True):  # fmt: skip
            seen[key].append(value)
        if terminated or truncated:
            observation, _ = env.reset()
    return {key: np.stack(values) for key, values in seen.items()}


def assert_same(data, expected: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(data["observation"], expected["observation"])
    np.testing.assert_array_equal(data["next", "observation"], expected["next"])
    for key in ("terminated", "truncated"):
        np.testing.assert_array_equal(data["next", key].squeeze(-1), expected[key])
    np.testing.assert_allclose(data["next", "reward"].squeeze(-1), expected["reward"], rtol=1e-6)  # float32 there


# TorchRL writes into the observations of SAME_STEP batches, which with output="torch" are the env's own.
@pytest.mark.parametrize("mode, output", [("same_step", "numpy"), ("disabled", "numpy"), ("disabled", "torch")])
@pytest.mark.parametrize("length_limit", ["terminate", "truncate"])
def test_its_rollouts_over_ends_are_those_of_single_envs(mode, output, length_limit):
    rng = np.random.default_rng(1)
    actions = np.stack([random_actions(rng, STEPS) for _ in range(ROWS)])
    env = wrapped(batch(ROWS, autoreset_mode=mode, output=output, length_limit=length_limit))
    env.set_seed(7)
    data = env.rollout(STEPS, Prescribed(actions), break_when_any_done=False)
    assert data["next", "done"].sum(1).min() > 5
    assert not data["next", "done"].all(0).any()  # there TorchRL resets SAME_STEP batches a second time
    assert data["next", "truncated"].any() == (length_limit == "truncate")
    for row in range(ROWS):
        assert_same(data[row], by_hand(actions[row], seed=7 + row, length_limit=length_limit))


def test_a_single_env_rolls_out_alike():
    actions = random_actions(np.random.default_rng(2), STEPS)
    env = wrapped(single())
    env.set_seed(7)
    data = env.rollout(STEPS, Prescribed(actions), break_when_any_done=False)
    assert_same(data, by_hand(actions, seed=7))


class Scale(nn.Module):
    """Tokens as floats of a size that networks like."""

    def forward(self, tokens):
        return tokens / 128


class Letters(nn.Module):
    """Logits (..., 260) of bytes, those of the letters a to h learned, from tokens (..., 24)."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(Scale(), nn.Linear(SMALL["max_context_tokens"], 32), nn.Tanh(), nn.Linear(32, 8))

    def forward(self, tokens):
        letters = self.net(tokens)
        return torch.full((*letters.shape[:-1], 260), -1e9).slice_scatter(letters, -1, 97, 105)


def test_its_ppo_learns_a_letter():
    """Paid for the share of "e" in the text, which is 1/8 at random, TorchRL's PPO soon writes little else."""
    torch.manual_seed(0)
    env = wrapped(batch(16, autoreset_mode="disabled", reward=lambda text: text.count("e") / 5, prompts=["a"]))
    actor = ProbabilisticActor(
        TensorDictModule(Letters(), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
    )
    values = nn.Sequential(Scale(), nn.Linear(SMALL["max_context_tokens"], 1))
    critic = ValueOperator(values, in_keys=["observation"])
    advantage = GAE(gamma=1.0, lmbda=0.95, value_network=critic, average_gae=True)
    loss_of = ClipPPOLoss(actor, critic)
    optimizer = torch.optim.Adam(loss_of.parameters(), lr=1e-2)
    rewards = []
    for data in Collector(
        env, actor, frames_per_batch=320, total_frames=20 * 320, auto_register_policy_transforms=True
    ):
        advantage(data)
        for _ in range(4):
            losses = loss_of(data.reshape(-1))
            optimizer.zero_grad()
            (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
            optimizer.step()
        rewards.append(float(data["next", "reward"][data["next", "done"]].mean()))
    assert rewards[0] < 0.25 and rewards[-1] > 0.6, rewards
