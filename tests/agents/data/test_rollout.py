"""Whole episodes, a fixed share for each row, aligned with the tokens."""

import re

import pytest
import torch

from dyngen_agents.data.reward_scale import RewardScale, scaled_rewards
from dyngen_agents.data.rollout import collect, play_on
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import Action
from dyngen_env.types import Example, Feedback
from tests.support.envs import Somebody, Talker
from tests.support.small import small_env, small_policy


class Scripted:
    """Row r writes r + 1 times the letter 'a' and ends; its log-prob is minus its step, its value the length."""

    def __call__(self, tokens, lengths):
        wrote = (tokens == ord("a")).sum(1)
        rows = torch.arange(len(tokens))
        action = torch.where(wrote > rows, 257, ord("a"))
        return Action(action, -wrote.float(), lengths.float())


def letters(text):
    return float(len(text))


def test_rows_play_their_share_however_long_their_episodes_are():
    """Taking the first 8 to finish would give the short rows most of them."""
    env = small_env(4, prompts=["xyz"], reward=letters)
    batch = collect(env, Scripted(), 8, seed=0)
    assert [len(text) for text in batch.texts] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert batch.episode_returns.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert batch.finish_reasons == ["stop"] * 8


def test_an_uneven_share():
    env = small_env(4, prompts=["xyz"], reward=letters)
    assert [len(text) for text in collect(env, Scripted(), 6, seed=0).texts] == [1, 1, 2, 2, 3, 4]


