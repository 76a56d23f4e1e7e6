"""The maze as the one who answers: told a move, it says where that has led."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dyngen_env.scoring.worlds.maze import DISTANCES, GOAL, MOVES, Position, after, describe
from dyngen_env.types import Dialogue, Example, Feedback

_POSITIONS = {describe(position): position for position in DISTANCES}


class MazeUser:
    """The fully observed maze of LMRL-Gym, which answers every move, such as "move left", with the new state in words.

    The ratings are that task's rewards: 0 for the move that reaches the goal, which ends the dialogue
    (`finish_reason` "goal"), -4 for words that are no move, and -1 for any other move, one into a wall included.
    `4*rating` pays them. Prompts are states: `prompts="maze"` has those that are not the goal.

    Raises:
        ValueError: when an episode begins with a prompt that is no state of the maze.
    """

    answers = True

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Position]:
        return [_position_of(example.prompt) for example in examples]

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [_answer(dialogue) for dialogue in dialogues]


def _position_of(prompt: str) -> Position:
    if prompt not in _POSITIONS:
        raise ValueError(
            f"prompt {prompt[:80]!r} is no state of the maze: expected one such as {describe((1, 1))!r}, as prompts="
            '"maze" has them'
        )
    return _POSITIONS[prompt]


def _answer(dialogue: Dialogue) -> Feedback:
    position, move = dialogue.persona, ""
    for text in dialogue.completions:
        move = text.removesuffix("\n")
        position = after(position, move)
    if position == GOAL:
        return Feedback("Success", 0.0, "goal")
    return Feedback(describe(position), -1.0 if move in MOVES else -4.0)
