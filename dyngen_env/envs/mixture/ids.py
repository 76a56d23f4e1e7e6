"""Which ids `tasks=` names, with what weights and scales, and the keywords that each of them has for itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from dyngen_env.envs.options import OF_EACH_TASK, EnvOptions, keywords_of
from dyngen_env.rewards import Reward, make_reward
from dyngen_env.rewards.base import Sum, with_price_of_illegal
from dyngen_env.rewards.of_task import OfTask
from dyngen_env.tasks import can_be_held_out, make_task
from dyngen_env.tasks.mixture import check_weight, of_task
from dyngen_env.users import make_user

RETURN_SCALES = {
    "dyngen/Generate-v0": 0.74,
    "dyngen/Sentiment-v0": 0.36,
    "dyngen/Dialogue-v0": 3.0,
    "dyngen/Maze-v0": 32.0,
    "dyngen/RandomWalk-v0": 0.4,
    "dyngen/Picture-v0": 0.51,
}
"""What the returns of ids are divided by in a mixture if nothing else is said: the standard deviation of the return of
the untrained agent, as docs/environments/scores.json has it (half of a 95% interval of 256 episodes, times 16/1.96)."""

_TERM = re.compile(r"(?:(?P<weight>[^*\s]+)\s*\*\s*)?(?P<id>[^*\s]+)")
_LEFT_TO_THE_MIXTURE = ("model", "tokenizer", "split", "max_context_tokens")  # an id's own are not looked at


@dataclass(frozen=True)
class TaskId:
    """One id of a mixture.

    Attributes:
        label: what stands before the names of its reward terms: the id without its namespace, if that tells it apart.
        weight: how often it is played, in proportion. scale: what its rewards are divided by.
        keywords: what it was registered with.
    """

    name: str
    label: str
    weight: float
    scale: float
    keywords: Mapping[str, Any]

    def own(self, keyword: str) -> Any:
        """The value of one of the keywords that every task has for itself."""
        return self.keywords.get(keyword, keywords_of(EnvOptions)[keyword].default)

    def options(self, mixture: EnvOptions) -> EnvOptions:
        """The options of an env that plays this id alone, as a mixture with these options plays it. Its prompts are
        those of the mixture's split, or all where they are too few for that.

        Raises:
            ValueError: the id was registered with another tokenizer, or with another value of what all rows share.
        """
        own = {keyword: self.own(keyword) for keyword in OF_EACH_TASK}
        brought = self.keywords.get("tokenizer")
        if brought is not None and brought != mixture.tokenizer:
            raise ValueError(
                f"{self.name} has a tokenizer of its own, {brought!r}, and all tasks of a mixture share one: give "
                "tokenizer=... to the mixture, if that one can write every task"
            )
        for keyword, value in self.keywords.items():
            shared = keyword not in (*own, *_LEFT_TO_THE_MIXTURE)
            if shared and value != getattr(mixture, keyword, None):
                raise ValueError(
                    f"{self.name} has {keyword}={value!r}, which all tasks of a mixture share: give it to the mixture"
                )
        drawn = own["prompts"]
        divided = mixture.split is not None and not hasattr(drawn, "sample") and can_be_held_out(drawn)
        own["prompts"] = of_task(make_task(drawn, mixture.split if divided else None), self.name)
        return replace(mixture, tasks=None, split=None, **own)


def task_ids(tasks: str | Mapping[str, float], scales: Sequence[float] | None = None) -> list[TaskId]:
    """What `tasks=` names, in order.

    Args:
        tasks: weights by id; or text, such as "2*dyngen/Sentiment-v0 + dyngen/Dialogue-v0".
        scales: what each id's rewards are divided by; None takes `RETURN_SCALES`.

    Raises:
        ValueError: text of another form, an unknown id, one that is no env of ours or a mixture itself, a weight or a
            scale that is no number above 0.
    """
    weights = _read(tasks) if isinstance(tasks, str) else tasks
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(f"tasks={tasks!r}: expected weights by id, or text such as '2*dyngen/Sentiment-v0 + ...'")
    if scales is None:
        scales = [RETURN_SCALES.get(name, 1.0) for name in weights]
    if isinstance(scales, Mapping):
        raise ValueError(f"task_scales={dict(scales)!r}: expected a list, in the order of {', '.join(weights)}")
    if len(scales) != len(weights):
        raise ValueError(f"task_scales has {len(scales)} entries for {len(weights)} tasks: expected one each")
    for name, scale in zip(weights, scales, strict=True):
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < float("inf"):
            raise ValueError(f"the scale of {name} is {scale!r}: expected a finite number above 0")
    short = [name.split("/")[-1] for name in weights]
    ids = []
    for (name, weight), scale in zip(weights.items(), scales, strict=True):
        check_weight(name, weight)
        label = name.split("/")[-1]
        ids.append(TaskId(name, label if short.count(label) == 1 else name, weight, scale, _keywords(name)))
    return ids


def mixed_reward(ids: Sequence[TaskId]) -> Reward:
    """What is paid in a mixture: in each row the reward of its task, the price of illegal tokens included, divided by
    the task's scale. Its terms are named after the task, such as "Sentiment-v0/sentiment".

    Raises:
        ValueError, TypeError: a reward that cannot be read.
    """
    terms: list[tuple[float, Reward]] = []
    for task in ids:
        paid, _ = with_price_of_illegal(make_reward(task.own("reward")))
        answers = make_user(task.own("user")).answers
        terms += [(own / task.scale, OfTask(part, task.name, task.label, answers)) for own, part in paid.terms()]
    return Sum(terms)


def _read(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for term in text.split("+"):
        match = _TERM.fullmatch(term.strip())
        try:
            weight = float(match["weight"] or 1) if match else None
        except ValueError:
            weight = None
        if match is None or weight is None:
            raise ValueError(f"tasks={text!r}: expected ids with weights, such as '2*dyngen/Sentiment-v0 + ...'")
        if match["id"] in weights:
            raise ValueError(f"tasks={text!r} names {match['id']} twice: give it one weight")
        weights[match["id"]] = weight
    return weights


def _keywords(name: str) -> Mapping[str, Any]:
    """The keywords that an id was registered with. Raises ValueError if it cannot be part of a mixture."""
    try:
        spec = gym.spec(name)
    except gym.error.Error as error:
        ours = [known for known in gym.registry if known.startswith("dyngen/")]
        near = difflib.get_close_matches(name, ours, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected registered ids, such as {', '.join(ours)}"
        raise ValueError(f"there is no env {name!r} to mix: {hint}") from error
    if spec.kwargs.get("tasks"):
        raise ValueError(f"{name} is a mixture itself: name the ids that it plays, {spec.kwargs['tasks']!r}")
    entry = spec.entry_point
    kind = load_env_creator(entry) if isinstance(entry, str) else entry
    if not hasattr(kind, "token_distribution"):  # as our env classes have it, which stand above this module
        raise ValueError(f"{name} generates no text: expected ids of dyngen, such as dyngen/Sentiment-v0")
    return spec.kwargs
