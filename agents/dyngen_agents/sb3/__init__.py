"""A causal language model in Stable-Baselines3: a policy, a rollout buffer that keeps it fast, a VecEnv, a KL penalty.

The policy acts and learns under one distribution: the env's legal tokens without its banned words, which come with the
action space, and the policy's own `sampling`. SB3's `evaluate_policy` is greedy by default; a model's likeliest text
says little about those that it draws, so measure with `evaluate_policy(..., deterministic=False)`.

The policy for sb3-contrib's MaskablePPO is in `dyngen_agents.sb3.maskable`, which needs sb3-contrib.
"""

from dyngen_agents.sb3.former_names import register_former_names
from dyngen_agents.sb3.kl_penalty import KLPenalty
from dyngen_agents.sb3.policy import LMActorCriticPolicy
from dyngen_agents.sb3.segments import SegmentRolloutBuffer
from dyngen_agents.sb3.vec_env import as_sb3_vec_env

__all__ = ["KLPenalty", "LMActorCriticPolicy", "SegmentRolloutBuffer", "as_sb3_vec_env"]

register_former_names()
