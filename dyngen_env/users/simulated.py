"""A simulated person: wants something, does not say so at first, and reacts to every turn with words and a rating."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dyngen_env.scoring.raters import draw_rating
from dyngen_env.scoring.words import words_of
from dyngen_env.types import Dialogue, Example, Feedback
from dyngen_env.users.personas import Persona, read_population
from dyngen_env.users.preferences import Preference

HAPPY = 2  # a rating from which on a turn has pleased
MET = 0.25  # a fit from which on nothing is asked for


class SimulatedUser:
    """Each episode another person with hidden preferences, so an agent that does not listen cannot please.

    A turn's opinion is 4 times the mean fit of what the person wants (`preferences`), -4 for a turn without a word. The
    rating scatters around it as people's do (`scoring.raters`). The person asks for what was met least, or only says
    that something is missing. Two pleasing turns in a row end the dialogue happily (`ends="goal"`), as many unhappy
    ones as the person has patience end it unhappily (`ends=True`).

    Args:
        personas: "en", "zh", or the path of a file like `assets/personas/en.toml`.
        wants: how many things a person wants, each of another kind (length, tone, topic, manner).
        noise: multiplies the noise of ratings; 0 is none, and ratings are rounded opinions.

    Raises:
        ValueError, FileNotFoundError: arguments that do not fit, or a persona file that cannot be read.
    """

    answers = True

    def __init__(self, personas: str = "en", wants: int = 1, noise: float = 1.0):
        self.population = read_population(personas)
        kinds = len(self.population.kinds)
        if not isinstance(wants, int) or not 1 <= wants <= kinds:
            raise ValueError(f"wants={wants!r}: expected 1 to {kinds}, the kinds of things people in {personas!r} want")
        if noise < 0:
            raise ValueError(f"noise={noise}: expected at least 0")
        self.wants, self.noise = wants, noise

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Persona]:
        return [self.population.draw(self.wants, rng) for rng in rngs]

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [self._answer(dialogue, rng) for dialogue, rng in zip(dialogues, rngs, strict=True)]

    def fits(self, persona: Persona, text: str) -> list[tuple[float, Preference]]:
        """How well a text meets each thing the person wants, -1 to +1."""
        wanted = [self.population.preferences[name] for name in persona.wants]
        silent = not words_of(text)
        return [(-1.0 if silent else preference.fit(text), preference) for preference in wanted]

    def _answer(self, dialogue: Dialogue, rng: np.random.Generator) -> Feedback:
        persona = dialogue.persona
        fits = self.fits(persona, dialogue.completions[-1])
        opinion = 4 * sum(fit for fit, _ in fits) / len(fits)
        rating = draw_rating(opinion, self.noise * persona.noise, rng)
        ratings = [*(f.rating for f in dialogue.feedback if f.rating is not None), rating]
        worst, preference = min(fits, key=lambda pair: pair[0])
        if min(ratings[-2:]) >= HAPPY and len(ratings) > 1:
            return Feedback(self._say("thanks", rng), rating, "goal")
        if sum(r < 0 for r in ratings) >= persona.patience:
            return Feedback(self._say("leaves", rng), rating, True)
        if worst >= MET:
            return Feedback(self._say("pleased", rng), rating)
        if rng.random() < persona.says_why:
            return Feedback(_pick(preference.asks, rng), rating)
        return Feedback(self._say("vague", rng), rating)

    def _say(self, occasion: str, rng: np.random.Generator) -> str:
        return _pick(self.population.says[occasion], rng)


def _pick(texts: Sequence[str], rng: np.random.Generator) -> str:
    return texts[int(rng.random() * len(texts))]
