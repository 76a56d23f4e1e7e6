"""Rewards from preferences: the Bradley-Terry fit by its own equation, and pairs made of human ratings."""

import json

import gymnasium as gym
import numpy as np
import pytest

from dyngen_agents.reward_models.preferences import Pair, accuracy, main, read_pairs, train_on_preferences
from dyngen_env.assets.reviews import load_reviews
from dyngen_env.scoring.human_rating import LinearRating
from dyngen_env.scoring.linear_fit import Sparse, bradley_terry


def test_the_fit_is_where_the_gradient_vanishes():
    """∇ = λw - Dᵀσ(-Dw) = 0, densely."""
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(60, 7)) * (rng.random((60, 7)) < 0.5)
    rows, places = dense.nonzero()
    w = bradley_terry(Sparse(places, dense[rows, places], rows, 60, 7), 0.5, tolerance=1e-9)
    np.testing.assert_allclose(0.5 * w, dense.T @ (1 / (1 + np.exp(dense @ w))), atol=1e-6)


def pairs_of(split: str, count: int) -> list[Pair]:
    """Of two film reviews the one that people rated clearly higher."""
    reviews = [r for r in load_reviews(split) if r.kind == "film"]
    rng, made = np.random.default_rng(1), []
    while len(made) < count:
        one, other = (reviews[i] for i in rng.integers(len(reviews), size=2))
        if abs(one.mean - other.mean) > 1:
            better, worse = (one, other) if one.mean > other.mean else (other, one)
            made.append(Pair("", better.text, worse.text))
    return made


def test_pairs_of_human_ratings_teach_what_people_like(tmp_path):
    trained = train_on_preferences(pairs_of("train", 1500), strengths=(1.0, 0.3))
    assert trained.pairs + trained.held_out == 1500 and trained.held_out > 80
    assert accuracy(trained.model, pairs_of("eval", 400)) > 0.75  # 0.5 is chance
    trained.model.save(tmp_path / "liked.npz")
    again = LinearRating.load(tmp_path / "liked.npz")
    assert abs(again("a wonderful film") - trained.model("a wonderful film")) < 1e-2
    env = gym.make("dyngen/Generate-v0", reward=f"preference('{(tmp_path / 'liked.npz').as_posix()}')", prompts=["A"])
    env.reset(seed=0)
    for token in env.unwrapped.tokenizer.encode(" wonderful film"):
        env.step(token)
    _, reward, *_, info = env.step(min(env.unwrapped.tokenizer.end_ids))
    assert abs(reward - again(info["text"])) < 1e-6


def test_the_command_reads_pairs_and_names_a_bad_line(tmp_path, monkeypatch):
    file, out = tmp_path / "pairs.jsonl", tmp_path / "mine.npz"
    lines = [dict(prompt=f"p{i}", chosen="a great film", rejected="a bad film") for i in range(60)]
    file.write_text("\n".join(map(json.dumps, lines)))
    monkeypatch.setattr("sys.argv", ["preferences", str(file), "--out", str(out)])
    main()
    model = LinearRating.load(out)
    assert model("a great film") > model("a bad film")
    file.write_text('{"prompt": "p", "chosen": "c"}')
    with pytest.raises(ValueError, match=r"line 1: KeyError\('rejected'\); expected"):
        read_pairs(file)
    with pytest.raises(ValueError, match="expected more"):
        train_on_preferences([Pair("p", "a", "b")])
    np.savez(tmp_path / "other.npz", weights=np.zeros(2))
    with pytest.raises(ValueError, match="has no bias, gaps, idf, scores"):
        LinearRating.load(tmp_path / "other.npz")
