"""The one distribution: its arithmetic by hand, its two forms, and settings that give none."""

import math

import numpy as np
import pytest
import torch

from dyngen_env.lm.distribution import PLAIN, SamplingConfig, TokenDistribution
from dyngen_env.lm.sampling import greedy, sample
from dyngen_env.text.tokenizer import ByteTokenizer
from tests.support.envs import batch, single

LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
WARPED = {
    "legal": (torch.tensor([True, True, False, True]), {}, [0.5 / 0.85, 0.3 / 0.85, 0, 0.05 / 0.85]),
    "top_k": (None, dict(top_k=2), [0.5 / 0.8, 0.3 / 0.8, 0, 0]),
    "top_k above V": (None, dict(top_k=9), [0.5, 0.3, 0.15, 0.05]),
    "top_p": (None, dict(top_p=0.6), [0.5 / 0.8, 0.3 / 0.8, 0, 0]),  # 0.5 < 0.6: the token that crosses stays
    "top_p one": (None, dict(top_p=0.4), [1.0, 0, 0, 0]),
    "top_p tiny": (None, dict(top_p=5e-324), [1.0, 0, 0, 0]),
    "temperature": (None, dict(temperature=0.5), [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
    "cold": (None, dict(temperature=1e-30), [1.0, 0, 0, 0]),
    "hot": (torch.tensor([True, True, False, True]), dict(temperature=1e30), [1 / 3, 1 / 3, 0, 1 / 3]),
    "temperature zero": (None, dict(temperature=0), [1.0, 0, 0, 0]),
    "temperature zero of legal": (torch.tensor([False, True, True, True]), dict(temperature=0.0), [0, 1.0, 0, 0]),
}


@pytest.mark.parametrize(("legal", "settings", "expected"), WARPED.values(), ids=WARPED)
def test_warping_by_hand(legal, settings, expected):
    got = TokenDistribution(legal, sampling=SamplingConfig(**settings)).warp(LOGITS, None).softmax(-1)[0]
    torch.testing.assert_close(got, torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_a_head_wider_than_the_vocabulary_is_cut():
    assert TokenDistribution(torch.ones(5, dtype=torch.bool)).warp(torch.zeros(2, 7), None).shape == (2, 5)


def test_plain_is_the_models_own_softmax():
    assert torch.equal(PLAIN.warp(LOGITS, PLAIN.states(torch.zeros(1, 1))), LOGITS)


def test_temperature_zero_draws_the_first_of_the_most_likely_with_certainty():
    logits = TokenDistribution(sampling=SamplingConfig(0.0)).warp(torch.tensor([[1.0, 3.0, 3.0]]), None)
    for tokens, logprobs in (greedy(logits), *(sample(logits, torch.tensor([u])) for u in (0.0, 0.5, 1 - 2.0**-24))):
        assert tokens.item() == 1 and logprobs.item() == 0


@pytest.mark.parametrize("temperature", [-1, -0.5, math.nan, math.inf, -math.inf, 1e-40, 1e300, True, False, "1", None])
def test_a_temperature_that_gives_no_distribution_is_refused(temperature):
    with pytest.raises(ValueError, match=r"temperature is .*, expected a number from 1e-30 to 1e\+30, or 0 for greedy"):
        SamplingConfig(temperature=temperature)


@pytest.mark.parametrize("top_k", [-1, -5, 2.0, math.nan, True, False, "3", None])
def test_a_top_k_that_counts_no_tokens_is_refused(top_k):
    with pytest.raises(ValueError, match=r"top_k is .*, expected an integer: at least 1, or 0 for all tokens"):
        SamplingConfig(top_k=top_k)


@pytest.mark.parametrize("top_p", [0, 0.0, -0.1, 1.01, 2, math.nan, math.inf, True, "0.9", None])
def test_a_top_p_that_is_no_mass_is_refused(top_p):
    with pytest.raises(ValueError, match=r"top_p is .*, expected a number above 0 and at most 1"):
        SamplingConfig(top_p=top_p)


def test_numbers_of_numpy_are_settings():
    SamplingConfig(np.float32(0.5), np.int64(3), np.float64(0.9))


def test_a_policy_without_chance_cannot_be_learned():
    SamplingConfig(1e-3).require_chance()
    with pytest.raises(ValueError, match="temperature is 0, which is greedy"):
        SamplingConfig(0.0).require_chance()


def test_an_envs_distribution_allows_what_its_action_masks_allow():
    env = batch(5, banned=("film", "a"))
    distribution = env.token_distribution()
    env.reset(seed=0)
    for token in b"a film ":
        masks, state = env.action_masks(), env.state
        raw = torch.randn(5, 270, generator=torch.Generator().manual_seed(token))
        logits = distribution.logits(raw, state.tokens, state.length)
        assert np.array_equal((logits > -torch.inf).numpy(), masks)
        assert torch.equal(logits[logits > -torch.inf], raw[:, :260][torch.from_numpy(masks)])
        env.step(np.full(5, token))
    assert not env.action_masks().all(1).any()


def test_states_at_many_positions_are_those_after_each_prefix():
    distribution = TokenDistribution.of(ByteTokenizer(), banned=("film", "a"))
    tokens = torch.tensor([[*b"a film is a"], [*b"fil", *[-1] * 8]])
    states = distribution.states(tokens)
    for row, length in ((0, 1), (0, 6), (0, 11), (1, 3)):
        at = distribution.state(tokens[row : row + 1], torch.tensor([length]))
        assert torch.equal(states[row, length - 1 : length], at)


def test_banned_words_cannot_be_left_out():
    distribution = TokenDistribution.of(ByteTokenizer(), banned=("film",))
    with pytest.raises(ValueError, match="there are banned words"):
        distribution.warp(torch.zeros(1, 260), None)


def test_a_single_envs_distribution_is_that_of_its_batch():
    env = single(banned=("film",))
    sampling = SamplingConfig(0.7)
    assert env.token_distribution(sampling).sampling == sampling
    assert env.token_distribution().banned is env.batch.banned


def test_a_distribution_moves_between_devices():
    there = TokenDistribution.of(ByteTokenizer(), SamplingConfig(0.5), banned=("film",)).to("meta")
    assert there.sampling == SamplingConfig(0.5)
    assert (
        there.logits(
            *(
                torch.zeros(shape, dtype=kind, device="meta")
                for shape, kind in (((2, 260), torch.float32), ((2, 9), torch.int64), ((2,), torch.int64))
            )
        ).device.type
        == "meta"
    )
