"""The learner with a memory: a task that only memory solves, the user who comes back, and the wrong person's memory."""

import copy
import dataclasses

import pytest
import torch

from dyngen_agents.algorithms.feedback_conditioned import FeedbackConditioned, FeedbackConditionedConfig
from dyngen_agents.data.rollout import collect
from dyngen_agents.data.shared_rollout import collect_together
from dyngen_agents.policy.reference import Reference
from dyngen_env import Feedback
from dyngen_env.users import ReturningUser
from tests.support.tiny_mdp import tiny_env, tiny_policy


class WantsALetter:
    """Somebody who wants to read one of two letters, says which after the first turn, and rates by it: 1 or -1."""

    answers = True

    def begin(self, examples, rngs):
        return ["ab"[int(rng.integers(2))] for rng in rngs]

    def reply(self, dialogues, rngs):
        return [Feedback(d.persona, 1.0 if d.completions[-1] == d.persona else -1.0) for d in dialogues]


def env_of(rows=64, user=None):
    """Two turns of one letter; the context never holds what the user says."""
    settings = dict(user=user or WantsALetter(), max_turns=2, max_new_tokens=1, reward="rating", words_in_context=False)
    return tiny_env(rows, **settings)


def learner_of(env, **changes):
    policy = tiny_policy(env)
    settings = dict(warmup_steps=0, learning_rate=5e-3, kl_coef=0.0, note_tokens=4, kept_notes=2, minibatch_size=32)
    return FeedbackConditioned(
        policy,
        Reference(copy.deepcopy(policy.lm), policy.distribution),
        FeedbackConditionedConfig(**(settings | changes)),
    )


def ratings_of(batch, turn):
    return torch.tensor([talk[2 * turn]["rating"] for talk in batch.dialogues if len(talk) > 2 * turn])


def test_it_learns_what_cannot_be_learned_without_a_memory():
    """The second turn of somebody new, and the first turn of who comes back: without one the mean is 0 at best."""
    env = env_of(32, ReturningUser(WantsALetter(), episodes=2))
    learner = learner_of(env)
    for update in range(8):
        batch = collect_together(env, learner.actor, 64, seed=64 * update, actor_seed=update)
        metrics = learner.update(batch)
    of_first_turns = ratings_of(batch, 1).view(32, 2).mean(0)
    assert abs(float(of_first_turns[0])) < 0.6
    assert float(of_first_turns[1]) > 0.8
    assert float(ratings_of(batch, 2).mean()) > 0.8
    assert metrics["memory_gain"] > 0.3
    assert metrics["rollout_mismatch_max"] < 1e-4


@torch.no_grad()
def test_somebody_elses_memory_is_another_memory():
    """It changes the log-probs of a row whose user wants something else, and of no other."""
    env = env_of()
    learner = learner_of(env)
    torch.nn.init.normal_(learner.labels.weight, generator=torch.Generator().manual_seed(0))
    batch = collect(env, learner.actor(0), 64, seed=0)
    notes = batch.notes_of(torch.arange(64))
    others = notes.take(torch.arange(64).roll(1))
    own, swapped = (
        learner.policy.evaluate(batch.tokens, batch.completion_mask, notes=n).logprobs for n in (notes, others)
    )
    wishes = [talk[2]["text"] for talk in batch.dialogues]
    same = torch.tensor([wish == other for wish, other in zip(wishes, [wishes[-1], *wishes[:-1]], strict=True)])
    for ours, theirs in zip(notes.as_dict().values(), others.as_dict().values(), strict=True):
        same &= (ours == theirs).flatten(1).all(1)  # of equal wishes some were heard later, or rated otherwise
    second = batch.completion_mask & (batch.completion_mask.cumsum(1) == 2)
    assert ((own - swapped).abs()[second & ~same[:, None]] > 1e-4).all()
    torch.testing.assert_close(own[same], swapped[same], atol=1e-6, rtol=0)


