"""A run that is killed amid an update (SIGKILL) goes on as if it had not been.

In the suite that is tried with one algorithm. With all of them: ALGORITHM=all python -m pytest <this file>
"""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from dyngen_agents.algorithms.adversarial import AdversarialConfig
from dyngen_agents.algorithms.behaviour_cloning import BehaviourCloningConfig
from dyngen_agents.algorithms.dpo import DPOConfig
from dyngen_agents.algorithms.feedback_conditioned import FeedbackConditionedConfig
from dyngen_agents.algorithms.grpo import GRPOConfig
from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.algorithms.q_learning import QLearningConfig
from dyngen_agents.algorithms.registry import ALGORITHMS
from dyngen_agents.algorithms.reinforce import REINFORCEConfig
from dyngen_agents.algorithms.self_distillation import SelfDistillationConfig
from dyngen_agents.algorithms.vine import VineConfig
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.training.progress import NoProgress
from dyngen_agents.training.train import train
from dyngen_env.types import Feedback
from tests.support.envs import Talker
from tests.support.forked import forked, needs_fork

USER = Talker((Feedback("more, please", rating=2.0), Feedback("less", rating=-1.0)))
TALK = dict(max_turns=2, max_context_tokens=100, reward="rating")
RUNS = {  # by the algorithm's name: its settings, the run's, and who is talked with
    "ppo": (PPOConfig(minibatch_size=4, kl_target=0.1, kl_horizon=50), {}, None),
    "reinforce": (REINFORCEConfig(), {}, None),
    "grpo": (GRPOConfig(minibatch_size=4, group_size=4), {}, None),
    "vine": (VineConfig(minibatch_size=4, forks=2, fork_every=3), {}, None),
    "dpo": (DPOConfig(minibatch_size=2, group_size=2), {}, None),
    "behaviour-cloning": (BehaviourCloningConfig(minibatch_size=2, top_fraction=0.5), dict(data="mine.jsonl"), None),
    "q": (QLearningConfig(minibatch_size=4, beta=0.5, cql_coef=0.1, replay=12), {}, None),
    "q from recorded episodes": (QLearningConfig(minibatch_size=4, beta=0.5), dict(data="mine.jsonl"), None),
    "adversarial": (AdversarialConfig(d_pretrain=1, d_credit="both", d_rollouts=2), {}, None),
    "self-distillation": (SelfDistillationConfig(minibatch_size=4), TALK, USER),
    "feedback-conditioned": (
        FeedbackConditionedConfig(supervised_updates=1, liked=5.0, note_tokens=8),
        TALK | dict(words_in_context=False),
        USER,
    ),
}
ASKED = os.environ.get("ALGORITHM", "dpo")


class KilledAmidUpdate(NoProgress):
    """Kills its own process once the third update has played, and is about to learn."""

    def __init__(self):
        self.updates = 0

    def phase(self, name):
        self.updates += name == "learning"
        if self.updates == 3:
            os.kill(os.getpid(), signal.SIGKILL)


def test_every_algorithm_has_a_run():
    assert {name.split(" ")[0] for name in RUNS} == {*ALGORITHMS}


@needs_fork
@pytest.mark.parametrize("name", RUNS if ASKED == "all" else [ASKED])
def test_a_killed_run_goes_on_exactly(tiny_config, tmp_path, name):
    lines = [("good", 3.0), ("bad", -1.0), ("sad", 0.5), ("great", 2.0)]
    said = [{"prompt": "The film", "completion": f" is {word}", "reward": reward} for word, reward in lines]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    human = [json.dumps({"prompt": "The film", "reference": f" is {word}"}) for word, _ in lines]
    (tmp_path / "human.jsonl").write_text("\n".join(human * 8) + "\n")
    algorithm, settings, user = RUNS[name]
    if isinstance(algorithm, AdversarialConfig):
        algorithm = replace(algorithm, human=str(tmp_path / "human.jsonl"))
    config = tiny_config(updates=4, save_every=2, seed=5, **settings)
    whole = train(replace(config, out="whole"), algorithm, user=user, progress=NoProgress())

    def killed():
        train(replace(config, out="killed"), algorithm, user=user, progress=KilledAmidUpdate())

    with forked(killed, tmp_path / "said.txt") as child:
        child.join(60)
        assert child.exitcode == -signal.SIGKILL, (tmp_path / "said.txt").read_text()
    run = tmp_path / "killed"
    assert open_checkpoint(run).record["iteration"] == 2

    train(TrainConfig(resume=str(run)), user=user, progress=NoProgress())
    files = sorted(path.name for path in whole.glob("*.safetensors"))
    assert files == sorted(path.name for path in run.glob("*.safetensors")) and "training.safetensors" in files
    for file in files:
        ours, theirs = load_file(run / file), load_file(whole / file)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
