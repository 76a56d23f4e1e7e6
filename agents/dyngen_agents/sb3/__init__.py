"""A causal language model in Stable-Baselines3: the policy, a rollout buffer that keeps it fast, the env's adapter.

`dyngen_agents.sb3.maskable` holds the policy for sb3-contrib's MaskablePPO; it needs sb3-contrib.
"""

from dyngen_agents.sb3.kl_penalty import KLPenalty
from dyngen_agents.sb3.policy import LMActorCriticPolicy
from dyngen_agents.sb3.segments import SegmentRolloutBuffer
from dyngen_agents.sb3.vec_env import as_sb3_vec_env

__all__ = ["KLPenalty", "LMActorCriticPolicy", "SegmentRolloutBuffer", "as_sb3_vec_env"]
