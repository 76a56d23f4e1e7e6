"""The language model as a policy for sb3-contrib's MaskablePPO, which hands over the env's `action_masks()`.

    MaskablePPO(MaskableLMActorCriticPolicy, env, gamma=1.0, policy_kwargs=dict(model="reviews-lm"))

Control tokens are never chosen by `LMActorCriticPolicy` either; masks are for tasks that narrow the choice further.
"""

from __future__ import annotations

import warnings
from typing import Any

from gymnasium import spaces

from dyngen_agents.sb3.policy import LMActorCritic

try:
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
except ImportError as error:
    raise ImportError("MaskableLMActorCriticPolicy needs sb3-contrib: pip install sb3-contrib") from error

__all__ = ["MaskableLMActorCriticPolicy"]

LARGE_VOCABULARY = 8192
_DEFAULT_STEPS = 2048  # n_steps of MaskablePPO


class MaskableLMActorCriticPolicy(LMActorCritic, MaskableActorCriticPolicy):  # type: ignore[misc]
    """A causal LM with a value head for MaskablePPO. Arguments and errors: `dyngen_agents.sb3.policy.LMActorCritic`.

    Warns:
        UserWarning: the vocabulary is large and the masks will take much memory.
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, *args: Any, **kwargs: Any):
        super().__init__(observation_space, action_space, *args, **kwargs)
        vocabulary = int(action_space.n)  # type: ignore[attr-defined]
        if vocabulary >= LARGE_VOCABULARY:
            _warn_of_masks(vocabulary)


def _warn_of_masks(vocabulary: int) -> None:
    warnings.warn(
        f"MaskablePPO stores a float32 mask of all {vocabulary} tokens for every step: n_steps x n_envs x "
        f"{4 * vocabulary / 1e6:.2f} MB, that is {4 * vocabulary * _DEFAULT_STEPS / 1e9:.2f} GB for each env at its "
        f"default n_steps={_DEFAULT_STEPS}. Lower n_steps, use PPO with LMActorCriticPolicy (which never chooses "
        "control tokens and stores no masks), or act on few candidates: dyngen_env.wrappers.TopKActions",
        UserWarning,
        stacklevel=3,
    )
