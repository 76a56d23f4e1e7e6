"""A causal language model in Stable-Baselines3: the policy, a rollout buffer that keeps it fast, the env's adapter.

`agents.sb3.maskable` holds the policy for sb3-contrib's MaskablePPO; it needs sb3-contrib.
"""

from agents.sb3.kl_penalty import KLPenalty
from agents.sb3.policy import LMActorCriticPolicy
from agents.sb3.segments import SegmentRolloutBuffer
from agents.sb3.vec_env import as_sb3_vec_env

__all__ = ["KLPenalty", "LMActorCriticPolicy", "SegmentRolloutBuffer", "as_sb3_vec_env"]
