"""Simulated people who talk with a model that learns from them: sessions of turns, each turn rated and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.live_learning._served import Served
from dyngen_env.assets.reviews import film_prompts
from dyngen_env.types import Dialogue, Example, Feedback
from dyngen_env.users import SimulatedUser
from dyngen_env.users.personas import Persona

TURNS = 4  # of a dialogue, as in dyngen/Dialogue-v0; then the person begins another, about another film


class Stays(SimulatedUser):
    """A simulated person who neither leaves nor is done: what they rate is comparable at every turn."""

    def reply(self, dialogues, rngs):
        return [Feedback(answer.text, answer.rating) for answer in super().reply(dialogues, rngs)]


@dataclass(frozen=True)
class Session:
    """What one person wanted, and `ratings` and `texts` of the turns, in order."""

    wish: str
    ratings: Sequence[int]
    texts: Sequence[str]


def session(model: Served, number: int, seed: int, turns: int, wish: str | None = None) -> Session:
    """Let person `number` of a seed talk for so many turns. Equal numbers, seeds and turns are equal people, whose
    wishes take turns, or who all have one."""
    user, prompts = Stays(), film_prompts("eval")
    rng = np.random.default_rng([seed, number])
    names = list(user.population.preferences)
    persona: Persona = user.begin([Example("")], [rng])[0]
    persona = replace(persona, wants=(wish or names[(number + seed) % len(names)],))
    ratings: list[int] = []
    texts: list[str] = []
    while len(ratings) < turns:
        talk = Dialogue(Example(prompts[int(rng.integers(len(prompts)))]), persona)
        model.begin(f"person-{seed}-{number}", talk.example.prompt)
        for _ in range(min(TURNS, turns - len(ratings))):
            talk = talk.said(model.write())
            said = user.reply([talk], [rng])[0]
            talk = talk.heard(said)
            assert said.rating is not None
            model.answer(said.rating, said.text)
            ratings.append(int(said.rating))
            texts.append(talk.completions[-1])
    return Session(persona.wants[0], ratings, texts)
