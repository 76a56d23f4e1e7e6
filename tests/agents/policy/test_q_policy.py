"""Q heads and the policy that acts by them: units, chunks, bans, one distribution in acting, scoring and decoding."""

import re

import pytest
import torch

from dyngen_agents.data.rollout import collect
from dyngen_agents.functional.q_targets import conservative_loss
from dyngen_agents.policy import q_scores
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.q_heads import QHeads
from dyngen_agents.policy.q_policy import QPolicy
from dyngen_agents.policy.q_scores import best_values, conservative_losses
from dyngen_env.lm.decoding import generate
from dyngen_env.lm.logit_chunks import LogitChunks
from tests.support.small import small_env, small_policy

SIZE, V = 32, 260


def heads(seed: int = 0) -> QHeads:
    """Heads that have learned something: no output is zero."""
    made = QHeads(SIZE, V, torch.device("cpu"), seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    made.begin_at(-3.0, 1.0, 2.0)
    return made


def test_at_first_they_say_where_they_begin_and_the_copies_follow():
    made = QHeads(SIZE, V, torch.device("cpu"))
    made.begin_at(-3.0, 1.0, 2.0)
    hidden = torch.randn(4, SIZE)
    assert made.value(hidden).tolist() == [1.0] * 4 and made.target_all(hidden).unique().tolist() == [-3.0]
    with torch.no_grad():
        made.q[0].outer.bias += 1.0
    made.follow(0.25)
    assert torch.equal(made.targets[0].outer.bias, torch.full((V,), 0.25))
    assert not any(p.requires_grad for p in made.targets.parameters())


def test_one_output_alone_is_that_of_all():
    made, hidden, tokens = heads(), torch.randn(5, SIZE), torch.tensor([0, 3, 259, 3, 7])
    every = torch.stack(list(made.q_all(hidden)))
    alone = torch.stack(list(made.q_at(hidden, tokens)))
    torch.testing.assert_close(alone, every[:, torch.arange(5), tokens])
    torch.testing.assert_close(made.target_at(hidden, tokens), made.target_all(hidden)[torch.arange(5), tokens])
    head = made.targets[0], made.targets[1]
    lowest = torch.minimum(*(-3 + 2 * each(hidden) for each in head))
    torch.testing.assert_close(made.target_all(hidden), lowest)


@pytest.mark.parametrize("banned", [(), ("a",)])
def test_what_is_computed_in_chunks_is_what_is_computed_at_once(banned, monkeypatch):
    env = small_env(1, banned=banned).unwrapped
    distribution = env.token_distribution()
    made, hidden, taken = heads(), torch.randn(9, SIZE, requires_grad=True), torch.arange(9)
    states = distribution.states(torch.arange(100, 109).unsqueeze(0))
    states = None if states is None else states[0]
    first, second = (distribution.warp(q / 2.0, states) for q in made.q_all(hidden))
    expected = conservative_loss(first, taken) + conservative_loss(second, taken)
    (gradient,) = torch.autograd.grad(expected.sum(), hidden)
    online = distribution.warp(sum(made.q_all(hidden)), states).detach()
    targets = made.target_all(hidden)
    best = [float(targets[i, max(range(V), key=lambda a: float(online[i, a]))]) for i in range(9)]
    monkeypatch.setattr(q_scores, "logit_chunks", lambda device: LogitChunks(2 * V, V, V))  # two rows, and again
    found = conservative_losses(made, hidden, taken, states, distribution)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), hidden)[0], gradient)
    assert best_values(made, hidden, states, distribution).tolist() == pytest.approx(best, abs=1e-5)


def test_acting_and_scoring_have_one_distribution_with_bans():
    env = small_env(8, banned=("e",)).unwrapped
    policy = QPolicy(small_policy(env), heads(), beta=0.5)
    batch = collect(env, Actor(policy, 0), 24, seed=0)
    again = policy.evaluate(batch.tokens, batch.completion_mask)
    torch.testing.assert_close(again.logprobs, batch.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.values, batch.values, atol=1e-4, rtol=0)
    assert not any(re.search(r"\be\b", text) for text in batch.texts)
    # By hand, at the first choice: log π_b + β min Q̄ over what may be written, normalised.
    base = small_policy(env)
    row, at = 0, int(batch.completion_mask[0].float().argmax())
    hidden = base.trunk(batch.tokens[:1, :at])[:, -1].detach()
    legal = env.legal_tokens()
    expected = (base.lm.lm_head(hidden)[0, :V].detach() + 0.5 * policy.heads.target_all(hidden)[0]).masked_fill(
        ~legal, -torch.inf
    )
    assert float(expected.log_softmax(-1)[batch.tokens[row, at]]) == pytest.approx(
        float(batch.logprobs[row, at]), abs=1e-5
    )


def test_without_beta_it_is_the_language_model_and_decoding_has_the_tilt(monkeypatch):
    env = small_env(4).unwrapped
    base = small_policy(env)
    same, tilted = QPolicy(base, heads(), beta=0.0), QPolicy(base, heads(), beta=100.0)
    batches = [collect(env, Actor(policy, 3), 8, seed=1) for policy in (base, same)]
    assert torch.equal(batches[0].tokens, batches[1].tokens)
    arguments = dict(decode="greedy", max_new_tokens=3)
    [[text]] = generate(base.lm, env.tokenizer, ["ab"], **arguments, engine=tilted.engine)
    ids = env.tokenizer.encode_prompt("ab")
    legal = env.legal_tokens()
    for _ in range(3):
        best = tilted.heads.target_all(base.trunk(torch.tensor([ids]))[:, -1])[0].masked_fill(~legal, -torch.inf)
        ids.append(int(best.argmax()))  # with such a β it is Q alone that chooses
    assert text == bytes(i for i in ids[3:] if i < 256).decode("utf-8", "replace")