def test_everything_stands_at_the_token_it_belongs_to():
    env = small_env(3, prompts=["xyz"], reward=letters)
    batch = collect(env, Scripted(), 3, seed=0)
    # BOS x y z, then the completion of row 2: a a a EOS.
    assert batch.tokens[2, :9].tolist() == [256, 120, 121, 122, 97, 97, 97, 257, -1]
    assert batch.completion_mask[2].nonzero().flatten().tolist() == [4, 5, 6, 7]
    assert batch.logprobs[2, :9].tolist() == [0, 0, 0, 0, 0, -1, -2, -3, 0]
    assert batch.values[2, :9].tolist() == [0, 0, 0, 0, 4, 5, 6, 7, 0]
    assert batch.rewards[2, :9].tolist() == [0, 0, 0, 0, 0, 0, 0, 3, 0]
    assert batch.reward_terms["letters"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("options", [{}, dict(max_episode_steps=6)], ids=["to their ends", "up to a limit of steps"])
@pytest.mark.parametrize("steps", [None, 4])
def test_a_fork_is_played_on_to_the_end_that_the_episode_has(options, steps):
    env = small_env(4, **options)
    policy = small_policy(env)
    whole = collect(env, Actor(policy, 0, deterministic=True), 4, seed=0)
    env.reset(seed=0)
    for column in range(3):
        chosen = [row[whole.completion_mask[i]][column] for i, row in enumerate(whole.tokens)]
        env.step(torch.stack(chosen))
    rest = play_on(env.fork([2, 0]), Actor(policy, 0, deterministic=True), steps=steps)
    expected = whole.take(torch.tensor([2, 0]))
    assert torch.equal(rest.tokens, expected.tokens)
    assert torch.equal(rest.completion_mask, expected.completion_mask & (expected.completion_mask.cumsum(1) > 3))
    torch.testing.assert_close(rest.logprobs, expected.logprobs * rest.completion_mask, atol=1e-5, rtol=0)
    assert (rest.texts, rest.finish_reasons) == (expected.texts, expected.finish_reasons)
    assert torch.equal(rest.episode_returns, expected.episode_returns)  # all of it is paid at the end


def test_an_episode_brings_its_own_dialogue():
    user = Talker((Feedback("ok", 2.0), Feedback("bye", -1.0, True)))
    env = small_env(3, prompts=["xyz"], reward=letters, user=user, max_turns=3)
    for row, dialogue in enumerate(collect(env, Scripted(), 6, seed=0).dialogues):
        written = [turn["text"] for turn in dialogue if turn["role"] == "agent"]
        assert written == ["a" * (row // 2 + 1), ""]  # row r plays episodes 2r and 2r + 1
        assert [turn.get("rating") for turn in dialogue if turn["role"] == "user"] == [None, 2.0, -1.0]
    assert collect(small_env(2, prompts=["xyz"]), Scripted(), 2, seed=0).dialogues == [None, None]


def test_chosen_examples_are_played_once_each():
    env = small_env(4)
    prompts = [f"prompt {i}" for i in range(10)]
    batch = collect(env, Actor(small_policy(env), seed=0), 10, seed=0, examples=[Example(p) for p in prompts])
    assert list(batch.prompts) == prompts


@pytest.mark.parametrize(
    ("options", "reasons", "bootstrap"),
    [
        # A turn that a limit ends is paid: to count on a value beyond it would count it twice.
        (dict(length_limit="truncate", max_new_tokens=3), ["stop", "stop", "length", "length"], [0, 0, 0, 0]),
        (dict(max_context_tokens=7, max_new_tokens=3, user=Talker(), max_turns=9), ["context"] * 4, [0, 0, 0, 0]),
        # A turn that is cut off unpaid may be made good for, unless its episode ended in that very step.
        (dict(max_episode_steps=3), ["stop", "stop", "steps", "steps"], [0, 0, 7, 7]),
    ],
)
def test_only_what_was_cut_off_unpaid_is_bootstrapped(options, reasons, bootstrap):
    env = small_env(4, prompts=["xyz"] if "user" not in options else ["x"], **options)
    batch = collect(env, Scripted(), 4, seed=0, bootstrap=lambda tokens, lengths: lengths.float())
    assert batch.finish_reasons == reasons
    assert batch.bootstrap.tolist() == bootstrap


def test_a_list_of_seeds_has_one_for_each_example():
    """Also beyond the rows of the env: seven examples in rows of three."""
    env = small_env(3, user=Somebody(), max_turns=2, max_new_tokens=3, max_context_tokens=48)
    seeds = [5, 5, 6, 6, 5, 7, 5]
    batch = collect(env, Actor(small_policy(env), 0), 7, seed=seeds, examples=[Example("x")] * 7)
    said = [talk[2]["text"] for talk in batch.dialogues]
    assert said[0] == said[1] == said[4] == said[6] and said[2] == said[3] and len(set(said)) == 3
    with pytest.raises(ValueError, match="3 seeds for 7 examples"):
        collect(env, Actor(small_policy(env), 0), 7, seed=[1, 2, 3], examples=[Example("x")] * 7)


ENDINGS = [
    # what is written, options: whether the agent ended its last turn itself
    ("hi<end>", {}, True),
    ("hi<eos>", {}, True),
    ("hiya", {}, False),  # the budget of four
    ("hi!<end>", {}, True),  # with its last token
    ("hi..", dict(stop=".."), True),
    ("hi.y.", dict(stop=".y.", max_turns=2, max_context_tokens=14), False),  # a stop string counts within a turn only
    ("hi<bos>", {}, False),  # illegal
    ("hi", dict(max_episode_steps=2), False),
    ("<end>hi", dict(max_turns=9, max_context_tokens=11), False),  # BOS user x end, end, user o k end, h i
]


@pytest.mark.parametrize(("written", "options", "stopped"), ENDINGS)
@pytest.mark.parametrize("user", [None, Talker()])
def test_whether_the_agent_ended_its_last_turn(written, options, stopped, user):
    """In a dialogue no finish reason says it: the last turn ends as any other, and then the episode."""
    if user is None and ("max_turns" in options or written.startswith("<end>")):
        return
    special = {"<end>": 258, "<eos>": 257, "<bos>": 256}
    parts = [part for part in re.split("(<...>)", written) if part]
    tokens = [token for part in parts for token in ([special[part]] if part in special else part.encode())]

    script = iter(tokens)

    def actor(state, lengths):
        return Action(torch.tensor([next(script)]), torch.zeros(1), torch.zeros(1))

    env = small_env(1, prompts=["x"], user=user, **(dict(max_new_tokens=4, max_turns=1) | options))
    batch = collect(env, actor, 1, seed=0)
    assert batch.stopped.tolist() == [stopped]
    penalty = scaled_rewards(batch, RewardScale(), 0.25) - batch.rewards
    assert float(penalty.sum()) == (0 if stopped else -0.25)


def test_the_share_does_not_depend_on_other_rows():
    """Rows 0 to 3 of a batch of 8 play what a batch of 4 plays."""
    small, large = small_env(4), small_env(8)
    policy = small_policy(small)
    few = collect(small, Actor(policy, seed=1), 4, seed=9)
    many = collect(large, Actor(policy, seed=1), 8, seed=9)
    assert torch.equal(few.tokens, many.tokens[:4])


@pytest.mark.parametrize(
    ("env", "arguments", "message"),
    [
        (dict(output="numpy"), {}, 'output="torch"'),
        (dict(autoreset_mode="next_step"), {}, "same_step"),
        ({}, dict(examples=[Example("a")]), "1 examples for 16 episodes"),
    ],
)
def test_a_wrong_set_up_is_refused(env, arguments, message):
    with pytest.raises(ValueError, match=message):
        collect(small_env(**env), Scripted(), 16, **arguments)
