"""Token MDPs so small that everything about them can be enumerated: a few letters, a few steps, a tiny random model."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import dyngen_env  # noqa: F401  (registers the ids)
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.mdp.state import STOP
from dyngen_env.rewards import Reward
from dyngen_env.types import Transition


class Letters:
    """A tokenizer of some letters: their ids come first, then EOS, BOS and USER, of which the agent may choose EOS."""

    name = "letters"

    def __init__(self, letters: str = "ab"):
        self.letters = letters
        n = len(letters)
        self.eos, self.bos, self.user = n, n + 1, n + 2
        self.end_ids, self.control_ids = frozenset({self.eos}), frozenset({self.eos, self.bos, self.user})
        self.token_bytes = (*(letter.encode() for letter in letters), b"", b"", b"")

    def __len__(self) -> int:
        return len(self.token_bytes)

    def encode(self, text: str) -> list[int]:
        return [self.letters.index(letter) for letter in text]

    def encode_prompt(self, text: str) -> list[int]:
        return [self.bos, *self.encode(text)]

    def encode_opening(self, text: str) -> list[int]:
        return [self.user, *self.encode(text), self.bos]

    def encode_reply(self, text: str, last: int, rating: float | None = None) -> list[int]:
        return [*([] if last == self.eos else [self.eos]), self.user, *self.encode(text), self.bos]


class PaysForStopping(Reward):
    """`stopped` for a turn that the agent ends itself, `cut` for one that a limit ends."""

    name = "stopping"

    def __init__(self, stopped: float = 1.0, cut: float = 0.5):
        self.stopped, self.cut = stopped, cut

    def __call__(self, transition: Transition) -> torch.Tensor:
        paid = torch.where(transition.spoken.finish == STOP, self.stopped, self.cut)
        return torch.where(transition.turn_ended, paid, 0.0).double()


def tiny_env(num_envs: int = 32, letters: str = "ab", **options: Any):
    """Writes at most 4 letters after "a"."""
    settings: dict[str, Any] = dict(
        tokenizer=Letters(letters),
        prompts=["a"],
        max_new_tokens=4,
        max_context_tokens=16,
        output="torch",
        autoreset_mode="same_step",
    )
    return gym.make_vec("dyngen/Generate-v0", num_envs=num_envs, **(settings | options)).unwrapped


def tiny_lm(vocabulary: int, seed: int = 0, spread: float = 0.2) -> GPT2LMHeadModel:
    """A random GPT-2 of one layer whose first distribution is not flat."""
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=32, n_embd=32, n_layer=1, n_head=2, tie_word_embeddings=False,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
        for p in model.parameters():
            if p.dim() > 1:
                torch.nn.init.normal_(p, std=spread)
    return model


def tiny_policy(env: Any, seed: int = 0, sampling: SamplingConfig | None = None, **options: Any) -> CausalLMPolicy:
    return CausalLMPolicy(tiny_lm(len(env.tokenizer), seed, **options), env.token_distribution(sampling))


class Episodes(NamedTuple):
    """N episodes: what was written, and what was paid for it."""

    tokens: torch.Tensor  # (N, L) int64, padded with -1
    completion_mask: torch.Tensor  # (N, L) bool, True where the agent chose the token
    returns: torch.Tensor  # (N,) float64


def all_episodes(**options: Any) -> Episodes:
    """Every episode that a tiny env with one prompt can have, by forking it for each legal token of each state."""
    env = tiny_env(1, **options, autoreset_mode="disabled")
    env.reset(seed=0)
    legal = env.legal_tokens().nonzero().flatten()
    returns = torch.zeros(1, dtype=torch.float64)
    found = []
    while True:
        live = env.state.live
        ended = ~live
        found.append(Episodes(env.state.tokens[ended], env.state.completion_mask[ended], returns[ended]))
        if not live.any():
            return Episodes(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        rows = live.nonzero().flatten().repeat_interleave(len(legal))
        env = env.fork(rows.tolist())
        rewards = env.step(legal.repeat(len(rows) // len(legal)))[1]
        returns = returns[rows] + rewards.double()
