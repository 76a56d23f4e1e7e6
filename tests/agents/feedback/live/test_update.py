"""An update of the weights: what ratings, words and pairs teach, and how far it may go."""

from dataclasses import replace

import pytest
import torch

from dyngen_agents.feedback.live import LiveConfig
from dyngen_agents.feedback.live.update import LiveUpdate, advantages, requests
from dyngen_agents.feedback.live.weights import choose_weights, read_weights, twin
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.distribution import TokenDistribution
from tests.support.rated_turns import BYTES, SMALL, logprob, rated_turn, token_logprobs
from tests.support.small import small_lm


def make_update(config: LiveConfig = SMALL) -> LiveUpdate:
    lm, distribution = small_lm(spread=0.1).eval(), TokenDistribution.of(BYTES)
    names = choose_weights(lm, config)
    policy = CausalLMPolicy(twin(lm, names), distribution)
    return LiveUpdate(policy, Reference(twin(lm), distribution), BYTES, names, config)


def kl_to_base(update: LiveUpdate, turns) -> float:
    parts = []
    for turn in turns:
        p, q = (token_logprobs(lm, turn.context, turn.tokens) for lm in (update.policy.lm, update.reference.lm))
        parts.append((p.exp() * (p - q).masked_fill(p == -torch.inf, 0.0)).sum(1))
    return float(torch.cat(parts).mean())


def test_advantages_are_the_distance_from_what_a_person_usually_gives():
    turns = [rated_turn(0, rating=4), rated_turn(1, rating=-1), rated_turn(2, rating=-4, person="bob")]
    turns.append(rated_turn(3, rating=None))
    # ann: (4 - 1)/3 = 1, with the rating of 0 that everybody begins with; bob: -4/2 = -2
    assert advantages(turns) == pytest.approx([3 / 4, -2 / 4, -2 / 4, 0])


def test_requests_are_the_latest_words_of_people_who_were_not_pleased():
    said = [("a", -1), ("b", 0), ("c", None), ("nice", 2), ("a", -4), ("d", 1), ("", -4)]
    turns = [rated_turn(n, rating=rating, words=words) for n, (words, rating) in enumerate(said)]
    turns.append(rated_turn(9, person="bob", rating=4, words="good"))
    assert requests(turns, pleased=2.0) == {"ann": "c a d"}


@pytest.mark.parametrize("parameters, rate", [(2_700_000, 2e-3), (43_200_000, 2.5e-4)])  # 16 ** -3/4 is 1/8
def test_larger_models_learn_at_a_lower_rate(parameters, rate):
    assert LiveConfig().rate_for(parameters) == pytest.approx(rate)
    assert LiveConfig(learning_rate=0.1).rate_for(parameters) == 0.1


def test_liked_turns_become_likelier_and_disliked_ones_less_likely():
    update = make_update()
    liked, disliked = rated_turn(0, "good", 4), rated_turn(1, "bad", -4)
    before = [logprob(update.policy.lm, turn) for turn in (liked, disliked)]
    update([liked, disliked])
    after = [logprob(update.policy.lm, turn) for turn in (liked, disliked)]
    assert after[0] > before[0] + 0.5 and after[1] < before[1] - 0.5


def test_turns_without_any_feedback_teach_nothing():
    update = make_update()
    before = read_weights(update.policy.lm, update.names)
    assert update([rated_turn(0, rating=None)]) == pytest.approx(0, abs=1e-6)
    assert all(torch.equal(before[n], after) for n, after in read_weights(update.policy.lm, update.names).items())


def test_turns_with_illegal_tokens_are_left_out():
    """As an env keeps them, where an illegal token ends a turn; alone they are refused."""
    liked = rated_turn(0, "good", 4)
    forged = replace(rated_turn(1, "bad", -4), tokens=(int((~TokenDistribution.of(BYTES).legal).nonzero()[0]),))
    with_it, without = make_update(), make_update()
    assert with_it([liked, forged]) == without([liked])
    for name, ours in read_weights(with_it.policy.lm, with_it.names).items():
        assert torch.equal(ours, read_weights(without.policy.lm, without.names)[name])
    with pytest.raises(ValueError, match="each of 1 turns holds tokens that the model may not write"):
        with_it([forged])


def test_words_bring_the_policy_nearer_to_what_the_base_says_after_them():
    update = make_update(replace(SMALL, words_coef=1.0))
    turn = rated_turn(0, "abc", rating=None, words="xyz")
    heard = (*turn.context, *BYTES.encode_reply("xyz", turn.context[-1]))

    def distance() -> float:
        q = token_logprobs(update.reference.lm, heard, turn.tokens)
        p = token_logprobs(update.policy.lm, turn.context, turn.tokens)
        return float((p.exp() * (p - q).masked_fill(p == -torch.inf, 0.0)).sum())

    before = distance()
    update([turn])
    assert distance() < before


def test_words_of_somebody_who_is_pleased_are_no_request():
    update = make_update(replace(SMALL, words_coef=1.0, rating_coef=0.0))
    update([rated_turn(0, rating=4, words="nice"), rated_turn(1, rating=2, words="good")])
    assert kl_to_base(update, [rated_turn(0)]) == pytest.approx(0, abs=1e-6)


def test_what_is_preferred_becomes_likelier_than_what_was_written():
    update = make_update()
    better = (*BYTES.encode("fine"), BYTES.end_id)
    turn = rated_turn(0, "poor", rating=None, better=better)
    before = logprob(update.policy.lm, turn, better) - logprob(update.policy.lm, turn)
    update([turn])
    assert logprob(update.policy.lm, turn, better) - logprob(update.policy.lm, turn) > before + 0.5


@pytest.mark.parametrize("limit", [0.02, 1e-9])
def test_an_update_stays_within_its_limit(limit):
    update = make_update(replace(SMALL, kl_limit=limit, learning_rate=3e-2))
    turns = [rated_turn(0, "good", 4), rated_turn(1, "bad", -4)]
    kl = update(turns)
    assert kl == pytest.approx(kl_to_base(update, turns), abs=1e-5)
    assert kl <= limit + 1e-6
    assert (kl > 1e-3) == (limit == 0.02)  # it goes as far as it may, and nowhere if that is nothing


def test_the_split_into_pieces_changes_no_weight():
    turns = [rated_turn(n, text, rating) for n, (text, rating) in enumerate([("a", 4), ("bcd", -4), ("efghij", 1)])]
    whole, split = (make_update(replace(SMALL, max_tokens=tokens, steps=1)) for tokens in (4096, 1))
    for update in (whole, split):
        update(turns)
    for a, b in zip(*(read_weights(u.policy.lm, u.names).values() for u in (whole, split)), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=0)
