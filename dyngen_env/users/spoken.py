"""A user who speaks instead of writing: the agent hears them, or reads what a recogniser made of their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dyngen_env.arguments import between, one_of
from dyngen_env.text.media import MediaRoom, Sound
from dyngen_env.text.media.sound import SAMPLING_RATE
from dyngen_env.types import Dialogue, Example, Feedback, Visit
from dyngen_env.users.speech.recogniser import Recogniser, make_recogniser
from dyngen_env.users.speech.synthesiser import Synthesiser, make_synthesiser
from dyngen_env.users.speech.voices import Speaker, draw_speaker, voices_named
from dyngen_env.users.speech.waves import with_noise
from dyngen_env.users.user import User, begin_after, cuts_in, most_drafts

HEARS = ("transcript", "sound")
LONGEST = 8.0  # seconds of an answer that is heard


@dataclass(frozen=True, slots=True)
class Speaking:
    """The persona of somebody who speaks: what they keep in mind about themselves, and how they sound."""

    persona: Any
    speaker: Speaker


class SpokenUser:
    """Another user whose words are spoken, with a voice that differs from dialogue to dialogue, in noise: the agent
    reads a recogniser's transcript, mistakes included, or hears the sound. "spoken(simulated)".

    Ratings, ends and what is said are those of `user` for the same seeds. Somebody who comes back (`returning`) keeps
    their voice. A user who reads what they said before reads the transcripts, too.

    Args:
        user: who speaks.
        hears: "transcript"; or "sound", for a model with an encoder of sounds (`lm.modalities`): the words are not in
            the context then, and what lasts longer than 8 seconds is cut off.
        voices: "train", "eval" (voices that the small recogniser has never heard), or a list of names.
        speaks: who turns words into sound. "recordings" come with the package and have what the personas "en" say;
            "espeak" is the program espeak-ng, which says anything.
        recogniser: "persona_sayings", a small classifier of our own that knows what the personas "en" say and nothing
            else, or the folder of a Whisper model for faster-whisper (`pip install 'dyngen-env[speech]'`).
        snr: the ratio of speech to noise in decibels; infinity is no noise.

    Raises:
        ValueError: arguments that do not fit, a user who speaks already, or words of which there is no recording.
        FileNotFoundError: espeak-ng is not installed. ImportError: faster-whisper is not.
    """

    def __init__(
        self,
        user: User,
        hears: str = "transcript",
        *,
        voices: str | Sequence[str] = "train",
        speaks: str | Synthesiser = "recordings",
        recogniser: str | Recogniser = "persona_sayings",
        snr: float = 20.0,
    ):
        one_of("hears", hears, HEARS)
        between("snr", snr, -60)
        if not hasattr(user, "answers"):
            raise ValueError(f"spoken({user!r}): expected a user, such as spoken(simulated), without quotes")
        _check_silent(user)
        self.user, self.hears, self.snr = user, hears, float(snr)
        self.voices, self.synthesiser = voices_named(voices), make_synthesiser(speaks)
        if hears == "sound":
            self.media = MediaRoom(sounds=1, seconds=LONGEST)
        else:
            self.recogniser = make_recogniser(recogniser)
        self.answers, self.cuts_in = user.answers, cuts_in(user)
        self.drafts = most_drafts(user)

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[Any]:
        return self.begin_after([None] * len(examples), examples, rngs)

    def begin_after(
        self, before: Sequence[Any], examples: Sequence[Example], rngs: Sequence[np.random.Generator]
    ) -> Sequence[Any]:
        """See `users.user.ComesBack`."""
        personas = begin_after(self.user, [_without_voice(persona) for persona in before], examples, rngs)
        return [self._with_voice(persona, rng) for persona, rng in zip(personas, rngs, strict=True)]

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        answers = self.user.reply(_to_user(dialogues), rngs)
        return [self._spoken(answer, talk, rng) for answer, talk, rng in zip(answers, dialogues, rngs, strict=True)]

    def cut_in(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback | None]:
        """See `users.user.CutsIn`."""
        answers = self.user.cut_in(_to_user(dialogues), rngs)  # type: ignore[attr-defined]
        return [
            answer and self._spoken(answer, talk, rng)
            for answer, talk, rng in zip(answers, dialogues, rngs, strict=True)
        ]

    def sound(self, text: str, speaker: Speaker, rng: np.random.Generator) -> Sound:
        """What is heard when somebody says a text, noise included."""
        spoken = self.synthesiser.speak(text, speaker)[: int(LONGEST * SAMPLING_RATE)]
        return Sound(with_noise(spoken, self.snr, rng))

    def _spoken(self, answer: Feedback, talk: Dialogue, rng: np.random.Generator) -> Feedback:
        if not answer.text.strip():
            return answer
        sound = self.sound(answer.text, _speaker(talk.persona), rng)
        if self.hears == "sound":
            return replace(answer, text="", media=(sound,))
        return replace(answer, text=self.recogniser.transcribe(sound))

    def _with_voice(self, persona: Any, rng: np.random.Generator) -> Any:
        if isinstance(persona, Visit):  # the same person, the same voice
            own = np.random.default_rng(persona.person)
            return replace(persona, persona=Speaking(persona.persona, draw_speaker(self.voices, own)))
        return Speaking(persona, draw_speaker(self.voices, rng))


def _check_silent(user: Any) -> None:
    """Raises ValueError if a user, or one that they wrap, speaks already."""
    while user is not None:
        if isinstance(user, SpokenUser):
            raise ValueError("spoken(...) around a user who speaks already: take one of the two away")
        user = getattr(user, "user", None)


def _speaker(persona: Any) -> Speaker:
    return persona.persona.speaker if isinstance(persona, Visit) else persona.speaker


def _without_voice(persona: Any) -> Any:
    """The persona as the user knows it who does not know that they speak."""
    if isinstance(persona, Visit):
        return replace(persona, persona=persona.persona.persona)
    return persona and persona.persona


def _to_user(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    return [replace(talk, persona=_without_voice(talk.persona)) for talk in dialogues]
