"""Learners that train a causal language model in the environments of `dyngen_env`.

    from dyngen_agents import PPOConfig, TrainConfig, evaluate, train

    run = train(TrainConfig(reward="sentiment"), PPOConfig())     # a folder that `from_pretrained` loads
    print(evaluate(run))

Each name below loads the module that defines it when it is first asked for, so importing the package costs nothing.
What Stable-Baselines3 and TRL need is in `dyngen_agents.sb3` and `dyngen_agents.trl`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyngen_agents.algorithms.adversarial import Adversarial, AdversarialConfig
    from dyngen_agents.algorithms.algorithm import Algorithm, AlgorithmConfig
    from dyngen_agents.algorithms.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
    from dyngen_agents.algorithms.dpo import DPO, DPOConfig
    from dyngen_agents.algorithms.feedback_conditioned import FeedbackConditioned, FeedbackConditionedConfig
    from dyngen_agents.algorithms.grpo import GRPO, GRPOConfig
    from dyngen_agents.algorithms.ppo import PPO, PPOConfig
    from dyngen_agents.algorithms.q_learning import QLearning, QLearningConfig
    from dyngen_agents.algorithms.reinforce import REINFORCE, REINFORCEConfig
    from dyngen_agents.algorithms.self_distillation import SelfDistillation, SelfDistillationConfig
    from dyngen_agents.algorithms.vine import Vine, VineConfig
    from dyngen_agents.data.episodes import Episode, read_episodes, write_episodes
    from dyngen_agents.data.rollout import collect
    from dyngen_agents.data.trajectories import Trajectories
    from dyngen_agents.distributed.interrupt import StopRequest
    from dyngen_agents.distributed.processes import from_launcher
    from dyngen_agents.evaluation.evaluate import evaluate
    from dyngen_agents.evaluation.rescore import Rescored, rescore
    from dyngen_agents.inspection.inspect_run import inspect_run
    from dyngen_agents.inspection.page import write_page
    from dyngen_agents.policy.actor import Actor
    from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy, Evaluation
    from dyngen_agents.policy.feedback_memory import FeedbackMemory, MemoryActor
    from dyngen_agents.policy.reference import Reference
    from dyngen_agents.reward_bench import RewardBench, bench_rewards
    from dyngen_agents.runs.config import TrainConfig
    from dyngen_agents.runs.folder import find_run
    from dyngen_agents.runs.opened_run import OpenedRun, open_run
    from dyngen_agents.training.metrics_log import read_metrics
    from dyngen_agents.training.progress import NoProgress
    from dyngen_agents.training.train import train
    from dyngen_env import __version__

_DEFINED_IN = {
    "Action": "policy.causal_lm",
    "Actor": "policy.actor",
    "Adversarial": "algorithms.adversarial",
    "AdversarialConfig": "algorithms.adversarial",
    "Algorithm": "algorithms.algorithm",
    "AlgorithmConfig": "algorithms.algorithm",
    "BehaviourCloning": "algorithms.behaviour_cloning",
    "BehaviourCloningConfig": "algorithms.behaviour_cloning",
    "CausalLMPolicy": "policy.causal_lm",
    "DPO": "algorithms.dpo",
    "DPOConfig": "algorithms.dpo",
    "Episode": "data.episodes",
    "Evaluation": "policy.causal_lm",
    "FeedbackConditioned": "algorithms.feedback_conditioned",
    "FeedbackConditionedConfig": "algorithms.feedback_conditioned",
    "FeedbackMemory": "policy.feedback_memory",
    "GRPO": "algorithms.grpo",
    "GRPOConfig": "algorithms.grpo",
    "MemoryActor": "policy.feedback_memory",
    "NoProgress": "training.progress",
    "OpenedRun": "runs.opened_run",
    "PPO": "algorithms.ppo",
    "PPOConfig": "algorithms.ppo",
    "QLearning": "algorithms.q_learning",
    "QLearningConfig": "algorithms.q_learning",
    "REINFORCE": "algorithms.reinforce",
    "REINFORCEConfig": "algorithms.reinforce",
    "Reference": "policy.reference",
    "Rescored": "evaluation.rescore",
    "RewardBench": "reward_bench",
    "SelfDistillation": "algorithms.self_distillation",
    "SelfDistillationConfig": "algorithms.self_distillation",
    "StopRequest": "distributed.interrupt",
    "TrainConfig": "runs.config",
    "Trajectories": "data.trajectories",
    "Vine": "algorithms.vine",
    "VineConfig": "algorithms.vine",
    "bench_rewards": "reward_bench",
    "collect": "data.rollout",
    "evaluate": "evaluation.evaluate",
    "find_run": "runs.folder",
    "from_launcher": "distributed.processes",
    "inspect_run": "inspection.inspect_run",
    "open_run": "runs.opened_run",
    "read_episodes": "data.episodes",
    "read_metrics": "training.metrics_log",
    "rescore": "evaluation.rescore",
    "train": "training.train",
    "write_episodes": "data.episodes",
    "write_page": "inspection.page",
}

__all__ = [
    "DPO",
    "GRPO",
    "PPO",
    "REINFORCE",
    "Action",
    "Actor",
    "Adversarial",
    "AdversarialConfig",
    "Algorithm",
    "AlgorithmConfig",
    "BehaviourCloning",
    "BehaviourCloningConfig",
    "CausalLMPolicy",
    "DPOConfig",
    "Episode",
    "Evaluation",
    "FeedbackConditioned",
    "FeedbackConditionedConfig",
    "FeedbackMemory",
    "GRPOConfig",
    "MemoryActor",
    "NoProgress",
    "OpenedRun",
    "PPOConfig",
    "QLearning",
    "QLearningConfig",
    "REINFORCEConfig",
    "Reference",
    "Rescored",
    "RewardBench",
    "SelfDistillation",
    "SelfDistillationConfig",
    "StopRequest",
    "TrainConfig",
    "Trajectories",
    "Vine",
    "VineConfig",
    "__version__",
    "bench_rewards",
    "collect",
    "evaluate",
    "find_run",
    "from_launcher",
    "inspect_run",
    "open_run",
    "read_episodes",
    "read_metrics",
    "rescore",
    "train",
    "write_episodes",
    "write_page",
]


def __getattr__(name: str) -> Any:
    """A public name, from the module that defines it (PEP 562)."""
    if name == "__version__":
        value = import_module("dyngen_env").__version__
    elif name in _DEFINED_IN:
        value = getattr(import_module(f"{__name__}.{_DEFINED_IN[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
