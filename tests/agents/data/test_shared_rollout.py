"""Processes that share a rollout play what one process plays. Here they are threads, which start at once."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass

import pytest
import torch

from dyngen_agents.data.shared_rollout import collect_together, repeated_examples
from dyngen_agents.distributed.interrupt import Stopped
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes, ProcessFailed
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from tests.support.envs import Somebody
from tests.support.small import small_env, small_lm

LM = small_lm()  # made once: its random weights come from a generator that threads would share


@dataclass(frozen=True)
class Threads(Processes):
    """`Processes` that are threads of this one."""

    told: list = None
    barrier: threading.Barrier = None

    def exchange(self, value):
        self.told[self.rank] = value
        self.barrier.wait(60)
        everything = list(self.told)
        self.barrier.wait(60)
        return everything


def as_threads(count, function):
    """What function(processes) returns or raises in each of `count` threads, by rank."""
    told, barrier, outcomes = [None] * count, threading.Barrier(count), [None] * count

    def run(rank):
        try:
            outcomes[rank] = function(Threads(rank, count, told, barrier))
        except Exception as error:
            outcomes[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def play(processes, rows, episodes, env=None, **options):
    env = small_env(rows // processes.world_size, **(env or {}))
    policy = CausalLMPolicy(copy.deepcopy(LM), env.token_distribution())
    return collect_together(
        env, lambda seed: Actor(policy, seed, processes=processes), episodes,
        seed=3, actor_seed=7, processes=processes, **options,
    )  # fmt: skip


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "rows, episodes, group_size",
    [
        (12, 12, 1),  # one episode a row
        (6, 24, 1),  # several in each
        (6, 18, 1),
        (18, 12, 1),  # more rows than episodes
        (6, 12, 3),
        (12, 30, 2),  # groups in several parts, of which the last leaves rows idle
    ],
)
def test_the_episodes_are_those_of_one_process(count, rows, episodes, group_size):
    alone = play(SINGLE_PROCESS, rows, episodes, group_size=group_size)
    for ours in as_threads(count, lambda p: play(p, rows, episodes, group_size=group_size)):
        assert torch.equal(ours.tokens, alone.tokens)
        assert torch.equal(ours.completion_mask, alone.completion_mask)
        assert torch.equal(ours.rewards, alone.rewards)
        assert torch.equal(ours.groups, alone.groups)
        torch.testing.assert_close(ours.logprobs, alone.logprobs, atol=1e-5, rtol=0)
        assert list(ours.prompts) == list(alone.prompts)
        assert list(ours.texts) == list(alone.texts)
        assert ours.finish_reasons == alone.finish_reasons
        assert torch.equal(ours.reward_terms["share_of_vowels"], alone.reward_terms["share_of_vowels"])


def test_an_uneven_share_of_a_row():
    """20 episodes in 12 rows: the first 8 rows play two."""
    alone = play(SINGLE_PROCESS, 12, 20)
    for ours in as_threads(2, lambda p: play(p, 12, 20)):
        assert torch.equal(ours.tokens, alone.tokens)


def test_groups_play_the_same_example():
    batch = play(SINGLE_PROCESS, 8, 24, group_size=4)
    assert batch.groups.tolist() == [i // 4 for i in range(24)]
    for start in range(0, 24, 4):
        assert len(set(batch.prompts[start : start + 4])) == 1
    assert len(set(batch.prompts)) > 1
    assert len(set(batch.texts)) > 12  # but not the same completion


def answers(batch):
    """What the user said in each episode, turn by turn, as far as all episodes of its group go."""
    said = [[turn["text"] for turn in talk[1:] if turn["role"] == "user"] for talk in batch.dialogues]
    shortest = [
        min(len(s) for s, g in zip(said, batch.groups.tolist(), strict=True) if g == group)
        for group in batch.groups.tolist()
    ]
    return [tuple(s[:n]) for s, n in zip(said, shortest, strict=True)]


TALK = dict(user=Somebody(), reward="rating", max_turns=2, max_new_tokens=3, max_context_tokens=48)


@pytest.mark.parametrize(("rows", "episodes", "group_size"), [(8, 24, 4), (6, 12, 4), (16, 12, 3)])
def test_groups_meet_the_same_user(rows, episodes, group_size):
    """Personas and what they draw while talking; also where a group is split over parts, or rows are left idle."""
    batch = play(SINGLE_PROCESS, rows, episodes, group_size=group_size, env=TALK)
    said = answers(batch)
    groups = [set(said[start : start + group_size]) for start in range(0, episodes, group_size)]
    assert all(len(group) == 1 and min(map(len, group)) >= 1 for group in groups)
    assert len(set.union(*groups)) > 1  # but not the user of another group
    for ours in as_threads(2, lambda p: play(p, rows, episodes, group_size=group_size, env=TALK)):
        assert answers(ours) == said


def test_without_groups_everyone_meets_somebody_else():
    assert len(set(answers(play(SINGLE_PROCESS, 12, 12, env=TALK)))) > 3


def test_examples_do_not_depend_on_the_number_of_rows():
    few, many = (repeated_examples(small_env(rows), 10, 2, seed=5) for rows in (3, 16))
    assert few == many
    assert len(few) == 20


@pytest.mark.parametrize("rank", [0, 1])
def test_who_stops_stops_all(rank):
    def function(processes):
        def on_token(count):
            if processes.rank == rank:
                raise Stopped

        return play(processes, 4, 4, on_token=on_token)

    assert [type(outcome) for outcome in as_threads(2, function)] == [Stopped, Stopped]


def test_an_error_in_one_is_an_error_in_all():
    def function(processes):
        def on_token(count):
            if processes.rank == 1:
                raise ValueError("a reward is nan")

        return play(processes, 4, 4, on_token=on_token)

    first, second = as_threads(2, function)
    assert isinstance(first, ProcessFailed) and str(first) == "process 1 of 2 failed: ValueError: a reward is nan"
    assert isinstance(second, ValueError)


@pytest.mark.parametrize(
    "episodes, options, message",
    [
        (5, {}, "multiple of the number of processes, 2"),
        (4, dict(group_size=3), "multiple of group_size, 3"),
        (0, {}, "episodes=0"),
    ],
)
def test_numbers_that_do_not_divide(episodes, options, message):
    with pytest.raises(ValueError, match=message):
        play(Processes(0, 2), 4, episodes, **options)


def test_agreements():
    outcomes = as_threads(3, lambda p: (p.any(p.rank == 2), p.any(False), p.total({"a": p.rank + 1.0}), p.first))
    assert outcomes == [(True, False, {"a": 6.0}, rank == 0) for rank in range(3)]
    assert as_threads(3, lambda p: p.once(lambda: f"from {p.rank}")) == ["from 0"] * 3
    rows = torch.arange(8)
    assert sorted(torch.cat(as_threads(3, lambda p: p.share(rows))).tolist()) == rows.tolist()


def test_alone_nothing_is_exchanged():
    gradient = small_lm().transformer.wte.weight
    SINGLE_PROCESS.add_gradients([gradient])
    assert gradient.grad is None
    assert SINGLE_PROCESS.exchange(3) == [3] and SINGLE_PROCESS.once(lambda: 4) == 4 and not SINGLE_PROCESS.any(False)
