"""The one distribution over next tokens: from a model's logits to the logits of what may be drawn.

Whoever acts, scores or decodes gets the same `TokenDistribution`, so a log-prob stored at sampling equals the one
computed in the update, and nobody can forget a ban.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real

import torch
from torch import Tensor

from dyngen_env.mdp.banned import BannedWords
from dyngen_env.mdp.rules import legal_tokens
from dyngen_env.text.tokenizer import Tokenizer

COLDEST, HOTTEST = 1e-30, 1e30  # temperatures: beyond them float32 overflows


def _is(kind: type, value: object) -> bool:
    """Whether a value is a number of that kind; a bool is none."""
    return isinstance(value, kind) and not isinstance(value, bool)


@dataclass(frozen=True)
class SamplingConfig:
    """How tokens are drawn among those that may be written at all: temperature, then top-k, then top-p.

    Raises:
        ValueError: a setting that gives no distribution.
    """

    temperature: float = 1.0
    """Logits are divided by it: below 1 is more cautious, above 1 more varied. 0 is greedy: the likeliest token."""
    top_k: int = 0
    """Sample among the k most likely tokens (Fan et al. 2018); 0 is all."""
    top_p: float = 1.0
    """Sample among the fewest most likely tokens that have this mass together (Holtzman et al. 2020); 1 is all."""

    def __post_init__(self) -> None:
        if not (_is(Real, self.temperature) and (self.temperature == 0 or COLDEST <= self.temperature <= HOTTEST)):
            raise ValueError(
                f"temperature is {self.temperature!r}, expected a number from {COLDEST} to {HOTTEST}, or 0 for greedy"
            )
        if not (_is(Integral, self.top_k) and self.top_k >= 0):
            raise ValueError(f"top_k is {self.top_k!r}, expected an integer: at least 1, or 0 for all tokens")
        if not (_is(Real, self.top_p) and 0 < self.top_p <= 1):
            raise ValueError(f"top_p is {self.top_p!r}, expected a number above 0 and at most 1, which is all tokens")

    def require_chance(self) -> None:
        """Raises ValueError if the temperature is 0: what a learner cannot work with."""
        if self.temperature == 0:
            raise ValueError(
                "temperature is 0, which is greedy: a policy that leaves nothing to chance explores nothing, and its "
                "log-probs (0 for one token, -inf for all others) have no gradient. Learn with a temperature above 0"
            )


@dataclass(frozen=True, eq=False)
class TokenDistribution:
    """Which tokens may follow a text, and how likely each is given a model's logits.

    An env makes one by `env.token_distribution(sampling)`, a tokenizer alone by `TokenDistribution.of`. Without any
    argument it is the model's own softmax. `logits`, `state`, `states` and `warp` read no tensor on the host.

    With banned words a token may depend on all those before it. This takes two forms: `logits` for the next token of
    each row, which is what acting needs; for scoring at many positions, `states(tokens)` once and `warp` for as many
    positions at a time as fit into memory.

    Args:
        legal: (V,) bool, tokens that may be written anywhere; None: all. A model's head may be wider than V.
        banned: words that no token may complete.
        sampling: temperature, top-k and top-p, in this order, over what is left.
    """

    legal: Tensor | None = None
    banned: BannedWords | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        sampling: SamplingConfig | None = None,
        banned: Sequence[str] = (),
        device: torch.device | str = "cpu",
    ) -> TokenDistribution:
        """The distribution over a tokenizer's text and end tokens. `banned`: words, as those of an env."""
        legal = torch.from_numpy(legal_tokens(tokenizer)).to(device)
        words = BannedWords(banned, tokenizer, device) if banned else None
        return cls(legal, words, sampling or SamplingConfig())

    @property
    def fewest_choices(self) -> int:
        """How many tokens may be drawn at least, whatever was written before. Needs `legal`."""
        assert self.legal is not None
        return int(self.legal.sum()) if self.banned is None else self.banned.fewest_allowed(self.legal)

    def with_sampling(self, sampling: SamplingConfig) -> TokenDistribution:
        """The same legal tokens and banned words, drawn in another way."""
        return replace(self, sampling=sampling)

    def to(self, device: torch.device | str) -> TokenDistribution:
        """The same distribution with its tensors on a device."""
        return replace(
            self,
            legal=None if self.legal is None else self.legal.to(device),
            banned=None if self.banned is None else self.banned.to(device),
        )

    def logits(self, raw: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, V) of the next token of each row; a softmax of them is the distribution.

        Args:
            raw: (B, W) a model's logits, W >= V.
            tokens: (B, L) int64, -1 where empty. lengths: (B,) int64, how many of each row's tokens have been written.
        """
        return self.warp(raw, self.state(tokens, lengths))

    def state(self, tokens: Tensor, lengths: Tensor) -> Tensor | None:
        """(B,) what `warp` must know after the first `lengths` (B,) tokens of rows (B, L); None: nothing."""
        return None if self.banned is None else self.banned.state(tokens, lengths)

    def states(self, tokens: Tensor) -> Tensor | None:
        """(N, T) what `warp` must know after each of the tokens (N, T), -1 where empty; None: nothing."""
        return None if self.banned is None else self.banned.states(tokens)

    def warp(self, raw: Tensor, states: Tensor | None) -> Tensor:
        """Logits (..., V) of what may be drawn, from raw ones (..., W) and the states (...) there.

        Raises:
            ValueError: there are banned words and no states are given.
        """
        legal = self.legal
        if self.banned is not None:
            if states is None:
                raise ValueError("there are banned words: warp needs the states after the tokens, see state and states")
            allowed = self.banned.allowed(states)
            legal = allowed if legal is None else legal & allowed
        return warp_logits(raw, legal, self.sampling)


PLAIN = TokenDistribution()  # a model's own softmax


def warp_logits(logits: Tensor, legal: Tensor | None = None, sampling: SamplingConfig | None = None) -> Tensor:
    """Logits of the distribution that is sampled from: float32, -inf where a token cannot be drawn.

    Args:
        logits: (..., W) raw, W >= V: a model's head may be wider than the tokenizer.
        legal: (V,) or (..., V) bool, None where every token is.
        sampling: None changes nothing more.

    Returns:
        (..., V) float32, not normalised.
    """
    s = sampling or SamplingConfig()
    if legal is not None:
        # Adding -inf does what masked_fill does, and costs the backward pass nothing.
        penalty = torch.zeros(legal.shape, device=legal.device).masked_fill_(~legal, -torch.inf)
        logits = logits[..., : legal.shape[-1]] + penalty  # float32, whatever the model's precision is
    if s.temperature == 0:  # the limit from above: all mass on the most likely token, the first of equals
        return torch.full_like(logits, -torch.inf, dtype=torch.float32).scatter(-1, logits.argmax(-1, True), 0.0)
    logits = logits.float() / s.temperature if s.temperature != 1.0 else logits.float()
    if s.top_k and s.top_k < logits.shape[-1]:
        smallest = logits.topk(s.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if s.top_p < 1.0:
        ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= max(
            s.top_p, torch.finfo(torch.float32).tiny
        )  # the token that crosses the mass stays
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
    return logits
