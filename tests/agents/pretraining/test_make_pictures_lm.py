"""How pictures-lm is made: its rows are those of the env, and what it reads it can answer."""

import gymnasium as gym
import numpy as np
import torch

from dyngen_agents import CausalLMPolicy, collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.pretraining.make_pictures_lm import (
    IGNORED,
    Recipe,
    batch_of,
    lesson_about,
    moved,
    save,
    train,
    untrained,
)
from dyngen_env import Example, Picture
from dyngen_env.assets.pictures import load_pictures
from dyngen_env.lm.loading.models import load_model
from dyngen_env.scoring.said import said_f1
from dyngen_env.tasks.pictures import COLOURS, IS_IT, KIND, NAME

CAR, WHALE, APPLE = (next(p for p in load_pictures() if p.id == id_) for id_ in ("1f697", "1f433", "1f34e"))
SMALL = Recipe(epochs=80, things=3, shift=0, hidden=32, channels=16, learning_rate=1e-2, warmup_steps=5)


def options(folder):
    return dict(model=folder, output="torch", autoreset_mode="same_step", max_new_tokens=8, max_context_tokens=16)


def test_three_pictures_are_learned_by_heart_saved_and_seen_by_the_env(tmp_path):
    model, tokenizer = untrained(SMALL)
    train(SMALL, model, tokenizer, [CAR, WHALE, APPLE])
    save(model, tokenizer, tmp_path)
    examples = [
        Example(COLOURS, " ".join(picture.colours), media=(Picture(picture.pixels),)) for picture in (CAR, WHALE, APPLE)
    ]
    assert [example.reference for example in examples] == ["red", "blue", "red"]
    env = gym.make_vec("dyngen/Generate-v0", num_envs=3, prompts=examples, **options(str(tmp_path))).unwrapped
    policy = CausalLMPolicy(load_model(str(tmp_path)), env.token_distribution())
    played = collect(env, Actor(policy, seed=0, deterministic=True), 3, examples=examples, seed=0)
    for example, text in zip(examples, played.texts, strict=True):
        assert said_f1(text, [example.reference.split()]) == 1.0, (example, text)
    # What the lesson reads is what the env shows: context, answer and end.
    shown, tokens, labels = batch_of([CAR], tokenizer, 4, 0, _NeverMirrored())
    row = next(row for row, label in zip(tokens, labels, strict=True) if tokenizer.decode(row[4:5]) == COLOURS)
    assert played.tokens[0][: int((row >= 0).sum())].tolist() == row[row >= 0].tolist()
    del shown


class _NeverMirrored:
    """Draws nothing that changes a picture."""

    def integers(self, low, high=None, size=None):
        return np.zeros(size or (), dtype=int) if size else 0

    def random(self):
        return 0.9


def test_only_answers_are_learned():
    _, tokenizer = untrained(SMALL)
    shown, tokens, labels = batch_of([CAR, WHALE], tokenizer, 4, 2, np.random.default_rng(0))
    assert len(shown) == 2 and tokens.shape == labels.shape and len(tokens) == 8
    answered = labels != IGNORED
    assert torch.equal(tokens[answered], labels[answered])
    assert not answered[:, :5].any() and answered[:, 5].all()
    ends = (labels == tokenizer.eos_token_id).sum(1)
    assert ends.tolist() == [1] * 8


def test_lessons_are_right_answers():
    asked = dict(lesson_about(CAR, np.random.default_rng(1)))
    assert asked[NAME] in CAR.names and asked[KIND] in (CAR.kind, CAR.category)
    assert asked[COLOURS].split() == list(CAR.colours)
    [question] = set(asked) - {NAME, KIND, COLOURS}
    assert asked[question] == ("yes" if question == IS_IT["travel places"] else "no")


def test_a_picture_moves_on_white_paper():
    pixels = np.full((32, 32, 3), 255, dtype=np.uint8)
    pixels[10:20, 12:18] = 0
    for seed in range(4):
        seen = moved(pixels, 3, np.random.default_rng(seed))
        assert seen.shape == (32, 32, 3) and (seen == 0).sum() == 10 * 6 * 3
        rows, columns, _ = np.nonzero(seen == 0)
        assert abs(rows.min() - 10) <= 3 and min(abs(columns.min() - 12), abs(31 - columns.max() - 12)) <= 3
