"""A dialogue as the token ids that the agent reads before its next turn, in the frame that environments use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dyngen_env.envs.conversation import oldest_turns
from dyngen_env.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Said:
    """One turn of a dialogue, as it counts for the context.

    Attributes:
        by_agent: whether the agent said it; else it was the user.
        text: the words.
        ids: of the agent's turns the tokens that were sampled; None encodes `text`, as for a turn that somebody edited.
        rating: of a user's turn, how they rated the turn before it; None: they did not.
    """

    by_agent: bool
    text: str
    ids: tuple[int, ...] | None = None
    rating: float | None = None


@dataclass(frozen=True)
class Frame:
    """How a dialogue becomes tokens.

    Attributes:
        tokenizer: the model's.
        max_context_tokens: the most tokens of context and answer together.
        rating_tokens: whether a rating stands before the user's words as a control token, as the env of a run had it.
        words_in_context: whether the context holds what users say after their first message.
    """

    tokenizer: Tokenizer
    max_context_tokens: int
    rating_tokens: bool = False
    words_in_context: bool = True

    def context(self, turns: Sequence[Said], reserve_tokens: int) -> list[int]:
        """The tokens that stand before the agent's next turn. `reserve_tokens` are free behind them, at least one.

        If the dialogue is too long, its oldest turns are left out, together with the answers to them; the first
        message always stays.

        Raises:
            ValueError: the turns are not in alternation, beginning and ending with the user; or the first and the last
                message alone leave no room for an answer.
        """
        if not turns or any(turn.by_agent != bool(i % 2) for i, turn in enumerate(turns)) or turns[-1].by_agent:
            raise ValueError(
                "the agent answers after the user: expected turns in alternation, first and last the user's"
            )
        ids = self.tokenizer.encode_opening(turns[0].text)
        chosen = [False] * len(ids)
        for agent, user in zip(turns[1::2], turns[2::2], strict=True):
            own = list(agent.ids or self.tokenizer.encode(agent.text)) or self.tokenizer.encode(" ")
            rated = (user.rating,) if self.rating_tokens and user.rating is not None else ()
            reply = self.tokenizer.encode_reply(user.text if self.words_in_context else "", own[-1], *rated)
            ids += [*own, *reply]
            chosen += [*[True] * len(own), *[False] * len(reply)]
        start, count = oldest_turns(chosen, len(ids) + reserve_tokens - self.max_context_tokens)
        del ids[start : start + count]
        if len(ids) >= self.max_context_tokens:
            raise ValueError(
                f"the first message and the last turns have {len(ids)} tokens, and the model reads at most "
                f"{self.max_context_tokens} with its answer: write a shorter message, or begin a new dialogue"
            )
        return ids
