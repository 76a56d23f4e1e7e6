"""Episodes of different lengths: kept at their size, padded when taken, sorted by return, drawn in random order."""

import gc
import math

import numpy as np
import pytest
import torch

from dyngen_agents.data.episode_store import EpisodeStore, StoredEpisode, best_rows, shuffled_rows
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_env.text.media.tokens import media_of, span
from tests.support.media import picture
from tests.support.small import small_env, small_policy


def played(episodes: int = 12):
    env = small_env(4).unwrapped
    return collect(env, Actor(small_policy(env), 0), episodes, seed=0)


def paid(*rewards: float) -> StoredEpisode:
    count = len(rewards)
    mask = torch.ones(count, dtype=torch.bool)
    return StoredEpisode(torch.zeros(count, dtype=torch.int64), mask, torch.tensor(rewards), torch.zeros(count))


def test_no_state_can_be_worth_more_than_the_best_reward_for_ever():
    """Σ γ^k r = r / (1 - γ) at most; a state where an episode ends is worth 0."""
    store = EpisodeStore([paid(-1.0, 0.0), paid(-4.0)])
    assert store.value_range(0.75) == (-16.0, 0.0)
    assert store.value_range(1.0) == (-math.inf, 0.0)
    assert EpisodeStore([paid(2.0, 3.0)]).value_range(0.5) == (0.0, 6.0)


def test_what_goes_in_comes_out():
    batch = played()
    store = EpisodeStore()
    store.add(batch)
    again = store.take(range(len(batch)))
    width = int(batch.lengths.max())
    for name in ("tokens", "completion_mask", "rewards", "logprobs"):
        assert torch.equal(getattr(again, name), getattr(batch, name)[:, :width]), name
    assert (again.prompts, again.texts, again.finish_reasons) == (batch.prompts, batch.texts, batch.finish_reasons)
    assert torch.equal(again.stopped, batch.stopped)
    assert torch.allclose(store.returns, batch.episode_returns.double(), atol=1e-6)
    some = store.take([5, 2])
    assert some.tokens.shape[1] == int(batch.lengths[[5, 2]].max())  # no wider than it must be
    assert some.texts == [batch.texts[5], batch.texts[2]]


def test_the_oldest_are_dropped_and_a_checkpoint_has_the_rest():
    batch, store = played(), EpisodeStore(capacity=8)
    store.add(batch)
    assert torch.equal(store.take([0]).tokens[0], batch.tokens[4, : int(batch.lengths[4])])
    other = EpisodeStore(capacity=8)
    other.load_tensors(store.tensors())
    for name in ("tokens", "completion_mask", "rewards", "logprobs", "bootstrap"):
        assert torch.equal(getattr(other.take(range(8)), name), getattr(store.take(range(8)), name)), name
    other.load_tensors({})
    assert len(other) == 0 and EpisodeStore().tensors() == {}


def test_the_best_share_of_the_returns():
    returns = torch.tensor([1.0, 3.0, 2.0, 3.0, 0.0])
    assert best_rows(returns, 0.6).tolist() == [1, 3, 2]
    assert best_rows(returns, 0.01).tolist() == [1]  # at least one, the earlier of equals
    assert sorted(best_rows(returns, 1.0).tolist()) == [0, 1, 2, 3, 4]


def test_pieces_end_with_what_is_read_next():
    chosen = torch.tensor([0, 0, 1, 1, 0, 1, 0, 0, 1]).bool()
    episode = StoredEpisode(torch.arange(9, dtype=torch.int64), chosen, torch.arange(9.0), -torch.arange(9.0), 0.5)
    first, second = EpisodeStore([episode]).cut(2).episodes
    assert first.tokens.tolist() == [0, 1, 2, 3, 4, 5, 6, 7] and math.isnan(first.bootstrap)
    assert second.tokens.tolist() == [6, 7, 8] and second.bootstrap == 0.5
    assert second.completion_mask.tolist() == [False, False, True] and second.rewards.tolist() == [6, 7, 8]
    assert [len(EpisodeStore([episode]).cut(turns)) for turns in (1, 3, 9)] == [3, 1, 1]


def test_batches_that_follow_each_other_hold_everything_equally_often():
    drawn = [shuffled_rows(10, 4, batch, seed=3) for batch in range(5)]
    flat = [row for rows in drawn for row in rows]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:] != list(range(10))
    assert shuffled_rows(10, 4, 2, seed=3) == drawn[2]  # whoever goes on draws the same
    assert shuffled_rows(3, 7, 0, seed=0).count(0) in (2, 3)  # more than there are


def test_what_was_shown_is_kept_with_the_tokens_that_name_it():
    """The store, then a checkpoint of it, holds the only reference to a picture whose number is above 2^62."""
    shown = picture(91)
    pixels, tokens = shown.pixels.copy(), torch.tensor([1, *span(shown, 4), 7])
    chosen = torch.tensor([False] * 5 + [True])
    store = EpisodeStore([paid(1.0), StoredEpisode(tokens, chosen, torch.zeros(6), torch.zeros(6), media=(shown,))])
    del shown
    batch = store.take([0, 1])
    assert batch.tokens[1].tolist() == tokens.tolist()
    checkpoint = store.tensors()
    del store, batch
    gc.collect()
    with pytest.raises(ValueError, match="nobody holds"):
        media_of(tokens.tolist())
    again = EpisodeStore()
    again.load_tensors(checkpoint)
    assert again.take([1]).tokens[0].tolist() == tokens.tolist()
    assert np.array_equal(media_of(tokens.tolist())[0].pixels, pixels)
