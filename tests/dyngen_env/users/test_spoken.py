"""Users who speak: what the agent reads, whose voice it is, and that nothing else of the user changes."""

from __future__ import annotations

import numpy as np
import pytest

from dyngen_env import Dialogue, Example, Feedback, Sound
from dyngen_env.testing import check_user
from dyngen_env.text.media.tokens import is_media
from dyngen_env.types import Visit
from dyngen_env.users import ReturningUser, SimulatedUser, SpokenUser, make_user
from dyngen_env.users.spoken import Speaking
from tests.support.envs import END, Talker, single, write


class Beeps:
    """Says a text of n characters as n samples."""

    def speak(self, text, speaker):
        return np.full(len(text), 0.1, np.float32)


class Counts:
    """Writes down how many samples it heard, and the highest."""

    def transcribe(self, sound):
        return f"{len(sound.samples)} {sound.samples.max():.4f}"


def rngs(count, seed=0):
    return [np.random.default_rng([seed, row]) for row in range(count)]


def talk(user, rows=3):
    """The dialogues of some rows in which one turn was written."""
    personas = user.begin([Example("A")] * rows, rngs(rows))
    return [Dialogue(Example("A"), persona).said("x") for persona in personas]


def test_it_is_a_user():
    talker = SimulatedUser(drafts=2, interrupts=0.5, wants=2)
    for user in (talker, ReturningUser(talker)):
        check_user(SpokenUser(user, speaks=Beeps(), recogniser=Counts(), snr=5))
    check_user(ReturningUser(SpokenUser(talker, speaks=Beeps(), recogniser=Counts())))


def test_the_agent_reads_what_the_recogniser_heard():
    user = SpokenUser(Talker((Feedback("hello", 2.0),)), speaks=Beeps(), recogniser=Counts(), snr=np.inf)
    assert user.reply(talk(user, 1), rngs(1)) == [Feedback("5 0.1000", 2.0)]


def test_the_agent_hears_the_sound_and_reads_nothing():
    user = SpokenUser(Talker((Feedback("hello", 2.0),)), "sound", speaks=Beeps(), recogniser=None, snr=np.inf)
    (heard,) = user.reply(talk(user, 1), rngs(1))
    assert heard == Feedback("", 2.0, media=(Sound(np.full(5, 0.1, np.float32)),))
    (cut,) = SpokenUser(Talker((Feedback("x" * 200_000),)), "sound", speaks=Beeps()).reply(talk(user, 1), rngs(1))
    assert cut.media[0].seconds == user.media.seconds == 8


def test_sounds_stand_in_the_places_of_media_in_a_dialogue():
    env = single(user="spoken(simulated, 'sound')", max_turns=2, max_context_tokens=120, observation="dict")
    env.reset(seed=0)
    observation, *_ = write(env, "x", END)
    assert observation["sounds"].shape == (2, 8 * 16000)
    spoken, silent = np.abs(observation["sounds"]).max(1)
    assert spoken > 0.05 and silent == 0
    assert int(is_media(env.batch.state.tokens).sum()) == 16


def test_who_says_nothing_is_not_asked_to_speak():
    user = SpokenUser(Talker((Feedback("", -1.0, True),)), speaks=None, recogniser=None)
    assert user.reply(talk(user, 1), rngs(1)) == [Feedback("", -1.0, True)]


def test_noise_differs_from_turn_to_turn_and_is_equal_for_equal_generators():
    user = SpokenUser(Talker((Feedback("hello"),)), speaks=Beeps(), recogniser=Counts(), snr=10)
    heard = [answer.text for answer in user.reply(talk(user), rngs(3))]
    assert len(set(heard)) == 3
    assert [answer.text for answer in user.reply(talk(user), rngs(3))] == heard


def test_ratings_and_ends_are_those_of_the_user_who_writes():
    writes, speaks = make_user("simulated"), make_user("spoken(simulated, snr=0)")
    for seed in range(8):
        said, heard = (
            user.reply(
                [Dialogue(Example("A"), p).said("a good film!") for p in user.begin([Example("A")], rngs(1, seed))],
                rngs(1, seed),
            )[0]
            for user in (writes, speaks)
        )
        assert (said.rating, said.ends, bool(said.text)) == (
            heard.rating,
            heard.ends,
            bool(heard.text) or not said.text,
        )


def test_voices_differ_and_stay_with_who_comes_back():
    user = make_user("spoken(returning(simulated, episodes=2))")
    first = user.begin([Example("A")] * 4, rngs(4))
    again = user.begin_after(first, [Example("A")] * 4, rngs(4, seed=1))
    third = user.begin_after(again, [Example("A")] * 4, rngs(4, seed=2))
    assert all(isinstance(p, Visit) and isinstance(p.persona, Speaking) for p in first)
    assert [(p.person, p.number, p.persona) for p in again] == [(p.person, 2, p.persona) for p in first]
    assert all(a.persona.speaker != b.persona.speaker for a, b in zip(again, third, strict=True))
    assert len({p.persona.speaker for p in first}) == 4


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("hears='smell'", "hears='smell': expected one of 'transcript', 'sound'"),
        ("voices='all'", "voices='all': expected 'train', 'eval', or a list"),
        ("snr='loud'", "snr='loud': expected a number from -60 on"),
        ("speaks='me'", "speaks='me': expected 'recordings', 'espeak'"),
        ("recogniser='none'", "recogniser='none': expected 'persona_sayings'"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_user(f"spoken(simulated, {arguments})")


def test_who_speaks_already_does_not_speak_twice():
    speaks = SpokenUser(SimulatedUser(), speaks=Beeps(), recogniser=Counts())
    for user in (speaks, ReturningUser(speaks)):
        with pytest.raises(ValueError, match="around a user who speaks already"):
            SpokenUser(user, speaks=Beeps(), recogniser=Counts())


def test_words_that_are_not_recorded_are_told():
    user = make_user("spoken(simulated('zh'))")
    with pytest.raises(ValueError, match="only of the 89 sayings of the personas 'en'"):
        user.reply(talk(user), rngs(3))


@pytest.mark.parametrize("user", ["'simulated'", "3"])
def test_a_user_who_is_none(user):
    with pytest.raises(ValueError, match=r"expected a user, such as spoken\(simulated\)"):
        make_user(f"spoken({user})")
