"""A causal language model in Stable-Baselines3: the policy, a rollout buffer that keeps it fast, the env's adapter.

The policy acts and learns under the env's one distribution: legal tokens, no banned words (the env's action space
names them), and its own `sampling`. SB3's `evaluate_policy` is greedy by default, and a model's likeliest text says
little of those that it draws: `evaluate_policy(..., deterministic=False)` measures what was trained.

`dyngen_agents.sb3.maskable` holds the policy for sb3-contrib's MaskablePPO; it needs sb3-contrib.
"""

from dyngen_agents.sb3.former_names import register_former_names
from dyngen_agents.sb3.kl_penalty import KLPenalty
from dyngen_agents.sb3.policy import LMActorCriticPolicy
from dyngen_agents.sb3.segments import SegmentRolloutBuffer
from dyngen_agents.sb3.vec_env import as_sb3_vec_env

__all__ = ["KLPenalty", "LMActorCriticPolicy", "SegmentRolloutBuffer", "as_sb3_vec_env"]

register_former_names()
