"""What `tasks=` may name, and the one line that says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import pytest

import dyngen_env
from dyngen_env.envs.mixture.ids import RETURN_SCALES, task_ids
from tests.support.envs import MIXED, SMALL_IDS, TextGenVectorEnv

SCORES = Path(__file__).parents[4] / "docs" / "environments" / "scores.json"


@pytest.mark.parametrize(
    "tasks",
    [
        {"dyngen/Sentiment-v0": 2, "dyngen/Dialogue-v0": 0.5},
        "2*dyngen/Sentiment-v0 + 0.5*dyngen/Dialogue-v0",
        " 2 * dyngen/Sentiment-v0+0.5 *dyngen/Dialogue-v0 ",
    ],
)
def test_ids_with_weights(tasks):
    sentiment, dialogue = task_ids(tasks)
    assert (sentiment.name, sentiment.label, sentiment.weight) == ("dyngen/Sentiment-v0", "Sentiment-v0", 2)
    assert (dialogue.name, dialogue.weight, dialogue.own("max_turns")) == ("dyngen/Dialogue-v0", 0.5, 4)
    assert (sentiment.own("max_turns"), sentiment.own("user")) == (1, None)  # the defaults of every env


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"tasks": "dyngen/Sentiment-v1"}, "there is no env 'dyngen/Sentiment-v1' to mix: did you mean"),
        ({"tasks": "dyngen/Mix-v0"}, "dyngen/Mix-v0 is a mixture itself: name the ids that it plays"),
        (
            {"tasks": {"dyngen/Sentiment-v0": 0}},
            "the weight of dyngen/Sentiment-v0 is 0: expected a finite number above",
        ),
        ({"tasks": {"dyngen/Sentiment-v0": float("nan")}}, "is nan: expected a finite number above 0"),
        ({"tasks": "-1*dyngen/Sentiment-v0"}, "the weight of dyngen/Sentiment-v0 is -1.0"),
        ({"tasks": "two*dyngen/Sentiment-v0"}, "expected ids with weights, such as"),
        ({"tasks": "dyngen/Sentiment-v0 dyngen/Dialogue-v0"}, "expected ids with weights, such as"),
        ({"tasks": "dyngen/Sentiment-v0 + dyngen/Sentiment-v0"}, "names dyngen/Sentiment-v0 twice"),
        ({"tasks": ["dyngen/Sentiment-v0"]}, "expected weights by id, or text"),
        ({"tasks": "CartPole-v1"}, "CartPole-v1 generates no text"),
        ({"task_scales": (1.0,)}, "task_scales has 1 entries for 2 tasks"),
        ({"task_scales": (1.0, 0.0)}, "the scale of small/Talk-v0 is 0.0: expected a finite number above 0"),
        ({"prompts": ["A"]}, "in a mixture that belongs to each of the tasks. Register an id"),
        ({"max_new_tokens": 4}, "max_new_tokens=4: in a mixture that belongs to each of the tasks"),
        ({"tokenizer": None, "model": "walk-lm"}, "tokenizer .* cannot write the prompts of small/Write-v0"),
        ({"task_tokens": True}, "tokenizer 'bytes' has 0 control tokens to spare for 2 tasks"),
        ({"task_scales": dict.fromkeys(SMALL_IDS, 1)}, "expected a list, in the order of small/"),
        ({"task_choice": "progress"}, "task_choice='progress': expected one of 'weights', 'rows'"),
        ({"tasks": "small/Stops-v0"}, r"small/Stops-v0 has stop='\\n', which all tasks of a mixture share"),
        (
            {"tasks": "small/Own-v0"},
            "small/Own-v0 has a tokenizer of its own, 'reviews-lm', and all tasks of a mixture",
        ),
    ],
)
def test_what_cannot_be_mixed_is_one_line(keywords, message, monkeypatch):
    for name, own in (("small/Stops-v0", {"stop": "\n"}), ("small/Own-v0", {"tokenizer": "reviews-lm"})):
        kind = "dyngen_env.envs.env:TextGenEnv"
        monkeypatch.setitem(gym.registry, name, gym.envs.registration.EnvSpec(name, entry_point=kind, kwargs=own))
    with pytest.raises(ValueError, match=message) as error:
        TextGenVectorEnv(2, **{**MIXED, **keywords})
    assert "\n" not in str(error.value)


def test_an_env_of_one_task_has_no_weights():
    with pytest.raises(ValueError, match="this env plays one task; mix several by"):
        gym.make_vec("dyngen/Sentiment-v0", num_envs=1).set_task_weights({"dyngen/Sentiment-v0": 1})


def test_weights_that_are_not_by_id():
    with pytest.raises(ValueError, match=r"task weights \[1\]: this env plays one task"):
        gym.make_vec("dyngen/Sentiment-v0", num_envs=1).set_task_weights([1])
    with pytest.raises(ValueError, match=r"weights=\[-1, 2\]: expected a number for each of small/"):
        TextGenVectorEnv(2, **MIXED).set_task_weights([-1, 2])


def test_mix_makes_room_for_the_longest_of_its_ids():
    env = dyngen_env.mix({"dyngen/Sentiment-v0": 2, "dyngen/Dialogue-v0": 1}, num_envs=3)
    assert isinstance(env, TextGenVectorEnv) and env.num_envs == 3 and env.max_context_tokens == 192
    assert (env.max_new_tokens, env.max_turns) == (32, 4)
    with pytest.raises(ValueError, match="max_context_tokens=2048 exceeds the 512 tokens of model 'dialogue-lm'"):
        dyngen_env.mix("dyngen/Sentiment-v0 + dyngen/Maze-v0")


def test_scales_are_the_measured_deviations_of_untrained_returns():
    """Half of the 95% interval of a mean of 256 episodes is 1.96 s/16."""
    scores = json.loads(SCORES.read_text())
    for name, scale in RETURN_SCALES.items():
        assert scale == pytest.approx(16 / 1.96 * scores[name]["untrained"]["ci95"], rel=0.02)
