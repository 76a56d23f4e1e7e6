"""The lists of prompts that come with the package, by the names that `prompts=` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dyngen_env.scoring.worlds import maze, random_walk
from dyngen_env.types import Example


def maze_starts() -> Sequence[Example]:
    """The states of the maze in which an episode may begin: all 25 but the goal."""
    return [Example(maze.describe(position)) for position in maze.STARTS]


def walk_starts() -> Sequence[Example]:
    """The nodes from which a walk may begin: all 20 but the goal."""
    return [Example(node) for node in random_walk.STARTS]


NAMED: dict[str, Callable[[], Sequence[Example]]] = {"maze": maze_starts, "random_walk": walk_starts}
