"""What runs and the reward bench are told about their env: the env's own keywords."""

from __future__ import annotations

from dataclasses import fields

import pytest

from dyngen_agents import TrainConfig
from dyngen_agents.reward_bench import RewardBench
from dyngen_agents.runs.environment import make_env
from dyngen_env.envs.options import TaskOptions, keywords_of


def test_runs_and_the_bench_have_the_keywords_of_the_task_and_none_is_given_at_first():
    for kind in (TrainConfig, RewardBench):
        assert keywords_of(TaskOptions).keys() <= {field.name for field in fields(kind)}
        assert kind().given() == {}


def test_what_a_run_is_given_reaches_its_env_and_the_rest_is_the_ids_own():
    given = dict(prompts="p.txt", max_turns=3, user="silent", stop=("\n",), prompt_overflow="truncate_left")
    assert TrainConfig(**given).given() == given
    env = make_env(TrainConfig(max_new_tokens=7, stop=("\n",)), 2, "train")
    assert env.options.given() == dict(
        reward="sentiment", rating_tokens=False, words_in_context=True, max_turns=1, max_new_tokens=7,
        max_context_tokens=64, context_overflow="end", drafts="visible", prompt_overflow="error", stop=("\n",),
        banned=(), task_choice="weights", task_tokens=False,
    )  # fmt: skip
    assert RewardBench(**given).plan().training.given() == given


@pytest.mark.parametrize("kind", [TrainConfig, RewardBench])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_turns": 0}, "max_turns must be an integer of at least 1, got 0"),
        ({"max_new_tokens": -3}, "max_new_tokens must be"),
        ({"context_overflow": "drop"}, "context_overflow='drop': expected one of 'end', 'drop_oldest'"),
        ({"rating_tokens": "yes"}, "rating_tokens='yes': expected one of True, False"),
    ],
)
def test_settings_that_cannot_work_are_named_before_anything_is_loaded(kind, given, message):
    with pytest.raises(ValueError, match=message):
        kind(**given)


def test_a_bench_has_no_reward_of_its_own():
    with pytest.raises(ValueError, match="reward='sentiment': a bench compares rewards"):
        RewardBench(reward="sentiment")
