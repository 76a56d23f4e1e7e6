"""The values that pass between tasks, users, rewards and the env: Example, Feedback, Dialogue, Transition.

Shapes: B rows, L = max_context_tokens. Everything here is frozen; tensors inside are never written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dyngen_env.mdp.state import TokenState


@dataclass(frozen=True, slots=True)
class Example:
    """What a task asks for: a prompt, and optionally a reference answer or other facts a reward may use."""

    prompt: str
    reference: str | None = None
    facts: Any = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """A user's answer to one turn: words, a rating (the reward's scale is the user's), and whether they leave.

    `ends` is False while the dialogue goes on, True when the user ends it, "goal" when they got what they wanted.
    """

    text: str = ""
    rating: float | None = None
    ends: bool | str = False


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One row's dialogue so far, as text: what the user was asked to want, and the turns that were taken.

    `completions[i]` was answered by `feedback[i]`; while a user is being asked, the last completion has none yet.
    """

    example: Example
    persona: Any = None
    completions: tuple[str, ...] = ()
    feedback: tuple[Feedback, ...] = ()

    def said(self, completion: str) -> Dialogue:
        """The dialogue after the agent's turn."""
        return Dialogue(self.example, self.persona, (*self.completions, completion), self.feedback)

    def heard(self, feedback: Feedback) -> Dialogue:
        """The dialogue after the user's answer."""
        return Dialogue(self.example, self.persona, self.completions, (*self.feedback, feedback))


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of B rows, as rewards see it: s, a, s' and what was said.

    `rows` lists the R rows whose turn just ended; `completions`, `examples`, `feedback` and `dialogues` are aligned
    with it (`completions` decodes on first access, so rewards that read no text cost no text). The completed turn of
    row `rows[i]` is `spoken.tokens[rows[i], before.turn_start[rows[i]]:spoken.length[rows[i]]]`.
    """

    before: TokenState
    actions: torch.Tensor  # (B,) int64
    spoken: TokenState  # after the agent's token, before the user's answer
    after: TokenState
    turn_ended: torch.Tensor  # (B,) bool, True exactly at `rows`
    rows: Sequence[int] = ()
    completions: Sequence[str] = ()
    examples: Sequence[Example] = ()
    feedback: Sequence[Feedback] = ()
    dialogues: Sequence[Dialogue | None] = ()  # with this turn and its feedback; None where no user answers
    playing: Sequence[Example] = ()  # (B,) what each row plays, whether its turn ended or not
    talks: Sequence[Dialogue | None] = ()  # (B,) each row's dialogue before this step

    @property
    def live(self) -> torch.Tensor:
        """(B,) bool: rows that were live before the step. Only they can be paid."""
        return self.before.live
