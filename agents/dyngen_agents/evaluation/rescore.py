"""What recorded episodes would have earned under another reward: nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dyngen_agents.data.encoding import encoded
from dyngen_agents.data.episodes import Episode
from dyngen_agents.evaluation.recorded_transitions import episode_rows, finish_of, transitions
from dyngen_env.envs.reward_ledger import RewardLedger
from dyngen_env.lm.loading.models import context_window, load_config, load_tokenizer
from dyngen_env.rewards import Reward, RewardContext, make_reward
from dyngen_env.rewards.transforms.normalise import refuse_moving_scales
from dyngen_env.text.huggingface import adapted
from dyngen_env.text.tokenizer import ByteTokenizer, Tokenizer

ROWS = 256  # episodes at a time: bounds memory


@dataclass(frozen=True)
class Rescored:
    """What N episodes earned under one reward."""

    terms: dict[str, np.ndarray]  # (N,) float64 each: the parts' sums over an episode, by name

    @property
    def returns(self) -> np.ndarray:
        """(N,) float64: undiscounted sums of an episode's rewards."""
        return np.sum(list(self.terms.values()), axis=0)


def rescore(
    episodes: Sequence[Episode],
    reward: str | Reward | Callable[..., float],
    *,
    model: str | None = None,
    device: str = "cpu",
) -> Rescored:
    """The returns of recorded episodes under a reward: what an env with that reward would have paid for them.

    The reward sees the recorded turns, answers and references. When something is paid does not matter, only the sum
    over an episode does: `delayed(r)` counts as r, and `shaped(r)` with γ = 1 as r, because shaping adds up to 0.
    Other rewards that pay by token are asked at every token, which takes longer. An illegal token costs 1, as in every
    env, unless the reward has a price for it.

    Args:
        episodes: see `data.episodes`. Tokens that were recorded are taken as they are if they are of `model`; other
            texts are encoded, and then `fluency` leaves out the token that ended a turn.
        reward: as for the env.
        model: the language model that `fluency` and `similarity` ask where they name none. None: there is none, and
            tokens are bytes.

    Raises:
        ValueError: a reward that cannot be read or paid, `normalised` without figures, which would pay by the order of
            the episodes, or an episode that is too long for the model.
        TypeError: something that is no reward.
    """
    tokenizer: Tokenizer = ByteTokenizer() if model is None else adapted(load_tokenizer(model))
    context = RewardContext(model, tokenizer, torch.device(device))
    made = make_reward(reward)
    refuse_moving_scales(made)
    ledger = RewardLedger(made.by_turns(), context)
    known = [encoded(episode, tokenizer, model or tokenizer.name) for episode in episodes]
    if model is not None:
        _check_window([len(tokens.ids) for tokens in known], model)
    parts = []
    for start in range(0, len(episodes), ROWS):
        some, rows = episodes[start : start + ROWS], episode_rows(known[start : start + ROWS], context.device)
        finish = torch.tensor([finish_of(episode) for episode in some], device=context.device)
        paid = owed = ledger.zeros(len(some))
        for transition in transitions(some, rows, finish, ledger.reward.per_token):
            _, paid, owed = ledger.pay(paid, owed, transition)
        parts.append(paid.numpy(force=True))
    terms = dict(zip(ledger.names, np.concatenate(parts).T, strict=True))
    if ledger.implied is not None and not terms[ledger.implied].any():
        del terms[ledger.implied]
    return Rescored(terms)


def _check_window(lengths: Sequence[int], model: str) -> None:
    """Raises ValueError if the model cannot hold an episode."""
    window = context_window(load_config(model))
    long = [number for number, length in enumerate(lengths, 1) if length > window]
    if long:
        raise ValueError(
            f"{len(long)} of {len(lengths)} episodes exceed the {window} tokens of model {model!r}, such as number "
            f"{long[0]} with {lengths[long[0] - 1]}: leave them out, or choose another model"
        )
