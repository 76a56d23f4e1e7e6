"""A simulated person with hidden preferences, who reacts to every turn with words and a rating."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np

from dyngen_env.scoring.raters import HIGHEST, LOWEST, draw_rating
from dyngen_env.scoring.words import words_of
from dyngen_env.types import Dialogue, Example, Feedback
from dyngen_env.users.personas import Persona, read_population
from dyngen_env.users.preferences import Preference

HAPPY = 2  # a rating from which on a turn has pleased
MET = 0.25  # a fit from which on nothing is asked for
ENOUGH = 8  # words after which a person knows what they think of a turn

# Measured on the raters of film reviews by benchmarks/fusion/raters.py: standard deviations, in points of the rating.
LENIENCY, DRIFT = 0.51, 0.013  # between persons, and between persons in what a rating changes by with each text
NOISE = 1.38  # what is left is 0.81 of 0.96; a persona's own noise, 0.4 to 0.8 of a whole rater's, is 0.61 (r.m.s.)


class SimulatedUser:
    """A simulated person with hidden preferences, another one in each episode: only an agent that listens can please.

    What the person thinks of a turn is 4 times the mean fit, from -1 to +1, of the turn to their preferences
    (`users.preferences`); a turn without a word has -4. The rating is drawn around that with the noise of real people's
    ratings (`scoring.raters`). In words the person asks for the preference that was met least, or only says that
    something is missing. Two turns in a row with a rating of at least 2 end the dialogue happily (`finish_reason`
    "goal"). It ends unhappily ("user") after as many turns with a negative rating as the person has patience for. Turns
    that the person did not rate count for neither.

    Args:
        personas: "en", "zh", or the path of a file like `dyngen_env/assets/personas/en.toml`.
        wants: how many preferences a person has, each of another kind (length, tone, topic, manner).
        noise: a factor of the ratings' noise. With 0 a rating is the rounded opinion.
        leniency: how much people differ in kindness, as a standard deviation: a person is kinder or harsher than others
            by the same amount, in points of the rating, in all of an episode's turns.
        drift: how much they change meanwhile, as a standard deviation: a person's ratings rise or fall by the same
            amount with each turn.
        rated: how likely it is that a person rates a turn. Otherwise `Feedback.rating` is None, and the reward `rating`
            pays what its `unrated` says; in words the person answers as ever.
        drafts: how often a turn may be written, at most. With 2 or more a person who is displeased (a rating below 0)
            asks for it once more (`Feedback.revise`), and says as always what is missing. Of the drafts that they send
            back their happiness and their patience know nothing; a turn counts as it was written last.
        interrupts: how likely it is, after each token, that a person cuts in on a turn of which they have read 8 words
            and think badly (an opinion below 0). They answer it as if it had ended there.

    Raises:
        ValueError: arguments that do not fit, or a persona file of another form.
        FileNotFoundError: there is no such persona file.
    """

    answers = True

    def __init__(
        self,
        personas: str = "en",
        wants: int = 1,
        noise: float = 1.0,
        *,
        leniency: float = 0.0,
        drift: float = 0.0,
        rated: float = 1.0,
        drafts: int = 1,
        interrupts: float = 0.0,
    ):
        self.population = read_population(personas)
        kinds = len(self.population.kinds)
        if not isinstance(wants, int) or not 1 <= wants <= kinds:
            raise ValueError(f"wants={wants!r}: expected 1 to {kinds}, the kinds of things people in {personas!r} want")
        for name, amount in (("noise", noise), ("leniency", leniency), ("drift", drift)):
            if not 0 <= amount < inf:
                raise ValueError(f"{name}={amount}: expected at least 0")
        for name, chance in (("rated", rated), ("interrupts", interrupts)):
            if not 0 <= chance <= 1:
                raise ValueError(f"{name}={chance}: expected a probability, from 0 to 1")
        if not isinstance(drafts, int) or isinstance(drafts, bool) or drafts < 1:
            raise ValueError(f"drafts={drafts!r}: expected a whole number from 1 on, the last draft included")
        self.wants, self.noise, self.drafts = wants, noise, drafts
        self.leniency, self.drift, self.rated = leniency, drift, rated
        self.interrupts, self.cuts_in = interrupts, interrupts > 0

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Persona]:
        return [self._person(rng) for rng in rngs]

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [self._answer(dialogue, rng) for dialogue, rng in zip(dialogues, rngs, strict=True)]

    def cut_in(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback | None]:
        """See `users.user.CutsIn`."""
        return [self._interruption(dialogue, rng) for dialogue, rng in zip(dialogues, rngs, strict=True)]

    def fits(self, persona: Persona, text: str) -> list[tuple[float, Preference]]:
        """How well a text meets each preference of a person, from -1, not at all, to +1, fully."""
        wanted = [self.population.preferences[name] for name in persona.wants]
        silent = not words_of(text)
        return [(-1.0 if silent else preference.fit(text), preference) for preference in wanted]

    def rating(self, dialogue: Dialogue, opinion: float, rng: np.random.Generator) -> int | None:
        """What a person gives for a turn of a dialogue that has feedback to the turns before; None if they do not say.

        Args:
            opinion: what people would give on average, -4 to +4.
        """
        persona = dialogue.persona
        own = opinion + persona.leniency + persona.drift * len(dialogue.feedback)
        rating = draw_rating(min(HIGHEST, max(LOWEST, own)), self.noise * persona.noise, rng)
        return rating if self.rated == 1 or rng.random() < self.rated else None

    def _person(self, rng: np.random.Generator) -> Persona:
        person = self.population.draw(self.wants, rng)
        if not self.leniency and not self.drift:
            return person
        leniency, drift = rng.standard_normal(2).tolist()
        return replace(person, leniency=self.leniency * leniency, drift=self.drift * drift)

    def _interruption(self, dialogue: Dialogue, rng: np.random.Generator) -> Feedback | None:
        if rng.random() >= self.interrupts or len(words_of(dialogue.completions[-1])) < ENOUGH:
            return None
        fits = self.fits(dialogue.persona, dialogue.completions[-1])
        return self._answer(dialogue, rng) if sum(fit for fit, _ in fits) < 0 else None

    def _answer(self, dialogue: Dialogue, rng: np.random.Generator) -> Feedback:
        persona = dialogue.persona
        fits = self.fits(persona, dialogue.completions[-1])
        opinion = 4 * sum(fit for fit, _ in fits) / len(fits)
        rating = self.rating(dialogue, opinion, rng)
        worst, preference = min(fits, key=lambda pair: pair[0])
        if dialogue.drafts + 1 < self.drafts and (opinion if rating is None else rating) < 0:
            return Feedback(f"{self._say('again', rng)} {self._wish(persona, preference, rng)}", rating, revise=True)
        if rating is not None:
            ratings = [*(f.rating for f in dialogue.feedback if f.rating is not None and not f.revise), rating]
            if min(ratings[-2:]) >= HAPPY and len(ratings) > 1:
                return Feedback(self._say("thanks", rng), rating, "goal")
            if sum(r < 0 for r in ratings) >= persona.patience:
                return Feedback(self._say("leaves", rng), rating, True)
        return Feedback(self._say("pleased", rng) if worst >= MET else self._wish(persona, preference, rng), rating)

    def _wish(self, persona: Persona, preference: Preference, rng: np.random.Generator) -> str:
        """What the person asks for, or only that something is missing."""
        return _pick(preference.asks, rng) if rng.random() < persona.says_why else self._say("vague", rng)

    def _say(self, occasion: str, rng: np.random.Generator) -> str:
        return _pick(self.population.says[occasion], rng)


def raters(personas: str = "en", wants: int = 1, rated: float = 0.5) -> SimulatedUser:
    """Simulated persons who rate as the people behind the film reviews did, and rate only every second turn.

    There each person rated a set of about 30 texts, so that their ratings can be followed. A rating lies 0.96 (standard
    deviation) off the mean that the text got. Of this, 0.51 is the person, always kind or always harsh; 0.81 is chance;
    and with each text a person becomes kinder or harsher by 0.013 (`python -m benchmarks.fusion raters`). How often
    people leave a turn unrated is not in these data, as everybody rated the whole set: a half is our choice.

    Args:
        personas, wants, rated: see `simulated`.
    """
    return SimulatedUser(personas, wants, noise=NOISE, leniency=LENIENCY, drift=DRIFT, rated=rated)


def _pick(texts: Sequence[str], rng: np.random.Generator) -> str:
    return texts[int(rng.random() * len(texts))]
