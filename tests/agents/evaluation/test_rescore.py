"""Recorded episodes under other rewards: what envs have paid for the same episodes, and arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dyngen_agents.data.episodes import Episode, read_episodes, recorded, write_episodes
from dyngen_agents.data.rollout import collect
from dyngen_agents.evaluation.rescore import rescore
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy
from dyngen_agents.runs.environment import draw_examples
from dyngen_env import Example, Feedback
from dyngen_env.lm.loading.models import load_model
from dyngen_env.mdp.state import ILLEGAL
from dyngen_env.rewards import Fluency, Reward, Sentiment
from tests.support.envs import Talker, random_actions
from tests.support.small import small_env


class Vowels(Reward):
    """Pays for each vowel when it is written, the more the later in the row it stands."""

    name, per_token = "vowels", True

    def __call__(self, transition):
        vowel = torch.isin(transition.actions, torch.tensor([97, 101, 105, 111, 117]))
        return vowel * transition.before.length.double()


class Seen(Reward):
    """A number of everything that a recording keeps of a turn's end."""

    name = "seen"

    def __call__(self, t):
        paid = torch.zeros(len(t.actions), dtype=torch.float64)
        for i, row in enumerate(t.rows):
            start, end = int(t.before.turn_start[row]), int(t.spoken.length[row])
            assert int(t.before.length[row]) == end - 1 and int(t.actions[row]) == int(t.spoken.tokens[row, end - 1])
            ids = t.spoken.tokens[row]
            assert bool((ids[end:] == -1).all()) and t.playing[row] is t.examples[i]
            live = bool(t.after.live[row])
            paid[row] = (
                3 * float(ids[start:end].sum()) + 5 * float(ids[:start].sum())
                + 31 * int(t.spoken.completion_mask[row].sum()) + 37 * int(t.after.completion_mask[row].sum())
                + 7 * len(t.completions[i]) + 11 * int(t.after.finish[row]) + 13 * int(t.spoken.finish[row] == ILLEGAL)
                + 17 * (int(t.after.length[row]) + int(t.after.turn_start[row]) if live else 0)
                + 19 * len(t.feedback[i].text) + 23 * (t.feedback[i].rating or 0)
                + (29 * len(t.dialogues[i].feedback) + len(t.talks[row].completions) if t.dialogues[i] else 0)
            )  # fmt: skip
        return paid


def told(text, dialogue, reference=None):
    heard = "" if dialogue is None else "".join(answer.text for answer in dialogue.feedback)
    return len(text) + 2.0 * heard.count("a")


REWARDS = {
    "sentiment": "sentiment",
    "sum": "length(3) - 0.5*repetition(1) + 2",
    "price": "length(3) - 3*illegal",
    "product": "length(3) * keywords('a')",
    "delayed": "delayed(length(3)) + delayed(sentiment, to='turn')",
    "dense": "delayed(length(3), to='token')",
    "shaped": "shaped(length(3), keywords('a', 'e'), gamma=0.9)",
    "shaped without discount": "shaped(length(3), keywords('a'))",
    "clip": "clip(3*length(2), -0.5, 0.5)",
    "rating": "rating + 2*left_happy",
    "function": told,
    "by token": Vowels(),
    "everything": Seen(),
}


def played(reward, answering=False, episodes=40, **options):
    """Random episodes of an env, the first of them with odd bytes, and its returns."""
    if answering:
        replies = (Feedback("?", 2.0), Feedback("aha", -1.0), Feedback("?", None), Feedback("?", 1.0))
        options = dict(user=Talker(replies), max_turns=4, max_context_tokens=46) | options
    env, rng = small_env(8, reward=reward, **options), np.random.default_rng(0)

    def actor(tokens, lengths):
        zeros = torch.zeros(len(tokens))
        return Action(torch.from_numpy(random_actions(rng, len(tokens))), zeros, zeros)

    examples = draw_examples(env.unwrapped, episodes, 0)
    batch = collect(env.unwrapped, actor, episodes, seed=0, examples=examples)
    return recorded(batch, examples, "bytes", "random"), batch


def settings_of(names):
    """Every reward in a dialogue, and those alone that are not a user's opinion."""
    return [
        pytest.param(name, answering, id=f"{name}-{'dialogue' if answering else 'alone'}")
        for name in names
        for answering in (False, True)
        if answering or name != "rating"
    ]


@pytest.mark.parametrize("name, answering", settings_of(REWARDS))
def test_a_recording_earns_what_the_env_has_paid(name, answering, tmp_path):
    episodes, batch = played(REWARDS[name], answering)
    write_episodes(tmp_path / "episodes.jsonl", episodes)
    kept = read_episodes(tmp_path / "episodes.jsonl")
    assert kept == episodes
    found = rescore(kept, REWARDS[name])
    np.testing.assert_allclose(found.returns, batch.rewards.double().sum(1), atol=1e-4)
    for term, paid in found.terms.items():
        np.testing.assert_allclose(paid, batch.reward_terms[term], atol=1e-4)


