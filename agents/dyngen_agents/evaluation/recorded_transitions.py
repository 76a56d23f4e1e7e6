"""Recorded episodes as the transitions that an env would have shown to its reward, without playing them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dyngen_agents.data.episodes import Episode, EpisodeTokens
from dyngen_env.mdp.state import (
    CONTEXT,
    FINISH_REASONS,
    GOAL,
    ILLEGAL,
    LENGTH,
    LIVE,
    STEPS,
    STOP,
    TURNS,
    USER,
    TokenState,
)
from dyngen_env.text.padding import pad_rows
from dyngen_env.types import Feedback, Transition


def transitions(
    episodes: Sequence[Episode], rows: EpisodeRows, finish: Tensor, every_token: bool
) -> Iterator[Transition]:
    """The steps of B episodes side by side; rows whose episode has ended absorb, as in an env.

    One thing is not recorded: whether a turn that a user answered ended by a token of its own or with its budget.
    Here it is always `STOP`.

    Args:
        rows: the episodes as tokens. finish: (B,) int64, why each ended (`finish_of`).
        every_token: all steps; otherwise only those in which turns end, the i-th turns of all rows in one step.
    """
    turn, live = torch.zeros_like(finish), torch.ones_like(finish, dtype=torch.bool)
    cut = torch.tensor([_is_cut_amid_turn(episode) for episode in episodes], device=finish.device)
    drafts = pad_rows([_drafts(episode) for episode in episodes], rows.starts.shape[1], fill=0).to(finish.device) > 0
    own = (finish == ILLEGAL) | (finish == CONTEXT) | (finish == LENGTH)  # what the token itself ended
    at = rows.start(turn) if every_token else rows.end(turn) - 1  # (B,) where each row's next token stands
    before = rows.state(at, turn, torch.full_like(finish, LIVE))
    while bool(live.any()):
        last = live & (at + 1 == rows.end(turn))  # tokens of their turns
        over = last & (turn + 1 == rows.counts)
        said = last & ~(over & cut)
        ended = said & ~drafts.gather(1, turn.unsqueeze(1)).squeeze(1)
        spoken_finish = torch.where(over & own, finish, torch.where(said, STOP, torch.where(live, LIVE, finish)))
        spoken = rows.state(at + 1, turn, spoken_finish)
        goes_on = last & ~over
        next_turn = turn + goes_on
        length = torch.where(goes_on, rows.start(next_turn), at + 1)
        after = rows.state(length, next_turn, torch.where(live & ~over, LIVE, finish))
        which = ended.nonzero().flatten().tolist()
        turns = [int(n) for n in turn]
        yield Transition(
            before=before,
            actions=rows.tokens.gather(1, at.unsqueeze(1)).squeeze(1),
            spoken=spoken,
            after=after,
            turn_ended=ended,
            rows=which,
            completions=[episodes[i].completions[turns[i]] for i in which],
            examples=[episodes[i].example for i in which],
            feedback=[(*episodes[i].feedback[turns[i] : turns[i] + 1], Feedback())[0] for i in which],
            dialogues=[episodes[i].dialogue(turns[i] + 1) for i in which],
            playing=[episode.example for episode in episodes],
            talks=[episode.dialogue(n) for episode, n in zip(episodes, turns, strict=True)],
        )
        live, turn = live & ~over, next_turn
        at = torch.where(live, length if every_token else rows.end(turn) - 1, at)
        before = after if every_token else rows.state(at + ~live, turn, after.finish)


@dataclass(frozen=True)
class EpisodeRows:
    """B whole episodes as padded token rows, and the K turns of the agent in each at most."""

    tokens: Tensor  # (B, L) int64, padded with -1
    starts: Tensor  # (B, K) int64, where a turn's first token stands
    ends: Tensor  # (B, K) int64, one beyond its last
    counts: Tensor  # (B,) int64, turns

    def start(self, turn: Tensor) -> Tensor:
        """(B,) the first position of each row's turn (B,)."""
        return self.starts.gather(1, turn.unsqueeze(1)).squeeze(1)

    def end(self, turn: Tensor) -> Tensor:
        """(B,) the position after each row's turn (B,)."""
        return self.ends.gather(1, turn.unsqueeze(1)).squeeze(1)

    def state(self, length: Tensor, turn: Tensor, finish: Tensor) -> TokenState:
        """What the env's state was when the rows had `length` (B,) tokens and were in turn (B,)."""
        column = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        start = self.start(turn)
        earlier = torch.zeros_like(self.tokens, dtype=torch.bool)
        for k in range(self.starts.shape[1]):
            begin, end = self.starts[:, k : k + 1], self.ends[:, k : k + 1]
            earlier |= (column >= begin) & (column < end) & (turn.unsqueeze(1) > k)
        return TokenState(
            tokens=torch.where(column < length.unsqueeze(1), self.tokens, -1),
            length=length,
            turn_start=start,
            earlier=earlier,
            stop_state=torch.zeros_like(length),
            finish=finish,
        )


def episode_rows(episodes: Sequence[EpisodeTokens], device: torch.device) -> EpisodeRows:
    """Episodes as padded rows on a device."""
    tokens = pad_rows([e.ids for e in episodes])
    starts, ends = (pad_rows([[turn[side] for turn in e.turns] for e in episodes], fill=0) for side in (0, 1))
    counts = torch.tensor([len(e.turns) for e in episodes])
    return EpisodeRows(*(part.to(device) for part in (tokens, starts, ends, counts)))


def finish_of(episode: Episode) -> int:
    """Why an episode ended, as the env's state has it; where it is not recorded, what the user's last answer says."""
    if episode.finish_reason:
        return FINISH_REASONS.index(episode.finish_reason)
    if not episode.answered:
        return STOP
    ends = episode.feedback[-1].ends if episode.feedback else False
    return GOAL if ends == "goal" else USER if ends else TURNS


def _is_cut_amid_turn(episode: Episode) -> bool:
    """Whether `max_episode_steps` cut the episode off before its last turn had ended: that turn is not paid."""
    return episode.finish_reason == FINISH_REASONS[STEPS] and len(episode.feedback) < len(episode.completions)


def _drafts(episode: Episode) -> list[int]:
    """1 for each completion that the user sent back. One that no other followed, as the context was full, is a turn."""
    cut_off = episode.finish_reason == FINISH_REASONS[STEPS]
    return [int(answer.revise) for answer in episode.feedback[: len(episode.completions) - (not cut_off)]]
