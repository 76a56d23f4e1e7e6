"""What people think as a reward: waited for, put off, or asked for where a model is unsure."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import dyngen_env.rewards.people as module
import dyngen_env.users.page as page
from dyngen_env import Feedback
from dyngen_env.rewards import make_reward
from dyngen_env.scoring.rating_process import fitted
from dyngen_env.testing import check_reward, check_user
from dyngen_env.users import PageUser, make_user
from tests.support.envs import END, EOS, batch, single, write
from tests.support.people import Crowd, vowels


@pytest.fixture
def crowd(monkeypatch):
    people = Crowd()
    for each in (module, page):
        monkeypatch.setattr(each, "people_in", lambda file: people)
    return people


def test_rows_whose_turns_end_together_are_paid_what_each_was_rated(crowd):
    env = batch(3, reward="human", prompts=["A"])
    env.reset(seed=0)
    for column in ("aei", "bou"):
        assert env.step([ord(c) for c in column])[1].tolist() == [0, 0, 0]
    rewards = env.step([EOS, ord("u"), EOS])[1]
    assert rewards.tolist() == [1 / 4, 0, 2 / 4]  # ab, iu
    assert crowd.looks == 1 and [q.dialogue.completions for q in crowd.asked.values()] == [("ab",), ("iu",)]
    ids = [q.written for q in crowd.asked.values()]
    assert [w.tokens for w in ids] == [(*b"ab", EOS), (*b"iu", EOS)] and ids[0].context == (256, ord("A"))


def test_nothing_is_lost_by_a_timeout(crowd):
    crowd.late = None
    env = single(reward="human(timeout=0)")
    env.reset(seed=0)
    write(env, "ae")
    before = env.batch.state
    with pytest.raises(TimeoutError, match=r"1 of 1 turns were not rated within 0 seconds. They wait in feedback"):
        env.step(EOS)
    assert env.batch.state is before
    crowd.late = 0
    assert env.step(EOS)[1] == 0.5 and len(crowd.asked) == 1
    again = single(reward="human(timeout=0, unrated=-1)")
    again.reset(seed=0)
    crowd.late = None
    assert write(again, "ae", EOS)[1] == -1


def test_deferred_pays_nothing_and_waits_for_nobody(crowd):
    crowd.late = None
    env = single(reward="human(mode='deferred', raters=2)")
    env.reset(seed=0)
    *_, info = write(env, "ae", EOS)
    assert info["reward_terms"] == {"human": 0.0} and crowd.looks == 0
    assert [(q.raters, q.reply) for q in crowd.asked.values()] == [(2, False)]


def test_people_rate_what_the_model_is_unsure_of(crowd, tmp_path):
    rated = ["good film", "good film", "bad film", "bad film"] * 5
    model = fitted(rated, [3, 3, -3, -3] * 5)
    model.save(tmp_path / "m.npz")
    reward = f"human('f', 'model', model={str(tmp_path / 'm.npz')!r}, share=0.1)"
    env = single(reward=reward, prompts=["A"], max_new_tokens=14)
    terms = {}
    for text in ("good film", "uvwxyz aeiou"):
        env.reset(seed=0)
        *_, info = write(env, text, EOS)
        terms[text] = info["reward_terms"]
    assert terms["good film"]["human"] == 0 and terms["good film"]["human_model"] == pytest.approx(3 / 4, abs=0.05)
    assert terms["uvwxyz aeiou"] == {"human": 1.0, "human_model": 0.0}
    assert len(crowd.asked) == 1


def test_what_cannot_work_is_refused():
    for reward, message in (
        ("human(mode='later')", "mode='later': expected one of 'wait', 'deferred', 'model'"),
        ("human(raters=0)", "raters=0"),
        ("human(raters=True)", "raters=True: expected how many people"),
        ("human(5)", "human with file=5: expected the name of a file"),
        ("human('')", "human with file='': expected the name of a file"),
        ("human(mode='model', model=5)", "human with model=5: expected the name of a file"),
        ("human(timeout='x')", "human with timeout='x': expected a number from 0 on"),
        ("human(timeout=-1)", "human with timeout=-1: expected a number from 0 on"),
        ("human(timeout=None)", "timeout=None: expected a number"),
        ("human(unrated='x')", "human with unrated='x': expected a finite number"),
        ("human(mode='deferred', unrated=1e999)", "unrated=inf: expected a finite number"),
        ("human(mode='model', model='x.npz', share='x')", "share='x': expected a number from 0 to 1"),
        ("human(share=1.5)", "share=1.5: expected a number from 0 to 1"),
        ("human(mode='model')", "mode='model' wants the file of one"),
        ("human(model='x.npz')", "no other mode does"),
        ("shaped(human)", "nobody is asked about unfinished turns"),
        ("delayed(human + length(3), to='token')", "nobody is asked about unfinished turns"),
    ):
        with pytest.raises(ValueError, match=message):
            make_reward(reward)
    with pytest.raises(FileNotFoundError):
        make_reward("human(mode='model', model='nowhere.npz')")
    for user, message in (
        ("page(5)", "page with file=5: expected the name of a file"),
        ("page(timeout='x')", "page with timeout='x': expected a number from 0 on"),
        ("page(timeout=-1)", "page with timeout=-1: expected a number from 0 on"),
    ):
        with pytest.raises(ValueError, match=message):
            make_user(user)


def test_it_keeps_the_contract_of_rewards_and_envs(crowd):
    check_reward("human")
    check_env(gym.make("dyngen/Generate-v0", tokenizer="bytes", prompts=["A"], reward="human").unwrapped)


def test_people_on_the_page_answer_with_words_and_ratings(crowd):
    crowd.answer = lambda q: Feedback(f"{len(q.dialogue.completions)}", vowels(q.dialogue.completions[-1]), q.reply)
    env = single(user="page", reward="rating", max_turns=3, max_context_tokens=60)
    env.reset(seed=0)
    _, reward, terminated, _, info = write(env, "aeb", END)
    assert (reward, terminated, info["dialogue"][-1]["text"]) == (0.5, True, "1")
    [question] = crowd.asked.values()
    assert question.reply and question.written.tokens == (*b"aeb", END)
    check_user(PageUser(people=crowd))
    crowd.late = None
    quiet = PageUser(timeout=0, people=crowd)
    talks = [question.dialogue]
    assert quiet.reply(talks, [np.random.default_rng()]) == [Feedback()]