@pytest.mark.parametrize("name, answering", settings_of(["sum", "rating", "function", "by token"]))
def test_a_turn_that_was_cut_off_is_not_paid(name, answering):
    """By `max_episode_steps`, which may also cut an episode just where a turn has ended."""
    reward = REWARDS[name]
    episodes, batch = played(reward, answering, max_episode_steps=4)
    np.testing.assert_allclose(rescore(episodes, reward).returns, batch.rewards.double().sum(1), atol=1e-4)
    cut = [len(e.feedback) < len(e.completions) for e in episodes if e.finish_reason == "steps"]
    assert any(cut) and (not answering or not all(cut))


@pytest.mark.parametrize(
    ("reward", "steps"),
    [("rating - 0.1*drafts + length(3)", None), ("rating - 0.1*drafts", 5), (Vowels(), 5), (Seen(), None)],
)
def test_drafts_that_were_sent_back_are_not_paid(reward, steps, tmp_path):
    replies = (Feedback("no", -3.0, revise=True), Feedback("ok", 2.0), Feedback("?"), Feedback("no", revise=True))
    episodes, batch = played(reward, True, user=Talker(replies), max_turns=3, max_episode_steps=steps)
    write_episodes(tmp_path / "episodes.jsonl", episodes)
    assert read_episodes(tmp_path / "episodes.jsonl") == episodes
    assert sum(answer.revise for e in episodes for answer in e.feedback) > 10
    np.testing.assert_allclose(rescore(episodes, reward).returns, batch.rewards.double().sum(1), atol=1e-4)


def test_the_recordings_above_end_in_many_ways():
    reasons = {e.finish_reason for answering in (False, True) for e in played("0", answering)[0]}
    assert reasons == {"stop", "length", "illegal", "context", "turns", "user"}


def test_fluency_of_recorded_ids_is_that_of_the_env(tiny_model):
    model = str(tiny_model)
    env = small_env(8, reward="fluency", tokenizer=None, model=model, stop="e").unwrapped
    examples = draw_examples(env, 16, 0)
    policy = CausalLMPolicy(load_model(model), env.token_distribution())
    batch = collect(env, Actor(policy, 0), 16, seed=0, examples=examples)
    paid = batch.rewards.double().sum(1)
    np.testing.assert_allclose(
        rescore(recorded(batch, examples, model), "fluency", model=model).returns, paid, atol=1e-5
    )
    with pytest.raises(ValueError, match=r"'fluency' needs a language model.*fluency\('reviews-lm'\)"):
        rescore(recorded(batch, examples, model), Fluency())


def test_texts_alone_are_encoded_anew():
    """The least that a file may hold; by hand: 1 - |n - 2|/2 words, and the reference."""
    episodes = [
        Episode(Example("q", reference), (text,)) for text, reference in (("a b", "a b"), ("a", "b"), ("", None))
    ]
    assert rescore(episodes, "length(2)").returns.tolist() == [1.0, 0.5, 0.0]
    assert rescore(episodes, lambda text, reference: float(text == reference)).returns.tolist() == [1.0, 0.0, 0.0]
    assert rescore(episodes, "shaped(length(2))").returns.tolist() == [1.0, 0.5, 0.0]
    dialogue = Episode(Example("q"), ("a b", "c"), (Feedback("no", -4.0), Feedback("yes", 2.0, "goal")), answered=True)
    assert rescore([dialogue], "rating + 2*left_happy").returns.tolist() == [-1.0 + 0.5 + 2.0]


def test_terms_have_the_names_of_the_env():
    episodes = [Episode(Example("q"), ("good",), finish_reason=reason) for reason in ("stop", "illegal")]
    assert list(rescore(episodes[:1], Sentiment() + 1).terms) == ["sentiment", "constant"]
    terms = rescore(episodes, Sentiment() + 1).terms
    assert list(terms) == ["sentiment", "constant", "illegal"] and terms["illegal"].tolist() == [0.0, -1.0]


def test_an_episode_that_a_model_cannot_hold_is_named():
    episodes = [Episode(Example("q"), ("word " * n,)) for n in (1, 2000)]
    with pytest.raises(
        ValueError, match=r"1 of 2 episodes exceed the \d+ tokens of model 'reviews-lm', such as number 2"
    ):
        rescore(episodes, "length", model="reviews-lm")


def test_a_scale_that_moves_with_the_episodes_is_refused():
    episodes = [Episode(Example("x"), ("so good",)), Episode(Example("x"), ("so bad",))]
    with pytest.raises(ValueError, match="fits its scale anew wherever it is paid"):
        rescore(episodes, "1 + normalised(sentiment)")
    fixed = rescore(episodes, "normalised(sentiment, 0.5, 0.25)").returns
    assert fixed == pytest.approx((rescore(episodes, "sentiment").returns - 0.5) / 0.25)
