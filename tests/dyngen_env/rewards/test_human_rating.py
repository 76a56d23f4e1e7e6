"""The reward model of human ratings: how it is fitted, and how well the embedded one predicts."""

from __future__ import annotations

import shutil

import gymnasium as gym
import numpy as np
import pytest
import torch

from dyngen_agents.pretraining.make_human_rating import correlations
from dyngen_env.assets.reviews import load_reviews
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.lm.loading.sources import resolve
from dyngen_env.lm.rater import LMRater, last_states
from dyngen_env.rewards import HumanRating
from dyngen_env.scoring import text_features
from dyngen_env.scoring.human_rating import PATH, LinearRating, human_rating
from dyngen_env.scoring.linear_fit import Sparse, ridge
from dyngen_env.scoring.text_features import GRAMS, SIZE, features, ngrams
from tests.support.architectures import tiny
from tests.support.envs import END, single, write


@pytest.mark.parametrize("strength", [0.3, 10.0])
def test_ridge_is_the_closed_form(strength):
    """w = (XᵀX + λI)⁻¹Xᵀy, solved densely."""
    rng = np.random.default_rng(0)
    dense, y = rng.normal(size=(40, 12)) * (rng.random((40, 12)) < 0.4), rng.normal(size=40)
    rows, places = dense.nonzero()
    w = ridge(Sparse(places, dense[rows, places], rows, 40, 12), y, strength, np.zeros(12), tolerance=1e-9)
    np.testing.assert_allclose(w, np.linalg.solve(dense.T @ dense + strength * np.eye(12), dense.T @ y), atol=1e-6)


def test_features_of_a_text():
    idf = np.ones(GRAMS)
    places, values = features("not bad, not bad", idf)
    grams, counts = ngrams("not bad, not bad")
    # Tokens: not bad , not bad. 3 different words and the empty border; bigrams: ^not, not bad, bad ",", ", not", bad$;
    # after "not": not-bad, of which the second "not" is one as well ("bad , not" are within 3 places).
    words = grams < 2**text_features.WORD_BITS
    assert words.sum() == 4 + 5 + 2 and set(counts[words].tolist()) == {1, 2}
    assert np.array_equal(places[:-4], grams) and places[-4:].tolist() == list(range(GRAMS, SIZE))
    border = int(words.sum())
    for part in (values[:border], values[border:-4]):
        assert np.linalg.norm(part) == pytest.approx(1.0)


def test_hashes_are_the_same_everywhere():
    """Or the embedded weights would belong to other n-grams."""
    places, _ = ngrams("Ünï 漢字!")
    assert (len(places), int(places.sum() % 1000003)) == (18, 879147)


@pytest.mark.parametrize("text", ["", " ", "x" * 10_000, "\ud800", "\x00", "🙂"])
def test_odd_texts_have_a_rating(text):
    assert np.isfinite(human_rating(text))


def test_what_is_saved_is_what_is_loaded(tmp_path):
    rng = np.random.default_rng(0)
    idf = np.where(rng.random(GRAMS) < 1e-4, rng.random(GRAMS) + 1, 0.0)
    idf[ngrams("a good film")[0]] = 1.5
    weights = rng.normal(size=SIZE) * np.append(idf > 0, [1, 1, 1, 1])
    model = LinearRating(weights, idf, 0.25)
    model.save(tmp_path / "m.npz")
    again = LinearRating.load(tmp_path / "m.npz")
    assert again("a good film") == pytest.approx(model("a good film"), abs=0.01)
    assert again("") == pytest.approx(model(""), abs=0.01)


def test_the_embedded_model_predicts_held_out_ratings():
    held_out = load_reviews("eval")
    found = correlations(held_out, [human_rating(review.text) for review in held_out])
    assert found["film"] > 0.72 and found["product"] > 0.73  # 0.740 each in assets/README.md
    assert PATH.stat().st_size < 10e6


def test_the_reward():
    env = single(reward="human_rating", max_new_tokens=60, max_context_tokens=120)
    paid = []
    for text in ("a wonderful, moving film.", "a dull, stupid mess."):
        env.reset(seed=0)
        paid.append(write(env, text, END)[1])
        assert paid[-1] == pytest.approx(human_rating(text) / 4)
    assert paid[0] > 0.2 and paid[1] < -0.2


