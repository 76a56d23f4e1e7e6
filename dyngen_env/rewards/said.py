"""Whether the completion says the words that it should, briefly, and nothing that belongs elsewhere."""

from __future__ import annotations

import torch

from dyngen_env.rewards.base import Reward
from dyngen_env.rewards.payments import pay_turns
from dyngen_env.scoring.said import Answers, answers_from_json, answers_of, brevity, foreign_share, said_f1
from dyngen_env.types import Example, Transition


class Said(Reward):
    """The token-level F1, in [0, 1], of the words of the turn's completion against the right answer that they match
    best; order and case do not matter, and synonyms count once.

    The right answers are those that the task knows, as in `dyngen/Picture-v0`, else the example's reference.

    Raises:
        ValueError: when a turn is scored, if its prompt came with neither.
    """

    name = "said"
    cheap = True

    def __call__(self, transition: Transition) -> torch.Tensor:
        answers = [_answers(self.name, example) for example in transition.examples]
        turns = zip(transition.completions, answers, strict=True)
        return pay_turns(transition, [said_f1(text, answer.phrases, answer.wrong) for text, answer in turns])


class Foreign(Reward):
    """The share of the words of the turn's completion, in [0, 1], that belong to something else: in `dyngen/Picture-v0`
    the words with which pictures of other categories are described, and none of this one. Take it with a price, as in
    `said - 0.2*foreign`.

    Raises:
        ValueError: when a turn is scored, if its prompt came with neither answers nor a reference.
    """

    name = "foreign"
    cheap = True

    def __call__(self, transition: Transition) -> torch.Tensor:
        turns = zip(transition.completions, transition.examples, strict=True)
        return pay_turns(
            transition, [foreign_share(text, _answers(self.name, example).foreign) for text, example in turns]
        )


class Brevity(Reward):
    """1 for a turn of up to some words, less for a longer one (words / n for n words), and 0 for one without words.

    Args:
        words: how many may be said at no cost.

    Raises:
        ValueError: less than 1.
    """

    name = "brevity"
    cheap = True

    def __init__(self, words: int = 4):
        if words < 1:
            raise ValueError(f"brevity needs at least 1 word, got {words}")
        self.words = words

    def __call__(self, transition: Transition) -> torch.Tensor:
        return pay_turns(transition, [brevity(text, self.words) for text in transition.completions])


def _answers(reward: str, example: Example) -> Answers:
    if isinstance(example.facts, Answers):
        return example.facts
    if isinstance(example.facts, dict) and example.facts.keys() == {"phrases", "foreign", "wrong"}:
        return answers_from_json(**example.facts)  # of a recorded episode
    if example.reference is None:
        raise ValueError(
            f"reward {reward!r}: the example {example.prompt[:60]!r} has no right answers; give prompts with "
            'references, such as a .jsonl file with lines {"prompt": ..., "reference": ...}'
        )
    return answers_of(example.reference)
