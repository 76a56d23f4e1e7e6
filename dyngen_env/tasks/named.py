"""The lists of prompts that come with the package, by the names that `prompts=` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dyngen_env.scoring.worlds import maze, random_walk
from dyngen_env.tasks.pictures import picture_questions
from dyngen_env.types import Example


def maze_starts(split: str | None = None) -> Sequence[Example]:
    """The states of the maze in which an episode may begin, all 25 but the goal, in every split."""
    return [Example(maze.describe(position)) for position in maze.STARTS]


def walk_starts(split: str | None = None) -> Sequence[Example]:
    """The nodes from which a walk may begin, all 20 but the goal, in every split."""
    return [Example(node) for node in random_walk.STARTS]


def questions(split: str | None = None) -> Sequence[Example]:
    """What is asked about the pictures of a split; None means "train"."""
    return picture_questions(split or "train")


NAMED: dict[str, Callable[[str | None], Sequence[Example]]] = {
    "maze": maze_starts,
    "pictures": questions,
    "random_walk": walk_starts,
}
