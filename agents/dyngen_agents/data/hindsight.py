"""The agent's turns as if it had known beforehand what the user would answer: token rows for a teacher to score.

Each turn is written anew, token for token, after the context that the agent had, an empty turn in its place, and the
user's answer to it as the user's next turn:

    the context that the agent had | <end> <user> shorter, please. <end> <assistant> | the turn itself

The frame is the one that the env's tokenizer writes between turns (`encode_reply`), so that a model which has learned
to do what a user has just asked for reads the answer as such a request. The answer that ends a dialogue never stands in
an episode's tokens; the episode's record (`Trajectories.dialogues`) has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dyngen_agents.data.judged_texts import turns_of
from dyngen_agents.data.trajectories import Trajectories
from dyngen_env.text.padding import pad_rows
from dyngen_env.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class HindsightRows:
    """M turns that a user has answered in words, each in a row of its own: the new context, then the turn."""

    tokens: Tensor  # (M, W) int64, right-padded with -1
    completion_mask: Tensor  # (M, W) bool, the turn
    episodes: Tensor  # (M,) int64, the row of the batch that the turn is from
    start: Tensor  # (M,) int64, where the turn begins there

    def aligned(self, values: Tensor, like: Tensor) -> Tensor:
        """Values (M, W) of the turns' tokens where these tokens stand in the batch: (N, L) as `like`, else zero."""
        rows, columns = self.completion_mask.nonzero(as_tuple=True)
        first = self.completion_mask.int().argmax(1)
        at = (self.episodes[rows], columns - first[rows] + self.start[rows])
        return torch.zeros_like(like, dtype=values.dtype).index_put(at, values[rows, columns])

    def as_batch(self) -> Trajectories:
        """The rows as episodes of which nothing is known but their tokens, for `map_in_batches`."""
        zeros, none = torch.zeros(self.tokens.shape, device=self.tokens.device), torch.zeros_like(self.episodes)
        return Trajectories(self.tokens, self.completion_mask, zeros, zeros, zeros, none.float(), none)


def hindsight_rows(batch: Trajectories, tokenizer: Tokenizer, window: int) -> HindsightRows | None:
    """The turns of a batch whose answers have words in them; None if there is no such turn.

    Left out are turns that would not fit into the model's window, and episodes whose tokens do not show each turn by
    itself. The context of a turn is that of its own token row, where contexts were cut (`data.segments`).

    Args:
        window: how many tokens a row may have.
    """
    turns = turns_of(batch.completion_mask)
    spans: list[list[tuple[int, int]]] = [[] for _ in range(len(batch))]
    for episode, *span in torch.stack([turns.episodes, turns.start, turns.end], 1).tolist():
        spans[episode].append((span[0], span[1]))
    found: list[tuple[list[int], int, int, int]] = []  # a row's tokens, how many are the turn's, episode, start
    for episode, (own, ids) in enumerate(zip(spans, batch.tokens.tolist(), strict=True)):
        answers = _answers(batch, episode)
        if len(answers) != len(own):
            continue
        begins = batch.starts[episode] if batch.starts else (0,)
        for (start, end), answer in zip(own, answers, strict=True):
            begin = max(b for b in begins if b < start)
            row = [*ids[begin:start], *tokenizer.encode_reply(answer, ids[start - 1]), *ids[start:end]]
            if answer.strip() and len(row) <= window:
                found.append((row, end - start, episode, start))
    if not found:
        return None
    rows, counts, episodes, starts = zip(*found, strict=True)
    device = batch.tokens.device
    mask = pad_rows([[0] * (len(row) - n) + [1] * n for row, n in zip(rows, counts, strict=True)], fill=0)
    return HindsightRows(
        pad_rows(rows).to(device),
        mask.bool().to(device),
        torch.tensor(episodes, device=device),
        torch.tensor(starts, device=device),
    )


def _answers(batch: Trajectories, episode: int) -> list[str]:
    """What the user answered to each of the agent's turns; empty where they did not, as when the turn was cut off."""
    talk = batch.dialogues[episode] if len(batch.dialogues) else None
    answers: list[str] = []
    for turn in (talk or [])[1:]:  # the first is the prompt
        if turn["role"] == "agent":
            answers.append("")
        elif answers:
            answers[-1] = turn["text"]
    return answers
