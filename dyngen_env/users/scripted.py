"""A user who says the lines of a script, one after each turn of the agent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dyngen_env.types import Dialogue, Example, Feedback

_RATED = re.compile(r"\[\s*([+-]?\d+(?:\.\d+)?)\s*\]\s*(.*)")


class ScriptedUser:
    """Answers the agent's turn i with line i of a script, whatever the agent writes; the last line ends the dialogue.

    Args:
        script: the path of a `.txt` file with one answer in each line, or a list of texts or `Feedback` objects. A text
            may begin with a rating in brackets: `[+2] thanks!`. In a file, empty lines and lines that begin with `#` do
            not count.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the script has no line.
    """

    answers = True

    def __init__(self, script: str | Path | Sequence[str | Feedback]):
        if isinstance(script, str | Path):
            lines = Path(script).read_text(encoding="utf-8-sig").split("\n")
            script = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not script:
            raise ValueError("the script is empty: expected at least one answer")
        self.script = [line if isinstance(line, Feedback) else _parsed(line) for line in script]

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[None]:
        return [None] * len(examples)

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [self._line(len(dialogue.completions)) for dialogue in dialogues]

    def _line(self, turn: int) -> Feedback:
        said = self.script[min(turn, len(self.script)) - 1]
        return said if turn < len(self.script) or said.ends else Feedback(said.text, said.rating, True)


def _parsed(line: str) -> Feedback:
    rated = _RATED.fullmatch(line)
    return Feedback(rated[2], float(rated[1])) if rated else Feedback(line)
