"""A user who says again what people have said to the agent, as a store of feedback has kept it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dyngen_env.arguments import file_name
from dyngen_env.scoring.people import FILE, People, people_in, turn_key
from dyngen_env.types import Dialogue, Example, Feedback
from dyngen_env.users.replay import ReplayUser


class RecordedUser:
    """Repeats what people answered: `user="recorded('feedback.db')"`.

    Where the agent writes what was written in a recorded dialogue, it gets the answer and the rating that somebody gave
    to exactly that. To other texts it gets what was said in the same turn of a recording that is drawn when the episode
    begins, from those with the same prompt if there are any, as from `replay`: those words fit the prompt, that rating
    is of another text.

    Args:
        file: a store of feedback.
        people: where recordings come from instead of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no store, or has no dialogue with an answer in it.
    """

    answers = True

    def __init__(self, file: str = FILE, people: People | None = None):
        file_name("recorded with file", file)
        if people is None and not Path(file).expanduser().is_file():
            raise FileNotFoundError(f"recorded({file!r}): no such file; dyngen serve --store {file} makes one")
        recordings = (people or people_in(file)).recordings()
        if not recordings:
            raise ValueError(
                f"recorded({file!r}): nobody has rated or answered the agent in this store yet; people do so on the "
                f"page of dyngen serve --store {file}"
            )
        self._replay = ReplayUser(recordings)
        self._keys: list[list[str]] = []  # of the turns of each recording
        self._answers: dict[str, Feedback] = {}  # to turns by their keys; of several the first
        for turns, answers in zip(recordings, self._replay.answers_of, strict=True):
            talk, keys = Dialogue(Example(turns[0]["text"])), list[str]()
            texts = [turn["text"] for turn in turns if turn["role"] == "agent"]
            for text, answer in zip(texts, answers, strict=False):
                keys.append(turn_key(talk.said(text)))
                talk = talk.said(text).heard(answer)
                self._answers.setdefault(keys[-1], answer)
            self._keys.append(keys)

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[int]:
        return self._replay.begin(examples, rngs)

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        drawn = self._replay.reply(dialogues, rngs)
        keys = [turn_key(talk) for talk in dialogues]
        # The drawn recording goes first: another one with the same turn may have gone on differently.
        return [
            answer if key in self._keys[talk.persona] else self._answers.get(key, answer)
            for talk, key, answer in zip(dialogues, keys, drawn, strict=True)
        ]
