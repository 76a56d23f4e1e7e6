"""What people think of a turn: the env waits for their ratings, or they come later, or a model spares them most turns.

human('feedback.db')                                       the env waits until somebody has rated each turn
human('feedback.db', 'deferred')                           it pays nothing now: `--feedback` learns from it later
human('feedback.db', 'model', model='r.npz', share=0.1)    people rate the tenth that the model is least sure of
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from dyngen_env.arguments import between, file_name
from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.finite import RULE, as_finite
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.people import FILE, Question, ask_and_wait, people_in, single_turn, written
from dyngen_env.scoring.rating_process import RatingProcess, saved_process
from dyngen_env.types import Feedback, Transition

HIGHEST_RATING = 4  # people rate from -4 to +4

Mode = Literal["wait", "deferred", "model"]


def human(
    file: str = FILE,
    mode: Mode = "wait",
    *,
    raters: int = 1,
    timeout: float = 3600.0,
    unrated: float | None = None,
    model: str | None = None,
    share: float = 0.1,
) -> Reward:
    """What people think of the turn: the mean of their ratings divided by 4, in [-1, 1].

    Turns wait in a store of feedback, and `dyngen serve --store FILE` shows them to whoever opens its page `/rate`.
    Ratings are kept: equal turns after equal dialogues are paid alike, and nobody is asked twice. The store also keeps
    how likely each token was under a policy that is trained or recorded by `dyngen`, so that other runs can learn from
    the same ratings (`dyngen train ppo --feedback FILE`).

    Args:
        file: the store. It is made when the first turn is asked about.
        mode: "wait": a step in which turns end takes until all of them are rated. "deferred": nothing is waited for and
            nothing paid. "model": a model pays, and people are asked about the turns of which it is least sure; these
            are waited for and paid as they were rated. Both are reported, as `human` and `human_model`.
        raters: how many people rate a turn.
        timeout: seconds that a step waits, at most.
        unrated: what is paid for a turn that nobody has rated by then. None is an error, after which all rows are as
            they were: the same step, or the run resumed, goes on waiting, and finds what was rated meanwhile.
        model: of mode "model", the file that `python -m dyngen_agents.reward_models.rating_process` has written.
        share: of mode "model", the share of turns that people rate, as it would be for texts like those that the model
            has learned from; of others, such as a policy comes to write, it is less sure, and asks about more.

    Raises:
        ValueError: arguments that cannot work. FileNotFoundError: there is no such model.
        TimeoutError: when a turn is scored, see `unrated`.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"human with mode={mode!r}: expected one of {', '.join(map(repr, get_args(Mode)))}")
    file_name("human with file", file)
    if not isinstance(raters, int) or isinstance(raters, bool) or raters < 1:
        raise ValueError(f"human with raters={raters!r}: expected how many people rate a turn, from 1 on")
    between("human with timeout", timeout, 0)
    if unrated is not None and as_finite(unrated) is None:
        raise ValueError(f"human with unrated={unrated!r}: {RULE}, or None, which is an error")
    between("human with share", share, 0, 1)
    if (mode == "model") != (model is not None):
        raise ValueError(
            f"human with mode={mode!r} and model={model!r}: mode='model' wants the file of one, and no other mode does"
        )
    if mode == "deferred":
        return RatedLater(file, raters)
    if model is None:
        return Human(file, raters, timeout, unrated)
    file_name("human with model", model)
    process = saved_process(model)
    asks = process.spread_exceeded_by(share)
    return Human(file, raters, timeout, unrated, process, asks) + ModelRating(process, asks)


class Human(Reward):
    """The mean of people's ratings of the turn divided by 4, for which the step waits; see `human`.

    Args:
        file, raters, timeout, unrated: as for `human`.
        model, asks: people are asked about the turns whose rating this model predicts with at least the standard
            deviation `asks`, and the others pay 0 here. None asks about all.
    """

    name = "human"
    asks_people = True

    def __init__(
        self,
        file: str,
        raters: int,
        timeout: float,
        unrated: float | None,
        model: RatingProcess | None = None,
        asks: float = 0.0,
    ):
        self.file, self.raters, self.timeout, self.unrated = file, raters, timeout, unrated
        self.model, self.asks = model, asks

    def __call__(self, transition: Transition) -> torch.Tensor:
        questions = questions_about(transition, self.raters)
        asked = [question.counts and self._asks(question.dialogue.completions[-1]) for question in questions]
        wanted = [question for question, ask in zip(questions, asked, strict=True) if ask]
        answers = iter(ask_and_wait(people_in(self.file), wanted, self.timeout, self.file) if wanted else ())
        ratings = [mean_rating(next(answers)) if ask else 0.0 for ask in asked]
        missing = sum(rating is None for rating in ratings)
        if missing and self.unrated is None:
            raise TimeoutError(
                f"{missing} of {len(wanted)} turns were not rated within {self.timeout:g} seconds. They wait in "
                f"{self.file}: rate them (dyngen serve --store {self.file}), and go on, as with --resume; or pay "
                "such turns something, as in human(..., unrated=0)"
            )
        unrated = 0.0 if self.unrated is None else self.unrated
        return pay_turns(transition, [unrated if r is None else r / HIGHEST_RATING for r in ratings])

    def _asks(self, text: str) -> bool:
        return self.model is None or self.model.predict(text).std >= self.asks


class ModelRating(Reward):
    """The rating that a model predicts divided by 4, in [-1, 1], of turns that it is sure enough of; see `human`."""

    name = "human_model"

    def __init__(self, model: RatingProcess, asks: float):
        self.model, self.asks = model, asks

    def __call__(self, transition: Transition) -> torch.Tensor:
        predicted = [self.model.predict(text) for text in transition.completions]
        clipped = [min(HIGHEST_RATING, max(-HIGHEST_RATING, p.mean)) for p in predicted]
        paid = [0.0 if p.std >= self.asks else c / HIGHEST_RATING for p, c in zip(predicted, clipped, strict=True)]
        return pay_turns(transition, paid)


class RatedLater(Reward):
    """0 for now: the turn is put up to be rated, and nobody waits for it; see `human`."""

    name = "human"
    asks_people = True

    def __init__(self, file: str, raters: int):
        self.file, self.raters = file, raters

    def __call__(self, transition: Transition) -> torch.Tensor:
        wanted = [question for question in questions_about(transition, self.raters) if question.counts]
        if wanted:
            people_in(self.file).ask(wanted)
        return pay_turns(transition, [0.0] * len(transition.rows))


def questions_about(transition: Transition, raters: int) -> list[Question]:
    """A question about each turn that has ended in a step, (R,)."""
    turns = zip(
        transition.completions,
        transition.examples,
        transition.dialogues,
        written(transition.spoken, transition.rows),
        strict=True,
    )
    return [Question(talk or single_turn(example, text), False, raters, ids) for text, example, talk, ids in turns]


def mean_rating(answers: Sequence[Feedback]) -> float | None:
    """The mean of the ratings in some answers; None if there is none."""
    ratings = [answer.rating for answer in answers if answer.rating is not None]
    return sum(ratings) / len(ratings) if ratings else None
