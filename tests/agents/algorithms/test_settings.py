"""Hyper-parameters out of range are errors when the configuration is made, for every algorithm."""

import math
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest
import torch

from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.algorithms.registry import ALGORITHMS, algorithm_name

CONFIGS = {name: kind.Config for name, kind in ALGORITHMS.items()}
WRONG = [
    ("learning_rate", 0), ("learning_rate", -1e-3), ("warmup_steps", -1), ("epochs", 0), ("epochs", 1.5),
    ("minibatch_size", -1), ("max_tokens", 0), ("gamma", 1.5), ("gamma", -0.1), ("gae_lambda", 1.1),
    ("clip_coef", -0.2), ("clip_coef_high", -0.2), ("value_clip", -1), ("vf_coef", -1.0), ("ent_coef", -0.1),
    ("kl_coef", -0.1), ("kl_target", 0.0), ("kl_horizon", 0), ("max_grad_norm", -1.0), ("max_grad_norm", 0),
    ("group_size", 0), ("whiten_advantages", 1), ("baseline", "mean"), ("scale_rewards", None),
]  # fmt: skip


@pytest.mark.parametrize("setting, value", WRONG)
def test_a_setting_out_of_range_is_refused(setting, value):
    kinds = [kind for kind in CONFIGS.values() if setting in {field.name for field in fields(kind)}]
    assert kinds
    for kind in kinds:
        with pytest.raises(ValueError, match=rf"^{setting} is {value!r}, expected"):
            kind(**{setting: value})


@pytest.mark.parametrize("name", CONFIGS)
def test_no_number_may_be_nan_or_infinite_or_a_truth_value_or_missing(name):
    kind = CONFIGS[name]
    hints = get_type_hints(kind)
    numbers = [f.name for f in fields(kind) if {int, float} & {hints[f.name], *get_args(hints[f.name])}]
    assert len(numbers) > 5
    for setting in numbers:
        for value in (
            math.nan,
            math.inf,
            -math.inf,
            True,
            "1",
            *([] if type(None) in get_args(hints[setting]) else [None]),
        ):
            with pytest.raises(ValueError, match=f"^{setting} is "):
                kind(**{setting: value})


def test_whole_numbers_are_numbers_and_a_whole_batch_has_no_size():
    assert CONFIGS["ppo"](gamma=1, kl_target=6).gamma == 1
    assert CONFIGS["reinforce"](minibatch_size=0).minibatch_size == 0
    with pytest.raises(ValueError, match="minibatch_size is 0, expected a whole number of at least 1"):
        CONFIGS["ppo"](minibatch_size=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_names_its_algorithm(name):
    assert algorithm_name(CONFIGS[name]()) == name


@pytest.mark.parametrize(
    "settings",
    [
        dict(max_grad_norm=-1.0),
        dict(max_grad_norm=math.nan),
        dict(learning_rate=0.0),
        dict(warmup_steps=-1),
        dict(total_steps=-1),
    ],
)
def test_the_optimizer_refuses_what_would_climb_or_stand_still(settings):
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is"):
        PolicyOptimizer([parameter], **(dict(learning_rate=0.1) | settings))
