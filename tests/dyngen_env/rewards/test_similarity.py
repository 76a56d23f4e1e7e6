"""Nearness of meaning: cosines by hand, any encoder, and a language model's hidden states."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch

from dyngen_env.lm import encoder as encoders
from dyngen_env.lm.encoder import ORDINARY, MeanHiddenState, as_encoder, cosines
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.rewards import Similarity, Topic, make_reward
from dyngen_env.testing import check_reward
from tests.support.envs import END, batch, single, write


class Letters:
    """A sentence's vector: how often it has a, b and c."""

    def encode(self, sentences):
        return np.array([[text.count(letter) for letter in "abc"] for text in sentences])


class Broken:
    def encode(self, sentences):
        return np.full((len(sentences), 2), np.nan)


def paid(reward, text, **kwargs):
    env = single(**{"reward": reward, "prompts": ["aab"], "max_new_tokens": 20, "max_context_tokens": 60, **kwargs})
    env.reset(seed=0)
    return write(env, text, END)[1]


@pytest.mark.parametrize(
    ("text", "cosine"),
    [("aab", 1.0), ("ab", 3 / np.sqrt(5 * 2)), ("c", 0.0), ("xyz", 0.0), ("", 0.0), ("  ", 0.0), ("b", 1 / np.sqrt(5))],
)
def test_the_cosine_with_the_prompt(text, cosine):
    assert paid(Similarity(encoder=Letters()), text) == pytest.approx(cosine)


def test_the_cosine_with_the_reference(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "aab", "reference": "c"}\n')
    reward = Similarity("reference", Letters())
    assert paid(reward, "cc", prompts=str(tmp_path / "p.jsonl")) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="the example 'aab' has none"):
        paid(reward, "cc")


@pytest.mark.parametrize(("text", "cosine"), [("c", 1.0), ("bb", 1.0), ("a", 0.0), ("bc", 1 / np.sqrt(2)), ("", 0.0)])
def test_the_nearest_description_of_a_topic_counts(text, cosine):
    assert paid(Topic("b", "c", encoder=Letters()), text) == pytest.approx(cosine)


def test_rows_are_compared_with_their_own_prompts():
    env = batch(3, reward=Similarity(encoder=Letters()), prompts=["a"], autoreset_mode="disabled")
    env.reset(options={"prompt": ["a", "b", "a"]})
    env.step([97, 97, 98])
    assert env.step([END] * 3)[1] == pytest.approx([1, 0, 0])


def test_an_encoder_may_give_tensors():
    class Tensors(Letters):
        def encode(self, sentences):
            return torch.from_numpy(super().encode(sentences)).float().requires_grad_()

    assert cosines(Tensors(), ["a"], ["ab", "b"])[0] == pytest.approx([2**-0.5, 0])


def test_a_language_model_as_the_encoder():
    """The mean of Hugging Face's own last hidden states, one text at a time, less the mean over ordinary texts."""
    lm, tokenizer = load_model("reviews-lm"), load_tokenizer("reviews-lm")

    def mean(text):
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        return lm(ids, output_hidden_states=True).hidden_states[-1][0].mean(0).numpy()

    ordinary = np.mean([mean(text) for text in encoders.film_prompts("train")[:ORDINARY]], axis=0)
    texts = ["a film", "the acting is good, and the plot is not", "x"]
    expected = np.stack([mean(text) - ordinary for text in texts])
    np.testing.assert_allclose(MeanHiddenState("reviews-lm").encode(texts), expected, atol=1e-4)


def test_the_envs_own_model_is_the_default():
    env = single(model="reviews-lm", tokenizer=None, prompts=["a good film"], reward="similarity + topic('a film')")
    env.reset(seed=0)
    ids = env.tokenizer.encode(" a good film")
    *_, info = [env.step(token) for token in [*ids, env.tokenizer.hf.eos_token_id]][-1]
    expected = cosines(MeanHiddenState("reviews-lm"), [" a good film"], ["a good film", "a film"])[0]
    assert list(info["reward_terms"].values()) == pytest.approx([*expected], abs=1e-4)
    with pytest.raises(ValueError, match="reward 'topic' needs an encoder: give the env model="):
        single(reward="topic('x')")


def test_meaning_matters_somewhat():
    """Halves of one review are nearer to each other than to halves of others: 0.60 of the time over 200 reviews."""
    halves = [("the acting is wonderful and the", "cast plays with charm"), ("a dull plot with", "a predictable story")]
    near = cosines(MeanHiddenState("reviews-lm"), [a for a, _ in halves], [b for _, b in halves])
    assert np.trace(near) > near.sum() - np.trace(near)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: make_reward("similarity('answer')"), ValueError, "similarity to 'answer'"),
        (lambda: make_reward("topic()"), ValueError, "topic needs descriptions"),
        (lambda: make_reward("topic(3)"), ValueError, "topic needs descriptions"),
        (lambda: as_encoder(3), TypeError, "expected a name, or an object with encode"),
        (lambda: single(reward=Similarity(encoder=len)), TypeError, "expected a name"),
        (lambda: cosines(Broken(), ["a"], ["b"]), ValueError, r"Broken gave shape \(2, 2\) for 2 texts"),
    ],
)
def test_what_cannot_be_compared(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_missing_package_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name == "sentence_transformers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(ImportError, match="pip install sentence-transformers"):
        single(reward="similarity(encoder='sentence-transformers/all-MiniLM-L6-v2')")


def test_models_of_sentence_transformers(tmp_path):
    """The package's own class, around a model that is here."""
    package = pytest.importorskip("sentence_transformers")
    folder = str(encoders.load_model("reviews-lm").config.name_or_path or "reviews-lm")
    word = package.models.Transformer(folder)
    model = package.SentenceTransformer(modules=[word, package.models.Pooling(word.get_word_embedding_dimension())])
    assert paid(Similarity(encoder=model), "aab") == pytest.approx(1.0, abs=1e-4)


def test_they_are_rewards():
    check_reward("similarity(encoder='reviews-lm') + topic('a film', encoder='reviews-lm')", steps=30)
