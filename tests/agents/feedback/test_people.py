"""The store as the people behind an env: turns wait in it, somebody rates them, and the env goes on."""

from dataclasses import replace

import pytest
import torch

from dyngen_agents.data.rollout import collect
from dyngen_agents.feedback.recordings import recordings
from dyngen_agents.feedback.store import FeedbackStore
from dyngen_agents.policy.actor import Actor
from dyngen_env.scoring.people import played_by
from dyngen_env.users.page import PageUser
from tests.support.envs import END, EOS, Somebody, batch, single, write
from tests.support.people import vowels
from tests.support.raters import answer_all, at_work
from tests.support.small import small_env, small_policy


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "people.sqlite")


def texts(store):
    return [(turn.role, turn.text) for dialogue in store.dialogues() for turn in store.turns(dialogue)]


def test_several_people_rate_the_rows_of_a_step(file):
    env = batch(3, reward=f"human({file!r}, raters=2)", prompts=["A"], autoreset_mode="disabled")
    env.reset(seed=0)
    with at_work(file, ada=vowels, bob=lambda text: -vowels(text), cy=lambda text: 2 * vowels(text)):
        for column in ("abc", "eee"):
            env.step([ord(c) for c in column])
        _, rewards, *_ = env.step([EOS] * 3)
    store = FeedbackStore(file)
    for reward, text in zip(rewards, ("ae", "be", "ce"), strict=True):
        [turn] = [t for d in store.dialogues() for t in store.turns(d) if t.text == text]
        ratings = [given.value for given in store.feedback(turn=turn)]
        assert len({given.person.name for given in store.feedback(turn=turn)}) == len(ratings) == 2
        assert reward == pytest.approx(sum(ratings) / 2 / 4)
        assert turn.tokens == (*text.encode(), EOS) and turn.context == (256, ord("A"))
    assert store.waiting() == []


def test_nobody_is_asked_twice_about_the_same_turn(file):
    keywords = dict(reward=f"human({file!r})", prompts=["A"])
    env = single(**keywords)
    env.reset(seed=0)
    with at_work(file, ada=vowels):
        assert write(env, "ae", EOS)[1] == 0.5
    # Nobody is there any more: a new episode, a fork and another env are paid what was said.
    for other in (env, single(**keywords)):
        other.reset(seed=1)
        twin = other.batch.fork([0, 0])
        assert write(other, "ae", EOS)[1] == 0.5
        for token in b"ae":
            twin.step([token, token])
        assert twin.step([EOS, EOS])[1].tolist() == [0.5, 0.5]
    assert len(FeedbackStore(file).feedback()) == 1


def talk(file, replies, *turns):
    """An episode with people who answer each turn by `replies`; their names by what is asked of them."""
    env = single(user=PageUser(file, timeout=30), reward="rating", max_turns=3, max_context_tokens=90, prompts=["A"])
    env.reset(seed=0)
    paid = []
    for text, (person, said) in zip(turns, replies, strict=True):
        with at_work(file, **{person: lambda _, said=said: said}):
            _, reward, _, _, info = write(env, text, END)
        paid.append(reward)
    return paid, info


def test_people_talk_with_the_agent_and_their_words_can_be_forgotten(file):
    paid, info = talk(file, [("ada", "+2 go on"), ("ada", "no"), ("bob", "/leave -4 bye")], "x", "y", "z")
    assert paid == [0.5, 0, -1] and info["finish_reason"] == "user"
    assert [turn["text"] for turn in info["dialogue"]] == ["A", "x", "go on", "y", "no", "z", "bye"]
    store = FeedbackStore(file)
    path = [("agent", "x"), ("user", "go on"), ("agent", "y"), ("user", "no"), ("agent", "z")]
    assert [p for p in (texts(store),) if p[-5:] == path]
    whole = next(d for d in store.dialogues() if len(store.turns(d)) == 5)
    assert whole.person.name == "ada"
    assert [given.value for given in store.feedback(person=store.person("bob"))] == ["/leave -4 bye"]
    store.forget("ada")
    assert texts(store) == [("agent", "x")] and store.feedback() == []