def test_at_first_it_may_imitate_what_was_liked():
    env = env_of()
    learner = learner_of(env, supervised_updates=1, liked=0.25, epochs=1, minibatch_size=64)
    batch = collect(env, learner.actor(0), 64, seed=0)
    paid = batch.rewards[batch.completion_mask]  # a turn is one letter
    expected = float((-batch.logprobs[batch.completion_mask] * (paid >= 0.25)).mean())
    assert learner.update(batch)["policy_loss"] == pytest.approx(expected, abs=1e-5)
    new = learner.policy.evaluate(batch.tokens, batch.completion_mask, notes=batch.notes_of(torch.arange(64))).logprobs
    assert float((new - batch.logprobs).detach()[batch.completion_mask & (batch.rewards == 0.25)].mean()) > 0
    assert learner.update(batch)["policy_loss"] == pytest.approx(0, abs=0.5)  # PPO's, of whitened advantages


def test_the_last_answer_of_an_episode_is_remembered_of_who_comes_back():
    env = env_of(4, ReturningUser(WantsALetter(), episodes=2))
    batch = collect(env, learner_of(env).actor(0), 4 * 3, seed=0)
    counts = (batch.notes["tokens"][..., 0] >= 0).sum(1).view(4, 3)
    # Two answers of each episode; the second is too late for its own, and of the first visit both are kept.
    turns = batch.completion_mask.sum(1).view(4, 3)
    assert (counts[:, 0] == turns[:, 0] - 1).all()
    assert (counts[:, 1] == turns[:, 0] + turns[:, 1] - 1).all()
    assert (counts[:, 2] == turns[:, 2] - 1).all()
    kept = batch.notes["begins"].view(4, 3, -1)[:, 1]
    assert all((kept[row, : turns[row, 0]] == 0).all() for row in range(4))


def test_its_gradient_does_not_depend_on_the_split_or_on_room_for_notes():
    env = env_of()
    learner = learner_of(env, minibatch_size=64, epochs=1)
    torch.nn.init.normal_(learner.labels.weight)
    batch = collect(env, learner.actor(0), 64, seed=0)
    found = []

    def keep():
        found.append([p.grad.clone() for p in learner.common.optimizer.parameters])
        learner.common.optimizer.adam.zero_grad(set_to_none=True)
        return 0.0

    learner.common.optimizer.step = keep
    learner.update(batch)
    learner.common.max_tokens = 30
    room = {
        name: torch.nn.functional.pad(x, (0, 0) * (x.dim() - 2) + (0, 3), value=-1) for name, x in batch.notes.items()
    }
    learner.update(dataclasses.replace(batch, notes=room))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    assert (
        found[0][[p is learner.labels.weight for p in learner.common.optimizer.parameters].index(True)].abs().sum() > 0
    )


def test_what_it_shows_of_each_token():
    env = env_of(8)
    learner = learner_of(env)
    batch = collect(env, learner.actor(0), 8, seed=0)
    shown = {quantity.key: quantity.values for quantity in learner.diagnostics(batch).quantities}
    plain = learner.policy.evaluate(batch.tokens, batch.completion_mask).logprobs
    second = batch.completion_mask & (batch.completion_mask.cumsum(1) == 2)
    torch.testing.assert_close(shown["memory"][second], (batch.logprobs - plain)[second])
    assert (shown["memory"][~second] == 0).all()


def test_where_nobody_answers_it_says_so_once_and_learns_as_ever(caplog):
    env = tiny_env(8, reward=lambda text: float(len(text)))
    learner = learner_of(env)
    for update in range(2):
        batch = learner.experience(lambda actor, update=update: collect(env, actor(update), 8, seed=update))
        assert learner.update(batch)["memory_gain"] == 0
    assert caplog.text.count("nobody answers in this env") == 1


@pytest.mark.parametrize(
    "settings, why",
    [
        (dict(note_tokens=0), "note_tokens is 0, expected a whole number of at least 1"),
        (dict(kept_notes=-1), "kept_notes is -1"),
        (dict(liked=float("nan")), "liked is nan, expected a finite number"),
    ],
)
def test_settings_that_cannot_work(settings, why):
    with pytest.raises(ValueError, match=why):
        FeedbackConditionedConfig(**settings)
