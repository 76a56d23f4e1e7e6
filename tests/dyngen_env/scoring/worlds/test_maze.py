"""The maze: what is said of its places, where moves lead, and what policies earn in `dyngen/Maze-v0`."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from dyngen_env import Dialogue, Example, Feedback
from dyngen_env.scoring.worlds.maze import BEST_MOVES, DISTANCES, FREE, GOAL, MOVES, STARTS, after, describe
from dyngen_env.tasks import read_prompts
from dyngen_env.testing import check_task
from dyngen_env.users import make_user


def test_places_are_described_in_the_words_of_lmrl_gym():
    goal = "The goal is at position 8, 6. Your current position is at position"
    assert describe((1, 1)) == f"{goal} 1, 1. There are walls to your left, above you, below you."
    assert describe((5, 6)) == f"{goal} 5, 6. There is a wall above you."
    assert describe((1, 10)) == f"{goal} 1, 1 0. There are walls above you, below you."
    assert describe((5, 3)) == f"{goal} 5, 3. There are walls to your left, below you."


def test_moves_lead_to_the_next_place_and_walls_stop_them():
    assert [after((1, 3), move) for move in MOVES] == [(1, 2), (1, 4), (1, 3), (2, 3)]
    assert after((1, 3), "move  down") == after((1, 3), "") == (1, 3)


def test_there_are_25_places_to_start_from_and_the_farthest_is_12_moves_away():
    assert len(STARTS) == 25 and len(FREE) == 26 and GOAL not in STARTS
    assert max(DISTANCES.values()) == DISTANCES[(1, 1)] == 12  # 2 to the right, 4 down, 3 to the right, 3 down


def test_the_best_policy_has_the_published_optimum():
    """Abdulhai et al. 2023 normalise scores by -6.84: the mean over the 25 starts, where the last move is free."""
    returns = [_played(start, BEST_MOVES.get) for start in STARTS]
    assert np.mean(returns) == pytest.approx(-6.84)


def _played(start, policy):
    """The sum of the ratings of a policy, by hand: the user's answers alone tell where it is."""
    user, rng = make_user("maze"), np.random.default_rng(0)
    places = {describe(place): place for place in FREE}
    example = Example(describe(start))
    talk = Dialogue(example, user.begin([example], [rng])[0])
    while not (talk.feedback and talk.feedback[-1].ends):
        here = places[talk.feedback[-1].text if talk.feedback else example.prompt]
        talk = talk.said(policy(here))
        talk = talk.heard(user.reply([talk], [rng])[0])
    return sum(answer.rating for answer in talk.feedback)


def test_the_env_pays_each_move_and_ends_at_the_goal():
    env = gym.make("dyngen/Maze-v0", tokenizer="bytes", model=None, max_new_tokens=16).unwrapped
    env.reset(seed=0, options={"prompt": describe((6, 6))})
    paid = []
    for text in ("move up", "jump", "move left", "move down", "move right", "move down", "move down"):
        for token in (*text.encode(), 10, 258):  # a line end does no harm
            _, reward, over, _, info = env.step(token)
        paid.append(reward)
    assert paid == [-1, -4, -1, -1, -1, -1, -1] and not over
    for token in (*b"move down", 258):
        _, reward, over, _, info = env.step(token)
    assert reward == 0 and over and info["finish_reason"] == "goal" and info["text"] == "move down"
    assert [turn["text"] for turn in info["dialogue"][-3:]][1:] == ["move down", "Success"]
    assert info["dialogue"][4]["text"] == describe((5, 6)), "words that are no move lead nowhere"


def test_a_walk_that_never_arrives_ends_after_100_moves():
    env = gym.make("dyngen/Maze-v0").unwrapped
    env.reset(seed=0)
    tokens = [*env.batch.tokenizer.encode("move up"), *env.batch.tokenizer.end_ids]
    assert len(tokens) == 3, "a move is two words and its end"
    total, over, moves = 0.0, False, 0
    while not over:
        for token in tokens:
            _, reward, over, _, info = env.step(token)
            total += reward
        moves += 1
    assert (moves, total, info["finish_reason"]) == (100, -100, "turns")


def test_the_longest_episode_fits_into_the_context():
    """Every answer in the longest words, every turn with its whole budget: 100 moves must not overflow."""
    batch = gym.make("dyngen/Maze-v0").unwrapped.batch
    longest = max(len(batch.tokenizer.encode_reply(describe(place), 5)) for place in STARTS)
    opening = max(len(batch.tokenizer.encode_opening(describe(place))) for place in STARTS)
    assert opening + 100 * (batch.max_new_tokens + longest) <= batch.single_observation_space.shape[0]


def test_an_illegal_token_costs_as_much_as_the_worst_walk():
    env = gym.make("dyngen/Maze-v0").unwrapped
    env.reset(seed=0)
    _, reward, over, _, info = env.step(int(np.flatnonzero(~env.action_masks())[0]))
    assert reward == -100 and over and info["finish_reason"] == "illegal"


def test_prompts_by_name_are_the_25_starts_in_every_split():
    every = read_prompts("maze").examples
    assert len(every) == 25 and every == read_prompts("maze", "eval").examples
    check_task(read_prompts("maze"))


def test_the_user_refuses_a_prompt_that_is_no_state():
    with pytest.raises(ValueError, match=r"prompt 'A film' is no state of the maze: expected one such as 'The goal"):
        gym.make("dyngen/Maze-v0").reset(options={"prompt": "A film"})


def test_equal_dialogues_are_answered_equally_whoever_asks():
    user, example = make_user("maze"), Example(describe((7, 6)))
    talk = Dialogue(example, user.begin([example], [None])[0]).said("move up\n")
    assert user.reply([talk, talk], [None, None]) == [Feedback(describe((6, 6)), -1.0)] * 2
