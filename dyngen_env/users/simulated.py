"""A simulated person with hidden preferences, who reacts to every turn with words and a rating."""

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
    """A simulated person with hidden preferences, another one in each episode: only an agent that listens can please.

    What the person thinks of a turn is 4 times the mean fit, from -1 to +1, of the turn to their preferences
    (`users.preferences`); a turn without a word has -4. The rating is drawn around that with the noise of real people's
    ratings (`scoring.raters`). In words the person asks for the preference that was met least, or only says that
    something is missing. Two turns in a row with a rating of at least 2 end the dialogue happily (`finish_reason`
    "goal"). It ends unhappily ("user") after as many turns with a negative rating as the person has patience for.

    Args:
        personas: "en", "zh", or the path of a file like `dyngen_env/assets/personas/en.toml`.
        wants: how many preferences a person has, each of another kind (length, tone, topic, manner).
        noise: a factor of the ratings' noise. With 0 a rating is the rounded opinion.

    Raises:
        ValueError: arguments that do not fit, or a persona file of another form.
        FileNotFoundError: there is no such persona file.
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
        """How well a text meets each preference of a person, from -1, not at all, to +1, fully."""
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