class TestALanguageModelAsTheJudge:
    TEXTS = ("a wonderful film", "dull", "I do not know what to say about this one, but it was long")

    def judge(self) -> LMRater:
        weights = np.random.default_rng(0).normal(size=(2, 192)).astype(np.float32) / 50
        return LMRater("reviews-lm", (1, 4), weights, 0.5)

    def test_it_reads_the_last_token_of_the_question_whatever_else_is_in_the_batch(self):
        states = last_states("reviews-lm", (1, 4), self.TEXTS)
        assert states.shape == (3, 2, 192)
        model, tokenizer = load_model("reviews-lm", dtype=torch.bfloat16), load_tokenizer("reviews-lm")
        for text, own in zip(self.TEXTS, states, strict=True):
            parts = ("Review: ", text, "\nThe reviewer's opinion of it: it is")
            ids = [i for part in parts for i in tokenizer.encode(part, add_special_tokens=False)]
            with torch.no_grad():
                hidden = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            alone = torch.stack([hidden[layer][0, -1] for layer in (1, 4)]).float()
            torch.testing.assert_close(torch.from_numpy(own), alone, atol=0.1, rtol=0.05)  # bfloat16

    def test_states_of_a_model_whose_last_layer_is_narrower(self, tmp_path):
        """OPT-350m, whose last states are projected to the width of its head."""
        tiny("opt-350m", vocabulary=4096).save_pretrained(tmp_path)
        load_tokenizer("reviews-lm").save_pretrained(tmp_path)
        assert last_states(str(tmp_path), (0, 1), self.TEXTS).shape == (3, 2, 32)
        assert last_states(str(tmp_path), (2,), self.TEXTS).shape == (3, 1, 16)
        with pytest.raises(ValueError, match=r"layers \[1, 2\] of .* have states of widths \[16, 32\]"):
            last_states(str(tmp_path), (1, 2), self.TEXTS)

    def test_a_saved_judge_is_a_reward_by_its_path(self, tmp_path):
        path = tmp_path / "judge.npz"
        judge = self.judge()
        judge.save(path)
        ratings = LMRater.load(path)(self.TEXTS)
        np.testing.assert_allclose(ratings, judge(self.TEXTS))
        expected = 0.5 + np.einsum("nkd,kd->n", last_states("reviews-lm", (1, 4), self.TEXTS), judge.weights)
        np.testing.assert_allclose(ratings, expected)
        env = gym.make("dyngen/Generate-v0", reward=f"human_rating('{path.as_posix()}')", prompts=["A"]).unwrapped
        env.reset(seed=0)
        for token in env.tokenizer.encode(" dull"):
            env.step(token)
        _, reward, terminated, _, info = env.step(min(env.tokenizer.end_ids))
        assert terminated and abs(reward - np.clip(judge([info["text"]])[0] / 4, -1, 1)) < 1e-6

    def test_a_judge_from_before_fingerprints_is_taken_as_it_is(self, tmp_path):
        judge = self.judge()
        parts = dict(model=judge.model, layers=judge.layers, weights=judge.weights, bias=judge.bias)
        np.savez(tmp_path / "judge.npz", **parts)
        assert LMRater.load(tmp_path / "judge.npz").model == "reviews-lm"

    def test_a_judge_whose_language_model_has_changed_is_refused(self, tmp_path):
        model = shutil.copytree(resolve("reviews-lm").path, tmp_path / "model")
        judge = self.judge()
        LMRater(str(model), judge.layers, judge.weights, judge.bias).save(tmp_path / "judge.npz")
        HumanRating(str(tmp_path / "judge.npz"))
        lm = load_model(str(model), fresh=True)
        with torch.no_grad():
            lm.get_input_embeddings().weight[5] += 1
        lm.save_pretrained(model)
        with pytest.raises(ValueError, match=r"base model '.*model' has changed since the ratings in .*judge.npz"):
            HumanRating(str(tmp_path / "judge.npz"))

    def test_another_file_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            HumanRating(str(tmp_path / "none.npz"))
        np.savez(tmp_path / "other.npz", weights=np.zeros(3))
        with pytest.raises(ValueError, match=r"has no bias, layers, model.*--model smollm2"):
            HumanRating(str(tmp_path / "other.npz"))
