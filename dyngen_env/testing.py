"""Checks for users, rewards and tasks of your own: each raises an AssertionError that says what is wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dyngen_env.envs.proposal import tensors_alone
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.rewards import Reward
from dyngen_env.rewards.base import Sum
from dyngen_env.rewards.transforms.wrapped import Wrapped
from dyngen_env.tasks import Task
from dyngen_env.types import Dialogue, Example, Feedback, Transition
from dyngen_env.users import User
from dyngen_env.users.user import cuts_in

__all__ = ["check_reward", "check_task", "check_user"]

PROMPTS = ("The film", "I am not sure about", "Ünïcode 漢字")
COMPLETIONS = ("", "a good film.", "no!", "it is long, and the acting is bad?", "漢字 \U0001f642", "x" * 300)
ENDS = (False, True, "goal")


def check_user(user: User, turns: int = 4) -> None:
    """Whether a user keeps to `users.User`: it answers everybody, from the dialogue and the given rngs alone."""
    examples = [Example(prompt) for prompt in PROMPTS] * 2
    assert isinstance(user.answers, bool), f"answers is {user.answers!r}: expected a bool"
    with _NoGlobalChance("user"):
        personas = user.begin(examples, _rngs(len(examples), 0))
        assert len(personas) == len(examples), f"begin gave {len(personas)} personas for {len(examples)} examples"
        dialogues = [Dialogue(e, p) for e, p in zip(examples, personas, strict=True)]
        for turn in range(1, turns + 1):
            dialogues = [d.said(COMPLETIONS[(i + turn) % len(COMPLETIONS)]) for i, d in enumerate(dialogues)]
            answers = list(user.reply(dialogues, _rngs(len(dialogues), turn)))
            assert len(answers) == len(dialogues), f"reply gave {len(answers)} answers to {len(dialogues)} dialogues"
            for answer in answers:
                _check_feedback(answer)
            if cuts_in(user):
                _check_cut_in(user, dialogues, turn)
            again = list(user.reply(copy.deepcopy(dialogues), _rngs(len(dialogues), turn)))
            assert again == answers, (
                "equal dialogues and rngs were answered differently: a user keeps nothing to itself"
            )
            alone = list(user.reply(dialogues[:1], _rngs(1, turn)))
            assert alone == answers[:1], f"alone, a dialogue was answered by {alone[0]}, in a batch by {answers[0]}"
            dialogues = [d.heard(a) for d, a in zip(dialogues, answers, strict=True)]


def check_reward(reward: str | Reward | Callable[..., float], steps: int = 60, **kwargs: Any) -> None:
    """Whether a reward pays finite numbers, the same ones again, and each row what it would earn alone.

    One that says `on_tokens` must pay the same if it sees nothing but tensors, in steps in which no turn ends, too.

    Args:
        kwargs: of the env it is tried in, such as `model="reviews-lm"` or `user="simulated", max_turns=3`.
    """
    settings: dict[str, Any] = dict(tokenizer=None if "model" in kwargs else "bytes", prompts=list(PROMPTS))
    settings |= dict(max_new_tokens=12, max_context_tokens=192, autoreset_mode="same_step", reward=reward) | kwargs
    rows = 3
    together, again = (TextGenVectorEnv(rows, **settings) for _ in range(2))
    alone = [TextGenVectorEnv(1, **settings) for _ in range(rows)]
    blind = TextGenVectorEnv(rows, **settings | dict(reward=_blind(together.reward)))
    for env in (together, again, blind):
        env.reset(seed=0)
    for row, env in enumerate(alone):
        env.reset(seed=row)
    rng, legal = np.random.default_rng(0), np.flatnonzero(together.legal_tokens().numpy(force=True))
    with _NoGlobalChance("reward"):
        for _ in range(steps):
            actions = rng.choice(legal, size=rows)
            paid = together.step(actions)[1]
            assert np.array_equal(again.step(actions)[1], paid), (
                "a second run paid something else: rewards are functions"
            )
            assert not together.reward.on_tokens or np.array_equal(blind.step(actions)[1], paid), (
                f"{together.reward.name!r} says on_tokens, but its tensors alone make it pay something else than {paid}"
            )
            single = np.concatenate([env.step(actions[i : i + 1])[1] for i, env in enumerate(alone)])
            assert np.allclose(paid, single, atol=1e-4), f"a batch was paid {paid}, its rows alone {single}"


def check_task(task: Task, draws: int = 20) -> None:
    """Whether a task draws examples, and the same ones from equal generators."""
    with _NoGlobalChance("task"):
        examples = [task.sample(np.random.default_rng(seed)) for seed in range(draws)]
        for example in examples:
            assert isinstance(example, Example), f"sample gave {example!r}: expected an Example"
            assert isinstance(example.prompt, str), f"the prompt is {example.prompt!r}: expected a str"
        again = [task.sample(np.random.default_rng(seed)) for seed in range(draws)]
        assert examples == again, "equal generators drew different examples: all chance comes from the rng passed in"


class _Blind(Wrapped):
    """A reward that is asked at each token and sees nothing but tensors, as on a GPU."""

    def _take(self, inner: Reward) -> None:
        super()._take(inner)
        self.per_token = True

    def __call__(self, transition: Transition) -> torch.Tensor:
        try:
            return self.inner(tensors_alone(transition))
        except TypeError as error:
            raise AssertionError(f"reward {self.name!r}: {error}") from error


def _blind(reward: Reward) -> Reward:
    return Sum([(scale, part if part.held_until else _Blind(part)) for scale, part in reward.terms()])


class _NoGlobalChance:
    """Notices if NumPy's global generator was used."""

    def __init__(self, who: str):
        self.who = who

    def __enter__(self) -> None:
        self.before = self._state()

    def __exit__(self, kind: object, *_: object) -> None:
        used = kind is None and self._state() != self.before
        assert not used, f"the {self.who} used NumPy's global generator: take the one passed in"

    @staticmethod
    def _state() -> tuple[bytes, int]:
        _, key, position, *_ = np.random.get_state()  # noqa: NPY002
        return np.asarray(key).tobytes(), int(position)


def _rngs(count: int, turn: int) -> list[np.random.Generator]:
    return [np.random.default_rng([row, turn]) for row in range(count)]


def _check_cut_in(user: Any, dialogues: list[Dialogue], turn: int) -> None:
    said, again = (list(user.cut_in(copy.deepcopy(dialogues), _rngs(len(dialogues), turn))) for _ in range(2))
    assert len(said) == len(dialogues), f"cut_in gave {len(said)} answers to {len(dialogues)} dialogues"
    assert said == again, "equal dialogues and rngs were interrupted differently: a user keeps nothing to itself"
    for answer in said:
        if answer is not None:
            _check_feedback(answer)


def _check_feedback(answer: Any) -> None:
    assert isinstance(answer, Feedback), f"reply gave {answer!r}: expected a Feedback"
    assert isinstance(answer.text, str), f"the text is {answer.text!r}: expected a str"
    assert answer.ends in ENDS, f"ends is {answer.ends!r}: expected one of {ENDS}"
    assert isinstance(answer.revise, bool), f"revise is {answer.revise!r}: expected a bool"
    rated = answer.rating is None or math.isfinite(answer.rating)
    assert rated, f"the rating is {answer.rating!r}: expected a finite number or None"
