"""What people have rated as episodes to learn from, against the rollout that they rated."""

import pytest
import torch

from dyngen_agents.data.rated_turns import last_feedback, note_use, read_rated
from dyngen_agents.data.rollout import collect
from dyngen_agents.feedback.store import FeedbackStore, ModelStamp
from dyngen_agents.policy.actor import Actor
from dyngen_env.scoring.people import played_by
from tests.support.envs import Somebody
from tests.support.people import vowels
from tests.support.raters import answer_all
from tests.support.small import small_env, small_policy

ME = ModelStamp("bytes")


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "rated.sqlite")


@pytest.fixture(autouse=True)
def _same_vocabulary(monkeypatch):
    monkeypatch.setattr("dyngen_agents.data.rated_turns.check_vocabulary", lambda *_: None)


def play(env, episodes=5):
    with played_by(model="bytes", version=""):
        return collect(env, Actor(small_policy(env), seed=1), episodes, seed=0)


def rows_of(batch):
    """Each episode as lists, without padding."""
    out = []
    for row in range(len(batch)):
        n = int(batch.completion_mask[row].nonzero().max()) + 1
        fields = (batch.tokens, batch.completion_mask, batch.logprobs)
        out.append(tuple(tuple(x[row, :n].tolist()) for x in fields))
    return out


def test_what_was_put_off_and_rated_is_what_was_played(file):
    env = small_env(5, reward=f"human({file!r}, 'deferred', raters=2)")
    played = play(env)
    with FeedbackStore(file) as store:
        assert answer_all(store, "ada", vowels) == answer_all(store, "bob", lambda text: 0.0) == 5
    rated = read_rated(file, env, last_feedback(file))
    batch = rated.episodes.take(range(5))
    assert {*rows_of(batch)} == {*rows_of(played)}
    for text, earned in zip(batch.texts, batch.episode_returns.tolist(), strict=True):
        assert earned == pytest.approx(vowels(text) / 2 / 4)
    assert bool((batch.rewards[:, :-1] * ~batch.completion_mask[:, :-1] == 0).all())
    assert (len(rated.feedback), rated.until, rated.versions) == (10, 10, 1)
    assert dict(zip(batch.texts, batch.stopped.tolist(), strict=True)) == dict(
        zip(played.texts, played.stopped.tolist(), strict=True)
    )


def test_a_dialogue_is_one_episode_and_its_unrated_turns_earn_nothing(file):
    options = dict(user=Somebody(), max_turns=3, max_context_tokens=100, max_new_tokens=4)
    env = small_env(1, reward=f"human({file!r}, 'deferred')", **options)
    played = play(env, 1)
    with FeedbackStore(file) as store:
        first, second, _ = store.waiting()
        store.add_feedback("thumbs", store.person("ada"), second.turns[0], -1)
        store.add_feedback("rating", store.person("bob"), first.turns[0], 2)
    batch = read_rated(file, env, last_feedback(file)).episodes.take([0])
    width = batch.tokens.shape[1]  # up to the last turn that was rated: what the third earns is not known
    assert torch.equal(batch.tokens, played.tokens[:, :width])
    assert torch.equal(batch.completion_mask, played.completion_mask[:, :width])
    assert torch.equal(batch.logprobs, played.logprobs[:, :width])
    ends = (batch.completion_mask[0] & ~torch.cat([batch.completion_mask[0, 1:], torch.tensor([False])])).nonzero()
    assert batch.rewards[0][ends.flatten()].tolist() == [0.5, -1.0] and float(batch.rewards.abs().sum()) == 1.5


def test_feedback_that_comes_later_changes_nothing_of_what_was_read(file):
    env = small_env(3, reward=f"human({file!r}, 'deferred', raters=2)")
    play(env, 3)
    with FeedbackStore(file) as store:
        answer_all(store, "ada", vowels)
        until = last_feedback(file)
        before = read_rated(file, env, until)
        answer_all(store, "bob", lambda text: -4.0)
    again = read_rated(file, env, until)
    assert torch.equal(again.episodes.returns, before.episodes.returns) and again.feedback == before.feedback == (
        1,
        2,
        3,
    )
    assert not torch.equal(read_rated(file, env, last_feedback(file)).episodes.returns, before.episodes.returns)


def test_two_answers_after_the_same_beginning_are_learned_from_once_each(file):
    with FeedbackStore(file) as store:
        talk, ada = store.begin_dialogue(None, opening="A"), store.person("ada")
        said = dict(context=[256, 65], model=ME)
        first = store.add_turn(talk, "agent", "b", tokens=[98], logprobs=[-1.0], **said)
        store.add_turn(talk, "user", "c", after=first)
        later = dict(context=[256, 65, 98, 99], model=ME, after=store.turns(talk)[-1])
        turns = [store.add_turn(talk, "agent", t, tokens=[ord(t)], logprobs=[-2.0], **later) for t in "de"]
        for turn, rating in zip((first, *turns), (4, 2, -2), strict=True):
            store.add_feedback("rating", ada, turn, rating)
    env = small_env(1)
    batch = read_rated(file, env, 3).episodes.take([0, 1])
    assert batch.tokens.tolist() == [[256, 65, 98, 99, 100], [256, 65, 98, 99, 101]]
    assert batch.completion_mask.tolist() == [[False, False, True, False, True], [False] * 4 + [True]]
    assert batch.rewards.tolist() == [[0, 0, 1, 0, 0.5], [0, 0, 0, 0, -0.5]]


def test_what_cannot_be_learned_from_is_named(file, caplog):
    caplog.set_level("INFO")
    env = small_env(1)
    with pytest.raises(FileNotFoundError, match="no feedback store"):
        last_feedback(file)
    with FeedbackStore(file) as store:
        talk, ada = store.begin_dialogue(None, opening="A"), store.person("ada")
        with pytest.raises(ValueError, match=r"rated\.sqlite has nothing to learn from: nobody has rated"):
            read_rated(file, env, 0)
        store.add_feedback("rating", ada, store.add_turn(talk, "agent", "b"), 1)
        with pytest.raises(ValueError, match=r"nothing to learn from, but 1 rated turns of which nobody knows"):
            read_rated(file, env, 1)
        known = dict(tokens=[98], logprobs=[-1.0], context=[256, 65], model=ME)
        other = store.begin_dialogue(None, opening="A")
        store.add_feedback("rating", ada, store.add_turn(other, "agent", "b", **known), 1)
    assert len(read_rated(file, env, 2).episodes) == 1
    assert "left out are 1 rated turns" in caplog.text
    assert f"1 of 1 turns were written by bytes, not by {env.model}" in caplog.text
    with pytest.raises(ValueError, match=r"and 1 episodes with tokens that the agent may not write .*'b' 1 times"):
        read_rated(file, small_env(1, banned="ab"), 2)


def test_who_is_forgotten_is_told_which_runs_learned(file, tmp_path):
    with FeedbackStore(file) as store:
        turn = store.add_turn(store.begin_dialogue(None, opening="A"), "agent", "b")
        given = store.add_feedback("rating", store.person("ada"), turn, 1)
        note_use(file, tmp_path / "run", [given.id])
        assert store.forget("ada").runs == (str(tmp_path / "run"),)
