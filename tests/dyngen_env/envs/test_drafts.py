"""Turns that are sent back and written anew: what stays in the context, what is paid, what counts as a turn."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dyngen_env import Feedback
from dyngen_env.testing import check_reward, check_user
from dyngen_env.users import SimulatedUser
from tests.dyngen_env.envs.test_autoreset import assert_same, play
from tests.support.envs import BOS, END, EOS, USER, Talker, batch, single, write

BACK = Feedback("no", -3.0, revise=True)
GOOD = Feedback("ok", 2.0)
TALK = dict(prompts=["A"], max_turns=2, max_new_tokens=6, max_context_tokens=60)


def tokens(observation):
    return [int(t) for t in observation if t >= 0]


def said(*pieces):
    return [t for piece in pieces for t in (piece.encode() if isinstance(piece, str) else [piece])]


def opening(env):
    """The context before the first turn, and the tokens that stand around what the user says."""
    first = tokens(env.reset(seed=0)[0])
    reply = env.tokenizer.encode_reply("no", END)
    return first, reply, env.tokenizer.encode_reply("ok", END)


def test_a_draft_stays_visible_and_is_no_turn():
    env = single(user=Talker((BACK, GOOD, GOOD)), reward="rating + 0.5*drafts + length(1)", **TALK)
    first, no, ok = opening(env)
    observation, reward, terminated, truncated, info = write(env, "ab", END)
    assert (reward, terminated, truncated, info) == (0.0, False, False, {})
    assert tokens(observation) == [*first, *said("ab", END), *no]
    assert env.batch.state.completion_mask[0].sum() == 3 and env.batch.dialogues[0].turns == 0
    observation, reward, terminated, _, _ = write(env, "x", END)
    assert reward == 2 / 4 + 0.5 * 1 + 1.0 and not terminated  # the last draft's, and the price of one sent back
    assert tokens(observation) == [*first, *said("ab", END), *no, *said("x", END), *ok]
    _, reward, terminated, _, info = write(env, "y", END)
    assert terminated and info["finish_reason"] == "turns" and reward == 2 / 4 + 1.0  # the second turn: no draft before
    assert info["reward_terms"] == {"rating": 1.0, "drafts": 0.5, "length": 2.0}
    assert [t.get("revise") for t in info["dialogue"]] == [None, None, True, None, None, None, None]


def test_a_hidden_draft_leaves_only_what_was_said_of_it():
    env = single(user=Talker((BACK, GOOD, GOOD)), reward="rating", drafts="hidden", **TALK)
    first, _, ok = opening(env)
    no = env.tokenizer.encode_reply("no", first[-1])  # closes an empty turn of the agent
    observation, reward, _, _, info = write(env, "ab", END)
    assert reward == 0.0 and tokens(observation) == [*first, *no]
    assert tokens(info["segment"]) == [*first, *said("ab", END)]
    assert not env.batch.state.completion_mask.any()
    observation, reward, *_, info = write(env, "x", END)
    assert reward == 0.5 and info == {} and tokens(observation) == [*first, *no, *said("x", END), *ok]
    assert env.batch.dialogues[0].completions == ("ab", "x")


@pytest.mark.parametrize("drafts", ["visible", "hidden"])
def test_where_no_further_draft_fits_the_last_one_is_the_turn(drafts):
    env = single(
        user=Talker((Feedback("no" * 30, -2.0, revise=True),)), reward="rating + length(2)", drafts=drafts, **TALK
    )
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = write(env, "a b", END)
    assert terminated and truncated and info["finish_reason"] == "context" and info["text"] == "a b"
    assert reward == -0.5 + 1.0 and tokens(observation)[-4:] == said("a b", END) and "segment" not in info


@pytest.mark.parametrize("drafts", ["visible", "hidden"])
def test_a_cut_between_two_drafts_pays_nothing(drafts):
    env = single(user=Talker((BACK,)), reward="rating + length(1)", drafts=drafts, max_episode_steps=2, **TALK)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = write(env, "a", END)
    assert (reward, terminated, truncated, info["finish_reason"]) == (0.0, False, True, "steps")
    assert info["text"] == "a" and [t["text"] for t in info["dialogue"]] == ["A", "a", "no"]


def test_an_illegal_draft_is_paid_as_such():
    env = single(user=Talker((BACK,)), reward="rating", **TALK)
    env.reset(seed=0)
    _, reward, terminated, _, info = write(env, "a", BOS)
    assert terminated and reward == -1.0 and info["finish_reason"] == "illegal"


def test_dropped_turns_and_hidden_drafts_go_together():
    """Six answers in a context that holds few: what was cut is told at each cut, and no draft is left over."""
    env = single(
        user=Talker((GOOD, BACK, GOOD, BACK, GOOD, GOOD)), reward="rating", drafts="hidden",
        context_overflow="drop_oldest", prompts=["A"], max_turns=4, max_new_tokens=4, max_context_tokens=22,
    )  # fmt: skip
    env.reset(seed=0)
    segments, total = 0, 0.0
    for text in "abcdef":
        observation, reward, terminated, _, info = write(env, text, END)
        segments, total = segments + ("segment" in info), total + reward
        assert ord("b") not in tokens(observation)[:-4] or text == "b"
    assert terminated and info["finish_reason"] == "turns" and segments >= 3 and total == 4 * 0.5


class Moody(Talker):
    """Sends turns back at random, and interrupts at random."""

    cuts_in = True

    def reply(self, dialogues, rngs):
        return [Feedback("no" if r < 0.4 else "ok", 1.0, revise=r < 0.4) for r in (rng.random() for rng in rngs)]

    def cut_in(self, dialogues, rngs):
        out = []
        for dialogue, rng in zip(dialogues, rngs, strict=True):
            loud = len(dialogue.completions[-1]) > 1 and rng.random() < 0.3
            out.append(self.reply([dialogue], [rng])[0] if loud else None)
        return out


@pytest.mark.parametrize("drafts", ["visible", "hidden"])
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_a_batch_does_what_single_envs_do(mode, drafts):
    kwargs = dict(user=Moody(), drafts=drafts, max_turns=2, max_context_tokens=48, reward="rating + 0.1*drafts")
    envs = {
        "native": batch(3, autoreset_mode=mode, **kwargs),
        "sync": SyncVectorEnv([partial(single, **kwargs)] * 3, autoreset_mode=mode),
    }
    assert play(envs, mode, 200) > 40


def test_tensors_are_the_arrays_and_forks_go_on_alike():
    kwargs = dict(user=Moody(), drafts="hidden", max_turns=2, max_context_tokens=48, reward="rating", prompts=["A"])
    arrays, tensors = (batch(3, output=output, **kwargs) for output in ("numpy", "torch"))
    arrays.reset(seed=1), tensors.reset(seed=1)
    rng, segments = np.random.default_rng(0), 0
    for step in range(120):
        if step == 60:
            arrays, tensors = arrays.fork([0, 2, 1]), tensors.fork([0, 2, 1])
        actions = np.where(rng.random(3) < 0.3, END, 97)
        mine, theirs = arrays.step(actions), tensors.step(torch.from_numpy(actions))
        for one, other in zip(mine[:4], theirs[:4], strict=True):
            assert np.allclose(one, other.numpy())
        assert set(mine[4]) == set(theirs[4])
        if "segment" in mine[4]:
            segments += 1
            assert_same(mine[4]["segment"], theirs[4]["segment"].numpy())
    assert segments > 10


def test_an_interruption_ends_the_turn_where_it_is():
    class Impatient(Talker):
        cuts_in = True

        def cut_in(self, dialogues, rngs):
            return [Feedback("stop", -2.0) if d.completions[-1] == "ab" else None for d in dialogues]

    env = single(user=Impatient((GOOD,)), reward="rating + length(1)", **TALK)
    first = tokens(env.reset(seed=0)[0])
    assert write(env, "a")[1] == 0.0
    observation, reward, terminated, _, info = env.step(ord("b"))
    assert (reward, terminated, info) == (-0.5 + 1.0, False, {})
    assert tokens(observation) == [*first, *said("ab"), *env.tokenizer.encode_reply("stop", ord("b"))]
    assert USER in tokens(observation)[len(first) :]
    _, reward, terminated, _, info = write(env, "x", END)
    assert terminated and reward == 0.5 + 1.0
    assert [t["text"] for t in info["dialogue"]] == ["A", "ab", "stop", "x", "ok"]


def test_who_does_not_interrupt_is_not_asked():
    class Never(Talker):
        cuts_in = False

        def cut_in(self, dialogues, rngs):
            raise AssertionError

    env = batch(2, user=Never((GOOD,)), **TALK)
    env.reset(seed=0)
    env.step(np.array([97, EOS]))


def test_users_who_send_drafts_back_and_interrupt():
    check_user(SimulatedUser(drafts=3))
    check_user(SimulatedUser(drafts=2, interrupts=0.5))
    for user in ("muted", "returning"):
        check_reward("rating - 0.1*drafts", steps=40, user=f"{user}(simulated(drafts=2, interrupts=0.3))", max_turns=3)


def test_nobody_leaves_and_asks_for_a_draft():
    with pytest.raises(ValueError, match="who leaves cannot ask for another draft"):
        Feedback("no", ends=True, revise=True)
