"""Views: what a wrapper shows instead of rows of tokens, for any number of rows at once.

`Candidates` is the view of `TopKActions`, `Features` that of `LMFeatures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper

from dyngen_env.lm.engine.reader import LMReader

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LM: TypeAlias = "str | PreTrainedModel"  # a model or its name
Shown = tuple[Any, dict[str, np.ndarray]]  # B observations, and what is added to the infos: each (B, ...)


class View(Protocol):
    """Turns B observations of an env into B others."""

    reader: LMReader

    @property
    def space(self) -> spaces.Space:
        """The space of one of the new observations."""

    def __call__(self, observations: Any) -> Shown:
        """The new observations, and arrays (B, ...) to add to the infos, by name."""


class Candidates:
    """The view of `TopKActions`: the tokens so far, and log-probs and ids of the likeliest.

    The ids are in the infos, and in the observations if they are to be shown.
    """

    def __init__(self, env: gym.Env | VectorEnv, lm: LM, k: int, device: str, show_candidates: bool = False):
        tokens = _token_space(_observation_space(env))
        batch: Any = getattr(env.unwrapped, "batch", env.unwrapped)
        distribution = batch.token_distribution()
        fewest = distribution.fewest_choices
        if not 1 <= k <= fewest:
            ban = "" if batch.banned is None else ", as few as that where banned words could be completed"
            raise ValueError(
                f"k={k} candidates cannot be had of {fewest} legal tokens{ban}: expected 1 <= k <= {fewest}"
            )
        self.k, self.reader = k, reader_of(env, lm, tokens, device)
        self._distribution = distribution.to(self.reader.model.device)
        shown: dict[str, spaces.Space] = {"tokens": tokens, "logprobs": spaces.Box(-np.inf, 0, (k,), np.float32)}
        if show_candidates:
            shown["candidates"] = spaces.Box(0, int(tokens.high.max()), (k,), np.int64)
        self.space = spaces.Dict(shown)

    def __call__(self, observations: np.ndarray) -> Shown:
        ids, logprobs = self.reader.most_likely(observations, self._distribution, self.k)
        shown = {"tokens": observations, "logprobs": logprobs}
        return shown | ({"candidates": ids} if "candidates" in self.space.spaces else {}), {"candidates": ids}


class Features:
    """The view of `LMFeatures`: hidden states (B, D), and over `TopKActions` the candidates' log-probs beside them, and
    their embeddings (B, k E) if it shows its candidates.
    """

    def __init__(self, env: gym.Env | VectorEnv, lm: LM, device: str):
        shown, k, named = _observation_space(env), 0, 0
        if isinstance(shown, spaces.Dict) and set(shown) - {"candidates"} == {"tokens", "logprobs"}:
            k = shown["logprobs"].shape[0]  # type: ignore[index]
            named, shown = k * ("candidates" in shown.spaces), shown["tokens"]
        self.reader = reader_of(env, lm, _token_space(shown), device)
        width = self.reader.hidden_size + k + named * self.reader.embedding_size
        self.space = spaces.Box(-np.inf, np.inf, (width,), np.float32)

    def __call__(self, observations: Any) -> Shown:
        if not isinstance(observations, dict):
            return self._hidden(observations), {}
        parts = [self._hidden(observations["tokens"]), observations["logprobs"]]
        if "candidates" in observations:
            parts.append(self.reader.embeddings(observations["candidates"]).reshape(len(parts[0]), -1))
        return np.concatenate(parts, axis=1), {}

    def _hidden(self, tokens: np.ndarray) -> np.ndarray:
        return np.array(self.reader.hidden(tokens).float().numpy(force=True))


def reader_of(env: Any, lm: LM, tokens: spaces.Box, device: str) -> LMReader:
    """A reader of this model: that of a wrapper further inside, so that both share its cache, or a new one."""
    layer = env
    while isinstance(layer, gym.Wrapper | VectorWrapper):
        view = getattr(layer, "view", None)
        if isinstance(view, Candidates | Features) and view.reader.lm == lm:
            return view.reader
        layer = layer.env
    return LMReader(lm, int(tokens.high.max()) + 1, tokens.shape[0], device)


def ranks(actions: np.ndarray, k: int, ignored: np.ndarray) -> np.ndarray:
    """Checked actions (B,): ranks among k candidates, with 0 in the rows that are ignored, (B,) bool.

    Raises:
        ValueError: wrong dtype or shape, or a rank outside 0 ... k - 1 in a row that is not ignored.
    """
    if actions.dtype.kind not in "iu" or actions.shape != ignored.shape:
        raise ValueError(
            f"actions have dtype {actions.dtype} and shape {actions.shape}: expected integers of shape {ignored.shape}"
        )
    outside = ((actions < 0) | (actions >= k)) & ~ignored
    if outside.any():
        row = int(outside.nonzero()[0][0])
        raise ValueError(f"action {actions[row]} of row {row} is out of range: expected 0 <= rank < {k}")
    return np.where(ignored, 0, actions)


def _observation_space(env: gym.Env | VectorEnv) -> spaces.Space:
    return env.single_observation_space if isinstance(env, VectorEnv) else env.observation_space


def _token_space(space: spaces.Space) -> spaces.Box:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or space.dtype != np.int64:
        raise ValueError(
            f'a language model cannot read {space}: make the env with observation="tokens", and put LMFeatures over '
            "TopKActions"
        )
    return space
