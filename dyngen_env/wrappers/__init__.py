"""Wrappers that make an env small enough for stock agents: a language model proposes actions and reads observations.

An action of our envs is one of thousands of tokens, and an observation a row of token ids: too much for a DQN or an MLP
policy from another library. With

    env = LMFeatures(TopKActions(gym.make("dyngen/Sentiment-v0"), "reviews-lm", k=8), "reviews-lm")

the action is one of the 8 tokens that the model finds most likely, `Discrete(8)`, and the observation a vector of
floats, so any `MlpPolicy` can act. Both functions take single and batched envs. Where one stands on the other, they
share one cached model and one forward pass for all rows of a step. Observations as dicts or as text need no wrapper:
they are options of the envs themselves.
"""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from dyngen_env.wrappers.single import SingleFeatures, SingleTopK
from dyngen_env.wrappers.vector import VectorFeatures, VectorTopK
from dyngen_env.wrappers.views import LM

__all__ = ["LMFeatures", "TopKActions"]


def TopKActions(env: Any, lm: LM, k: int = 8, device: str = "cpu", show_candidates: bool = False) -> Any:
    """Let the agent choose among the k legal tokens that a language model finds most likely: `Discrete(k)`.

    Action 0 is the most likely of them, action k - 1 the least. Observations become dicts: `tokens` (L,) int64, as
    before, and `logprobs` (k,) float32, the candidates' log-probabilities among all legal tokens. `info["candidates"]`
    (k,) holds their token ids. `action_masks()` (k,) is all True, since every candidate is legal.

    Args:
        env: a single or batched env whose observations are tokens, as NumPy arrays (the defaults).
        lm: a model's name, or a model that has the env's tokens; its weights must not change afterwards.
        k: how many candidates there are.
        device: where a model given by name runs.
        show_candidates: observations also have `candidates` (k,) int64, the token ids, and `LMFeatures` over this shows
            the candidates' word embeddings. Else an agent that sees vectors knows an action by its rank alone, though
            rank 0 is another word in every state.

    Raises:
        ValueError: the env's observations are no tokens, the model has other tokens than the env, or the env has fewer
            than k legal tokens; from `step`, an action outside 0 ... k - 1.
    """
    return (VectorTopK if isinstance(env, VectorEnv) else SingleTopK)(env, lm, k, device, show_candidates)


def LMFeatures(env: Any, lm: LM, device: str = "cpu") -> Any:
    """Show the agent what a language model made of the text so far: its last hidden state at the last token.

    Observations become a `Box` of shape (D,), float32, with D the model's hidden size. Over an env that `TopKActions`
    has wrapped, the log-probabilities of the k candidates follow, (D + k,), and with its `show_candidates` their word
    embeddings, one after the other, each of E numbers, (D + k + k E,). Arguments and errors: see `TopKActions`.
    """
    return (VectorFeatures if isinstance(env, VectorEnv) else SingleFeatures)(env, lm, device)
