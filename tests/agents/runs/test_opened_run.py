"""`open_run`: a run's parts as training left them."""

import pytest
import torch
from safetensors.torch import load_file

from dyngen_agents.algorithms.grpo import GRPOConfig
from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCEConfig
from dyngen_agents.runs.learner import Learner
from dyngen_agents.runs.opened_run import open_run
from dyngen_agents.training.train import train
from dyngen_env.lm.loading.models import load_model


def vowels(text: str) -> float:
    return sum(text.count(v) for v in "aeiou") / 10


@pytest.fixture
def run(tiny_config):
    return train(tiny_config(updates=2), PPOConfig(learning_rate=5e-3, minibatch_size=4, kl_target=0.1, kl_horizon=50))


def test_the_parts_are_those_of_the_run(run, tiny_model):
    opened = open_run("latest", split="train", num_envs=3, with_algorithm=True)
    assert opened.folder == run and opened.record["iteration"] == 2
    assert (opened.env.num_envs, str(opened.env.device)) == (3, "cpu")
    saved, base = load_file(run / "model.safetensors"), load_model(str(tiny_model)).state_dict()
    for name, tensor in opened.policy.lm.state_dict().items():
        if name in saved:
            assert torch.equal(tensor, saved[name])
    assert all(torch.equal(x, base[name]) for name, x in opened.reference.lm.state_dict().items())
    assert opened.untrained.lm is opened.reference.lm
    assert torch.equal(opened.policy.distribution.legal, opened.env.legal_tokens())
    algorithm = opened.algorithm
    assert isinstance(algorithm, PPO) and algorithm.config.kl_target == 0.1
    assert algorithm.common.kl_control.coef == opened.record["algorithm_state"]["kl_control"]["coef"] != 0.037
    head = load_file(run / "training.safetensors")["value_head.weight"]
    assert torch.equal(opened.policy.value_head.weight, head) and head.any()


def test_no_more_rows_than_the_run_had_and_its_own_split(run):
    assert open_run(run, num_envs=100).num_envs == 8
    train_part, eval_part = (set(open_run(run, split=split).env.task.examples) for split in ("train", "eval"))
    assert not train_part & eval_part


def test_what_is_not_used_is_not_built(run):
    (run / "training.safetensors").write_bytes(b"short")
    opened = open_run(run)
    assert opened.policy.lm is opened.lm
    with pytest.raises(ValueError, match="opened without its algorithm"):
        _ = opened.algorithm
    with pytest.raises(ValueError, match=r"training\.safetensors is damaged"):
        open_run(run, with_algorithm=True)


def test_a_reward_from_python_is_given_again_or_not_needed(tiny_config):
    run = train(tiny_config(max_minutes=1e-9), reward=vowels)
    opened = open_run(run)
    assert opened.lm and opened.tokenizer  # to generate, no reward is paid
    with pytest.raises(ValueError, match="reward 'vowels' came from Python"):
        _ = opened.env
    assert open_run(run, reward=vowels).env.num_envs == 8


@pytest.mark.parametrize("algorithm", [PPOConfig(), REINFORCEConfig(), GRPOConfig(group_size=4)])
def test_a_saved_algorithm_state_is_restored_whole(tiny_config, algorithm):
    learner = Learner(tiny_config(), algorithm)
    learner.learn(learner.play())
    state = learner.algorithm.state()
    other = Learner(tiny_config(seed=1), algorithm).algorithm
    other.load_state(state)
    again = other.state()
    assert again.values == state.values
    assert again.tensors.keys() == state.tensors.keys()
    assert all(torch.equal(again.tensors[name], state.tensors[name]) for name in state.tensors)