def test_whoever_has_spoken_in_a_dialogue_takes_it_along(file):
    talk(file, [("ada", "secret"), ("bob", "public"), ("bob", "/leave")], "x", "y", "z")
    store = FeedbackStore(file)
    assert ("user", "secret") in texts(store)
    store.forget("ada")
    assert "secret" not in [text for _, text in texts(store)]


def test_the_store_says_which_policy_wrote_a_turn_and_how_likely_it_was(file):
    env = small_env(4, reward=f"human({file!r}, 'deferred')")
    policy = small_policy(env)
    with played_by(model="tiny", fingerprint="f", version="v", sampling={"temperature": 1.0}):
        played = collect(env, Actor(policy, seed=1), 6, seed=0)
    store = FeedbackStore(file)
    assert played.reward_terms["human"].tolist() == [0.0] * 6
    of_text = {t.text: t for d in store.dialogues() for t in store.turns(d)}
    for row, text in enumerate(played.texts):
        turn, mask = of_text[text], played.completion_mask[row]
        assert turn.tokens == tuple(played.tokens[row][mask].tolist())
        assert torch.equal(torch.tensor(turn.logprobs), played.logprobs[row][mask])
        assert (turn.model.name, turn.model.fingerprint, turn.model.version) == ("tiny", "f", "v")
        assert turn.sampling == {"temperature": 1.0}
    assert len(store.waiting()) == len(of_text) == 6


def test_an_agent_is_paid_exactly_what_was_recorded(file):
    talking = dict(max_turns=1, max_context_tokens=48)
    env = small_env(4, reward=f"human({file!r}, 'deferred')", user=Somebody(), **talking)
    played = collect(env, Actor(small_policy(env), seed=1), 8, seed=0)
    with FeedbackStore(file) as store:
        answer_all(store, "ada", lambda text: round(vowels(text) - 1.5, 1))
    again = small_env(4, user=f"recorded({file!r})", reward="rating", **talking)
    replayed = collect(again, Actor(small_policy(again), seed=1), 8, seed=0)
    assert replayed.texts == played.texts and len({*replayed.texts}) == 8
    expected = [(vowels(text) - 1.5) / 4 for text in played.texts]
    assert replayed.episode_returns.tolist() == pytest.approx(expected)
    # Another text after the same prompt gets what one of the recorded texts was given.
    other = collect(again, Actor(small_policy(again, seed=3), seed=2), 8, seed=1)
    assert {round(x, 4) for x in other.episode_returns.tolist()} <= {round(x, 4) for x in expected}
    assert replace(other, texts=()).finish_reasons == ["user"] * 8


def test_a_first_message_without_an_answer_is_no_recording(file):
    with FeedbackStore(file) as store:
        ada = store.person("ada")
        store.add_turn(store.begin_dialogue(ada), "user", "Is anybody there?")
        assert recordings(store) == []
        answered = store.begin_dialogue(ada)
        store.add_turn(answered, "user", "A")
        store.add_feedback("rating", ada, store.add_turn(answered, "agent", "b"), 2)
        rated = {"role": "user", "text": "", "rating": 2.0, "ends": False, "revise": False}
        assert recordings(store) == [[{"role": "user", "text": "A"}, {"role": "agent", "text": "b"}, rated]]
    env = single(user=f"recorded({file!r})", reward="rating", prompts=["A"])
    env.reset(seed=0)
    assert write(env, "b", END)[1] == 0.5


def test_recordings_of_what_is_not_there(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file; dyngen serve --store"):
        single(user=f"recorded({file!r})")
    FeedbackStore(file).close()
    with pytest.raises(ValueError, match=r"people\.sqlite'\): nobody has rated or answered the agent in this store"):
        single(user=f"recorded({file!r})")
    (tmp_path / "text").write_text("no store")
    with pytest.raises(ValueError, match="no feedback store"):
        single(user=f"recorded({str(tmp_path / 'text')!r})")
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="is empty, no feedback store"):
        single(user=f"recorded({str(tmp_path / 'empty')!r})")
    assert (tmp_path / "empty").stat().st_size == 0
    with pytest.raises(ValueError, match="recorded with file=5: expected the name of a file"):
        single(user="recorded(5)")
