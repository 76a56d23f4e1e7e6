"""The algorithms by name: one line each. The first is what `train` uses when nothing is said."""

from __future__ import annotations

from dyngen_agents.algorithms.adversarial import Adversarial
from dyngen_agents.algorithms.algorithm import Algorithm, AlgorithmConfig
from dyngen_agents.algorithms.behaviour_cloning import BehaviourCloning
from dyngen_agents.algorithms.dpo import DPO
from dyngen_agents.algorithms.feedback_conditioned import FeedbackConditioned
from dyngen_agents.algorithms.grpo import GRPO
from dyngen_agents.algorithms.ppo import PPO
from dyngen_agents.algorithms.q_learning import QLearning
from dyngen_agents.algorithms.reinforce import REINFORCE
from dyngen_agents.algorithms.self_distillation import SelfDistillation
from dyngen_agents.algorithms.vine import Vine
from dyngen_agents.data.rollout import Act
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy

ALGORITHMS: dict[str, type[Algorithm]] = {
    "ppo": PPO,
    "reinforce": REINFORCE,
    "grpo": GRPO,
    "vine": Vine,
    "behaviour-cloning": BehaviourCloning,
    "dpo": DPO,
    "adversarial": Adversarial,
    "q": QLearning,
    "feedback-conditioned": FeedbackConditioned,
    "self-distillation": SelfDistillation,
}
DEFAULT = next(iter(ALGORITHMS))


def algorithm_name(config: AlgorithmConfig) -> str:
    """The name of the algorithm that a configuration is for. Raises ValueError if it is for none."""
    for name, kind in ALGORITHMS.items():
        if type(config) is kind.Config:
            return name
    raise ValueError(f"no algorithm has a {type(config).__name__}: expected that of {', '.join(ALGORITHMS)}")


def actor_for(config: AlgorithmConfig, policy: CausalLMPolicy, seed: int) -> Act:
    """A policy at work as the algorithm of this configuration has it: an `Actor`, or what its `actor_of` makes."""
    kind = ALGORITHMS[algorithm_name(config)]
    return kind.actor_of(policy, config, seed) if hasattr(kind, "actor_of") else Actor(policy, seed)


def default_config() -> AlgorithmConfig:
    """The configuration of the default algorithm, with its defaults."""
    return ALGORITHMS[DEFAULT].Config()
