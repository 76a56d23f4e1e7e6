"""The likelihood reward, against Hugging Face's own loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dyngen_env.lm.loading.models import load_model, load_tokenizer
from tests.support.envs import single
from tests.support.media import EXAMPLES

REVIEWS = dict(tokenizer=None, model="reviews-lm", max_context_tokens=48, max_new_tokens=12)


def nats(ids, given):
    """Σ log p of ids[given:], from the model's own loss, which is a mean."""
    labels = torch.tensor([[*[-100] * given, *ids[given:]]])
    loss = load_model("reviews-lm")(torch.tensor([ids]), labels=labels).loss
    return -float(loss) * (len(ids) - given)


def written(env, ids):
    for token in ids:
        last = env.step(token)
    return last


def test_fluency_is_the_mean_log_prob_of_what_the_agent_chose():
    env = single(**REVIEWS, prompts=["the film is a"], reward="fluency")
    prompt = [t for t in env.reset(seed=0)[0].tolist() if t >= 0]
    ids = [*load_tokenizer("reviews-lm").encode(" good story", add_special_tokens=False), env.tokenizer.hf.eos_token_id]
    *_, info = last = written(env, ids)
    assert last[1] == pytest.approx(nats([*prompt, *ids], len(prompt)) / len(ids), abs=1e-4)
    assert info["reward_terms"] == {"fluency": last[1]}


def test_another_model_with_the_same_vocabulary_scores_the_ids():
    env = single(**REVIEWS, prompts=["the film"], reward="fluency('reviews-lm') - 0.5*fluency")
    env.reset(seed=0)
    *_, info = last = written(env, [20, 30, env.tokenizer.hf.eos_token_id])
    first, second = info["reward_terms"].values()
    assert list(info["reward_terms"]) == ["fluency", "fluency_2"]
    assert second == pytest.approx(-0.5 * first) and last[1] == pytest.approx(first + second)


def test_another_vocabulary_is_scored_per_byte_of_the_text():
    env = single(prompts=["the film is"], reward="fluency('reviews-lm')", max_new_tokens=20, max_context_tokens=40)
    env.reset(seed=0)
    *_, info = last = written(env, [*b" good and fun", 257])
    tokenizer = load_tokenizer("reviews-lm")
    whole = nats(tokenizer.encode("the film is good and fun"), 1) - nats(tokenizer.encode("the film is"), 1)
    assert info["reward_terms"] == {"fluency_per_byte": last[1]}
    assert last[1] == pytest.approx(whole / len(" good and fun"), abs=1e-4)


def test_a_judge_that_cannot_see_is_told_when_the_env_is_built():
    with pytest.raises(
        ValueError, match=r"reward 'fluency': pictures are shown, and .* has no encoder.*another reward"
    ):
        single(**REVIEWS, prompts=EXAMPLES, reward="fluency")
    single(prompts=EXAMPLES, reward="fluency('reviews-lm')")  # of another vocabulary: it reads the text alone


def test_silence_is_scored_too():
    env = single(prompts=["the film is"], reward="fluency('reviews-lm')")
    env.reset(seed=0)
    assert np.isfinite(written(env, [257])[1])
