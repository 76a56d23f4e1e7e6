"""A user who repeats what somebody said in a recorded dialogue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dyngen_env.types import Dialogue, Example, Feedback


class ReplayUser:
    """Repeats the user's answers of a recorded dialogue, whatever the agent writes.

    At the beginning of an episode a recording is drawn, from those with the same prompt if there are any. Its last
    answer ends the dialogue.

    Args:
        recordings: the path of a `.jsonl` file with one dialogue in each line, or a list of dialogues. A dialogue has
            the form of `info["dialogue"]`: a list of `{"role": "user" or "agent", "text": ..., "rating": ...}`, of
            which the first entry is the prompt. An answer may also have `ends` and `revise`, as `Feedback` does.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no dialogue, a line that is none, or a dialogue without an answer; the message says which.
    """

    answers = True

    def __init__(self, recordings: str | Path | Sequence[Sequence[dict[str, Any]]]):
        if isinstance(recordings, str | Path):
            recordings = _read(Path(recordings))
        if not recordings:
            raise ValueError("no recorded dialogues: expected at least one")
        self.prompts = [turns[0]["text"] for turns in recordings]
        self.answers_of = [_answers(number, turns) for number, turns in enumerate(recordings)]
        self._of_prompt: dict[str, list[int]] = {}
        for number, prompt in enumerate(self.prompts):
            self._of_prompt.setdefault(prompt, []).append(number)

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[int]:
        return [self._draw(example.prompt, rng) for example, rng in zip(examples, rngs, strict=True)]

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [self._answer(dialogue) for dialogue in dialogues]

    def _draw(self, prompt: str, rng: np.random.Generator) -> int:
        fitting = self._of_prompt.get(prompt, range(len(self.prompts)))
        return fitting[int(rng.integers(len(fitting)))]

    def _answer(self, dialogue: Dialogue) -> Feedback:
        answers = self.answers_of[dialogue.persona]
        return answers[min(len(dialogue.completions), len(answers)) - 1]


def _read(path: Path) -> list[list[dict[str, Any]]]:
    """The dialogues in a file. Raises ValueError, which names the file, if it has none or a line that is no JSON."""
    dialogues = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                dialogues.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: no JSON, expected a dialogue a line: {error}") from error
    if not dialogues:
        raise ValueError(f"{path} has no recorded dialogues: expected at least one, a line each")
    return dialogues


def _answers(number: int, turns: Sequence[dict[str, Any]]) -> list[Feedback]:
    said = [turn for turn in turns[1:] if turn["role"] == "user"]
    if not said:
        raise ValueError(f"recorded dialogue {number} has no answer of a user after its prompt")
    answers = [
        Feedback(turn["text"], turn.get("rating"), turn.get("ends", False), turn.get("revise", False)) for turn in said
    ]
    last = answers[-1]
    return [*answers[:-1], Feedback(last.text, last.rating, last.ends or True)]
