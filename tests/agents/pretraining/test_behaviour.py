"""Scripted behaviour in the small worlds: recorded as the envs would have played it, and as good as it says."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from dyngen_agents.data.episodes import read_episodes, write_episodes
from dyngen_agents.data.offline import read_recorded
from dyngen_agents.pretraining.behaviour import maze_episodes, walk_episodes, with_tokens
from dyngen_agents.pretraining.make_tiny_lm import IGNORED, RECIPES, batches, cut, tokenizer_of
from dyngen_env.lm.loading.models import load_tokenizer
from dyngen_env.scoring.worlds.random_walk import optimality
from dyngen_env.text.huggingface import adapted


def tokenizer(name):
    return adapted(load_tokenizer(name))


@pytest.mark.parametrize(
    ("name", "model", "episodes"),
    [
        ("dyngen/Maze-v0", "maze-lm", maze_episodes(2, seed=1, half_good=1.0)),
        ("dyngen/RandomWalk-v0", "walk-lm", walk_episodes(6)),
    ],
)
def test_the_env_plays_the_recorded_tokens_to_the_same_end(name, model, episodes):
    env = gym.make(name, output="torch").unwrapped
    for episode in with_tokens(episodes, tokenizer(model), model):
        tokens, _ = env.reset(options={"prompt": episode.example})
        for start, end in episode.tokens.turns:
            assert (tokens >= 0).sum() == start, "the env's answers have as many tokens as the recorded ones"
            for token in episode.tokens.ids[start:end]:
                tokens, _, over, _, info = env.step(token)
        assert over and info["finish_reason"] == episode.finish_reason
        assert tokens[: len(episode.tokens.ids)].tolist() == episode.tokens.ids
        if episode.feedback:
            assert info["reward_terms"]["rating"] == sum(answer.rating for answer in episode.feedback)


def test_how_good_the_behaviour_in_the_maze_is():
    """Random walks have -85.1 and half-good ones -15.2, by the powers of their transition matrices."""
    episodes = maze_episodes(200)
    for policy, expected in (("random", -85.1), ("half-good", -15.2)):
        returns = [sum(f.rating for f in e.feedback) for e in episodes if e.policy == policy]
        assert abs(np.mean(returns) - expected) < 3 * np.std(returns) / len(returns) ** 0.5
        assert (len(returns) > 100) == (policy == "random")


def test_how_good_random_walks_are():
    worth = [e.reward for e in walk_episodes(2000)]
    assert worth[:20] == [optimality(e.example.prompt + e.completions[0]) for e in walk_episodes(20)]
    assert abs(np.mean(worth) - 0.346) < 3 * np.std(worth) / 2000**0.5


def test_they_are_written_and_read(tmp_path):
    made = with_tokens([*maze_episodes(2)], tokenizer("maze-lm"), "maze-lm")
    write_episodes(tmp_path / "e.jsonl", made)
    store = read_recorded(tmp_path / "e.jsonl", gym.make_vec("dyngen/Maze-v0", num_envs=1).unwrapped)
    assert store.returns.tolist() == [sum(answer.rating for answer in episode.feedback) for episode in made]
    for before, after in zip(made, read_episodes(tmp_path / "e.jsonl"), strict=True):
        assert before.completions == after.completions and before.feedback == after.feedback
        assert list(before.tokens.ids) == after.tokens.ids


@pytest.mark.parametrize(("world", "model"), [("maze", "maze-lm"), ("random_walk", "walk-lm")])
def test_the_shipped_tokenizers_are_those_of_the_recipes(world, model):
    made, shipped = tokenizer_of(RECIPES[world]), load_tokenizer(model)
    assert made.get_vocab() == shipped.get_vocab() and made.eos_token_id == shipped.eos_token_id
    text = "The goal, or move left" if world == "maze" else "bcda"
    assert shipped.decode(shipped.encode(text)) == text


def test_only_what_the_walker_said_is_learned():
    made = with_tokens([p for e in maze_episodes(3) for p in cut(e, 6)], tokenizer("maze-lm"), "")
    text = tokenizer("maze-lm").hf
    for ids, labels in batches(made, RECIPES["maze"], 0):
        for row, wanted in zip(ids.tolist(), labels.tolist(), strict=True):
            assert all(label in (IGNORED, token) for token, label in zip(row, wanted, strict=True))
            said = text.decode([label for label in wanted if label != IGNORED])
            assert set(said.split("<|end|>")) <= {"move left", "move right", "move up", "move down", ""}


def test_pieces_begin_where_the_turns_before_them_have_led():
    (episode,) = maze_episodes(1)
    pieces = cut(episode, 6)
    assert sum((piece.completions for piece in pieces), ()) == episode.completions
    assert [piece.example.prompt for piece in pieces[1:]] == [piece.feedback[-1].text for piece in pieces[:-1]]
