"""A maze described in words: its walls, what somebody in it is told, where a move in words leads, the way to the goal.

It is the fully observed maze of LMRL-Gym (Abdulhai et al. 2023, "LMRL Gym: Benchmarks for multi-turn reinforcement
learning with language models"), there called `double_t_maze`: rows are counted from the top, columns from the left,
positions are (row, column), the goal is (8, 6).
"""

from __future__ import annotations

from collections import deque

__all__ = ["BEST_MOVES", "GOAL", "GRID", "MAX_MOVES", "MOVES", "STARTS", "Position", "after", "describe"]

Position = tuple[int, int]

GRID = (
    "#############",
    "#.....#.....#",
    "###.#####.###",
    "###.#####.###",
    "###.#####.###",
    "###.......###",
    "######.######",
    "######.######",
    "######.######",
    "#############",
)
GOAL: Position = (8, 6)
MOVES = {"move left": (0, -1), "move right": (0, 1), "move up": (-1, 0), "move down": (1, 0)}
MAX_MOVES = 100

STARTS = tuple(
    (row, column)
    for row, line in enumerate(GRID)
    for column, sign in enumerate(line)
    if sign == "." and (row, column) != GOAL
)
FREE = frozenset({*STARTS, GOAL})

_SIDES = {"to your right": (0, 1), "to your left": (0, -1), "above you": (-1, 0), "below you": (1, 0)}


def describe(position: Position) -> str:
    """What somebody at a position is told: the goal, where they are, and which of the four sides is a wall.

    Numbers of two digits are written with a space between the digits, as LMRL-Gym does.
    """
    walls = [side for side, step in _SIDES.items() if _beside(position, step) not in FREE]
    here = "There are no walls near you."
    if len(walls) == 1:
        here = f"There is a wall {walls[0]}."
    elif walls:
        here = f"There are walls {', '.join(walls)}."
    return f"The goal is at position {_spoken(GOAL)}. Your current position is at position {_spoken(position)}. {here}"


def after(position: Position, move: str) -> Position:
    """Where a move in words leads. Into a wall, or with words that are no move, one stays."""
    return _LEADS_TO.get((position, move), position)


def _beside(position: Position, step: Position) -> Position:
    return position[0] + step[0], position[1] + step[1]


_LEADS_TO = {
    (position, move): _beside(position, step)
    for position in FREE
    for move, step in MOVES.items()
    if _beside(position, step) in FREE
}


def _spoken(position: Position) -> str:
    return ", ".join(" ".join(str(number)) for number in position)


def _distances() -> dict[Position, int]:
    """How many moves each position is from the goal, by breadth-first search."""
    found, queue = {GOAL: 0}, deque([GOAL])
    while queue:
        position = queue.popleft()
        for step in MOVES.values():
            beside = _beside(position, step)
            if beside in FREE and beside not in found:
                found[beside] = found[position] + 1
                queue.append(beside)
    return found


DISTANCES = _distances()
BEST_MOVES = {
    start: next(move for move in MOVES if DISTANCES[after(start, move)] == DISTANCES[start] - 1) for start in STARTS
}
