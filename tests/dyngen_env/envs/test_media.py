"""Pictures and sounds in the state: where they stand, what agents are shown, and that they go with their rows."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from dyngen_env import Example, Feedback, TextGenEnv
from dyngen_env.tasks import Prompts
from dyngen_env.text.media import MediaRoom
from dyngen_env.text.media.tokens import FIRST, as_placeholders, media_of, span
from tests.support.envs import BOS, END, USER, batch, random_actions, single, write
from tests.support.media import EXAMPLES, SPEAKS, Shows, picture, tone

PICTURE, SOUND = [BOS] * 4, [BOS] * 16  # as an agent is shown them who knows the vocabulary alone
ENV = dict(prompts=EXAMPLES, max_context_tokens=28)


def shown(observation) -> list[int]:
    return [token for token in np.asarray(observation).tolist() if token >= 0]


def test_media_stand_before_the_words_of_a_prompt():
    env = single(**ENV)
    observation, _ = env.reset(options={"example": 0})
    assert shown(observation) == [BOS, *PICTURE, *b"ab"]
    assert observation in env.observation_space and env.observation_space == single().observation_space.__class__(
        -1, 259, (28,), np.int64
    )
    assert not env.action_masks()[BOS]
    state = env.batch.state.tokens[0].tolist()
    assert media_of(state) == (picture(0),) and state[1:5] == span(picture(0), 4)
    assert shown(env.reset(options={"example": 2})[0]) == [BOS, *b"words alone"]


def test_media_stand_before_the_words_of_a_user():
    user = Shows((Feedback("no", media=(tone(0),)), Feedback("so", media=(tone(1), tone(2)))), SPEAKS.times(2))
    env = single(user=user, max_turns=3, max_new_tokens=2, max_context_tokens=80, prompts=EXAMPLES[:1])
    assert shown(env.reset()[0]) == [BOS, USER, *PICTURE, *b"ab", END]
    observation, *_ = write(env, "c", END)
    first = [BOS, USER, *PICTURE, *b"abc".replace(b"c", b""), END, *b"c", END, USER, *SOUND, *b"no", END]
    assert shown(observation) == first
    observation, *_ = write(env, "de")
    assert shown(observation) == [*first, *b"de", END, USER, *SOUND, *SOUND, *b"so", END]
    *_, info = write(env, "f", END)
    assert info["media"] == (picture(0), tone(0), tone(1), tone(2), tone(1), tone(2))  # the last two were not read


def test_the_sound_may_stand_for_the_words():
    user = Shows((Feedback("no", media=(tone(0),)),), SPEAKS)
    env = single(user=user, max_turns=2, max_new_tokens=2, max_context_tokens=60, words_in_context=False)
    first = shown(env.reset()[0])
    assert shown(write(env, "c", END)[0]) == [*first, *b"c", END, USER, *SOUND, END]


def test_a_message_without_words_does_not_end_with_media():
    env = single(prompts=[Example("", media=(picture(0),))])
    assert shown(env.reset()[0]) == [*PICTURE, BOS]


def test_a_long_prompt_loses_words_and_not_its_picture():
    env = single(prompts=[Example("abcdefghijklmnopq", media=(picture(0),))], prompt_overflow="truncate_left")
    assert shown(env.reset()[0]) == [*PICTURE, *b"cdefghijklmnopq"]  # 24 - 5 tokens are left of the context
    with pytest.raises(ValueError, match="1 of 1 prompts are longer"):
        single(prompts=[Example("abcdefghijklmnopq", media=(picture(0),))])


@pytest.mark.parametrize("observation", ["dict", "tokens", "text"])
def test_gymnasium_finds_no_fault(observation):
    env = single(**ENV, observation=observation)
    check_env(env, skip_render_check=True)
    seen, _ = env.reset(options={"example": 1})
    if observation == "dict":
        assert seen["pictures"].dtype == np.uint8 and (seen["pictures"] == picture(1).pixels[None]).all()
        assert seen["input_ids"][:8].tolist() == [BOS, *PICTURE, *b"xyz"]
        assert not env.reset(options={"example": 2})[0]["pictures"].any()
    elif observation == "text":
        assert seen == "xyz"


def test_stable_baselines_reads_the_dict():
    from stable_baselines3 import PPO

    env = TextGenEnv(**{**ENV, "tokenizer": "bytes", "reward": "length(3)", "max_new_tokens": 5}, observation="dict")
    agent = PPO("MultiInputPolicy", env, n_steps=8, batch_size=8, device="cpu").learn(8)
    assert agent.predict(env.reset()[0])[0] in env.action_space


@pytest.mark.parametrize("observation", ["tokens", "dict"])
def test_row_i_is_the_single_env_with_seed_plus_i(observation):
    user = Shows((Feedback("a", media=(tone(0),)), Feedback("b", media=(tone(1),))), SPEAKS)
    settings = dict(ENV, user=user, max_turns=3, max_context_tokens=70, observation=observation)
    many = gym.vector.SyncVectorEnv([lambda: single(**settings)] * 3)
    native = batch(3, **settings)
    rng = np.random.default_rng(0)
    pairs = [(native.reset(seed=5)[0], many.reset(seed=5)[0])]
    for _ in range(30):
        actions = random_actions(rng, 3)
        ours, theirs = native.step(actions), many.step(actions)
        pairs.append((ours[0], theirs[0]))
        assert ("media" in ours[4]) == ("media" in theirs[4])
        if "media" in ours[4]:
            assert ours[4]["media"].tolist() == theirs[4]["media"].tolist()
    for ours, theirs in pairs:
        for a, b in zip(ours.values(), theirs.values(), strict=True) if isinstance(ours, dict) else [(ours, theirs)]:
            np.testing.assert_array_equal(a, b)


def test_forks_show_what_their_rows_showed():
    env = batch(2, **ENV, observation="dict")
    env.reset(options={"example": [0, 1]})
    twin = env.fork([1, 1, 0])
    assert [media_of(row) for row in twin.state.tokens.tolist()] == [(picture(1),), (picture(1),), (picture(0),)]
    actions = np.array([97, 97, 98])
    assert (twin.step(actions)[0]["pictures"][1] == env.step(actions[[2, 0]])[0]["pictures"][1]).all()


def test_what_is_forgotten_is_shown_no_more():
    user = Shows(tuple(Feedback(str(i), media=(tone(i),)) for i in range(1, 6)), SPEAKS)
    env = single(
        user=user, max_turns=5, max_new_tokens=2, max_context_tokens=60, prompts=EXAMPLES[:1],
        context_overflow="drop_oldest", observation="dict",
    )  # fmt: skip
    env.reset()
    write(env, "a", END)
    write(env, "b", END)
    observation, *_, info = write(env, "c", END)  # 9 tokens of the prompt, 21 a turn: of three turns two fit
    assert media_of(env.batch.state.tokens[0].tolist()) == (picture(0), tone(2), tone(3))
    assert (observation["sounds"][:2, :3200] == [tone(2).samples, tone(3).samples]).all()
    assert not observation["sounds"][2:].any()
    assert shown(info["segment"])[-2:] == [ord("c"), END] and max(info["segment"]) < 260


def test_tensors_name_the_media_and_arrays_do_not():
    rows = batch(2, output="torch", **ENV)
    tokens, _ = rows.reset(options={"example": [0, 2]})
    assert (tokens >= FIRST).sum(1).tolist() == [4, 0]
    assert as_placeholders(tokens, BOS).max() < 260


def test_frames_and_banned_words_take_no_notice():
    env = single(**ENV, banned=["abc"], render_mode="ansi")
    env.reset(options={"example": 0})
    assert "ab" in env.render()
    assert not env.action_masks()[ord("c")] and env.action_masks()[ord("d")]


@dataclass
class Undeclared:
    """A task that does not say that it shows pictures, or says another size."""

    def sample(self, rng):
        return EXAMPLES[0]


class Declared(Undeclared):
    media = MediaRoom(pictures=1, picture_size=(32, 32))


class OfAnotherSize(Undeclared):
    media = MediaRoom(pictures=1, picture_size=(64, 64))


class SaysNothing(Undeclared):
    media = "abc"


TWO = Example("ab", media=(picture(0), picture(1)))


@pytest.mark.parametrize("observation", ["tokens", "dict"])
def test_an_answer_shows_no_more_than_its_user_declares(observation):
    user = Shows((Feedback("no", media=tuple(tone(i) for i in range(2))),), SPEAKS)
    env = single(user=user, max_turns=3, max_new_tokens=2, max_context_tokens=80, observation=observation)
    env.reset()
    with pytest.raises(ValueError, match=r"2 sounds are shown at once, and .* declares 1"):
        write(env, "c", END)  # there is room for three in the context


def test_a_task_declares_what_it_shows():
    env = single(prompts=Declared(), observation="dict", max_context_tokens=28)
    assert (env.reset()[0]["pictures"][0] == picture(0).pixels).all()
    with pytest.raises(ValueError, match="has not declared any"):
        single(prompts=Undeclared()).reset()
    with pytest.raises(ValueError, match=r"has \(32, 32\) pixels, and here they have \(64, 64\)"):
        single(prompts=OfAnotherSize()).reset()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Prompts([EXAMPLES[0], Example("a", media=(picture(0, (8, 8)),))]), "scale them to one size"),
        (lambda: MediaRoom(pictures=1), "say how large"),
        (lambda: MediaRoom(sounds=1, seconds=600), "say how long"),
        (lambda: MediaRoom(sounds=1, seconds=0.1).check([tone(0)]), "at most 0.1 s"),
        (lambda: single().reset(options={"prompt": EXAMPLES[0]}), "has not declared any"),
        (lambda: single(**ENV).reset(options={"prompt": TWO}), "2 pictures are shown at once, and .* declares 1"),
        (lambda: single(user=Shows((), None)), r"Shows.media=None: expected a MediaRoom"),
        (lambda: single(prompts=SaysNothing()), r"SaysNothing.media='abc': expected a MediaRoom"),
    ],
)
def test_media_that_cannot_be_shown_are_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_an_env_without_media_has_no_room_for_any():
    env = batch(2)
    assert not env.media.room
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    assert env.media.in_vocabulary(tokens) is tokens
