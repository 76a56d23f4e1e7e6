"""Views of token space for stock agents: a few candidate tokens as actions, hidden states as observations.

    env = LMFeatures(TopKActions(gym.make("dyngen/Sentiment-v0"), "reviews-lm", k=8), "reviews-lm")

is a `Discrete(8)` env with a `Box` of floats as observation, for any `MlpPolicy`. Both functions take single and
batched envs; stacked, the wrappers share one engine and one forward for all rows of a step. Observations as a dict or
as text are options of the envs themselves.
"""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from dyngen_env.wrappers.single import SingleFeatures, SingleTopK
from dyngen_env.wrappers.vector import VectorFeatures, VectorTopK
from dyngen_env.wrappers.views import LM

__all__ = ["LMFeatures", "TopKActions"]


def TopKActions(env: Any, lm: LM, k: int = 8, device: str = "cpu") -> Any:
    """The action is a rank among the LM's k most likely legal next tokens, 0 the most likely: `Discrete(k)`.

    Observations are dicts of `tokens` (L,) int64 and `logprobs` (k,) float32, the candidates' log-probs among all
    legal tokens. `info["candidates"]` (k,) holds their ids. `action_masks()` (k,) is all True.

    Args:
        env: single or batched, with tokens as observations and numpy output (the defaults).
        lm: a model's name; or a model with the env's tokens, whose weights must not change any more.
        k: how many candidates.
        device: where a named model runs.

    Raises:
        ValueError: the observations, the LM's tokens or k do not fit; in `step`, a rank that is none.
    """
    return (VectorTopK if isinstance(env, VectorEnv) else SingleTopK)(env, lm, k, device)


def LMFeatures(env: Any, lm: LM, device: str = "cpu") -> Any:
    """The observation is the LM's last hidden state at the last token, a `Box` (D,) float32.

    Over `TopKActions` the candidates' log-probs follow it, (D + k,). Arguments and errors: `TopKActions`.
    """
    return (VectorFeatures if isinstance(env, VectorEnv) else SingleFeatures)(env, lm, device)
