"""What a policy's completions are worth by every design's reward and by the held-out measures.

All rewards are paid by one env in one rollout, each as one term of its sum: they see what they see in training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dyngen_agents.data.episodes import Episode, recorded
from dyngen_agents.data.rollout import collect
from dyngen_agents.evaluation.evaluate import kl_of_episodes
from dyngen_agents.policy.actor import Actor
from dyngen_agents.reward_bench.designs import Design, parts
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.environment import draw_examples, make_env
from dyngen_agents.runs.models import policy_and_reference
from dyngen_env.lm.loading.models import load_model
from dyngen_env.rewards import Fluency, HumanRating, Repetition, Reward, RewardContext, Sentiment
from dyngen_env.scoring.diversity import distinct_n, ngram_counts, rarefied
from dyngen_env.types import Transition

SAMPLES = 3


@dataclass(frozen=True)
class Measure:
    """A column of the matrix that is no design's reward.

    `reward` is the kind that it measures by: designs in which that, or one of `kin`, occurs were trained on it.
    `quality` says whether less of it is worse; KL and length only describe. `judged` says whether it takes part in the
    verdict on a design: diversity does not, since it falls under almost any training. `distance` is one from the
    untrained policy, which itself has none.
    """

    key: str
    label: str
    reward: type[Reward] | None = None
    kin: tuple[type[Reward], ...] = ()
    unit: str = ""
    quality: bool = True
    judged: bool = True
    distance: bool = False
    digits: int = 3  # to show

    @property
    def heading(self) -> str:
        """With the unit, if there is one."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


MEASURES = (
    Measure("human_rating", "human rating", HumanRating),
    Measure("vader", "VADER", Sentiment),
    Measure("fluency", "fluency", Fluency, unit="nats"),
    Measure("distinct_2", "distinct-2", kin=(Repetition,), judged=False),
    Measure("diversity", "distinct-2 at equal length", kin=(Repetition,), judged=False),
    Measure("length", "tokens", quality=False, digits=1),
    Measure("kl", "KL", unit="nats per token", quality=False, distance=True),
    Measure("kl_episode", "KL", unit="nats per episode", quality=False, distance=True, digits=1),
)


def held_out(design: Design) -> tuple[Measure, ...]:
    """The measures of quality that the design was not trained on."""
    own = parts(design.reward())
    return tuple(m for m in MEASURES if m.quality and m.reward not in own and own.isdisjoint(m.kin))


@dataclass(frozen=True)
class Score:
    """One measure of N episodes: its value, and the values without (N,) that all episodes but the i-th have."""

    value: float
    without: np.ndarray

    @property
    def episodes(self) -> np.ndarray:
        """(N,) the values of the episodes, of a measure that is their mean."""
        n = len(self.without)
        return n * self.value - (n - 1) * self.without


@dataclass(frozen=True)
class Scores:
    """Everything about one policy. design: what it was trained on, None for nothing. seed: of training and playing."""

    design: str | None
    seed: int
    rewards: dict[str, Score]  # by design: mean return of an episode
    measures: dict[str, Score]  # by `Measure.key`
    samples: tuple[tuple[str, str], ...]  # prompts and completions
    episodes: tuple[Episode, ...] = ()  # what was played, of the untrained policy


class Whole(Reward):
    """A reward as one term under a name of its own, even if it is a sum."""

    def __init__(self, name: str, reward: Reward):
        self.name, self.reward, self.per_token = name, reward, reward.per_token

    def bind(self, context: RewardContext) -> Reward:
        return Whole(self.name, self.reward.bind(context))

    def __call__(self, transition: Transition) -> Tensor:
        return self.reward(transition)


def check_designs(designs: Sequence[Design], config: TrainConfig) -> None:
    """Raises ValueError, naming the design, if the env of `config` cannot pay one of them."""
    make_env(replace(config, reward=None), 1, "eval")  # the env's own troubles are not a design's
    for design in designs:
        try:
            make_env(config, 1, "eval", design.reward())
        except (ValueError, TypeError, ImportError, OSError) as error:
            raise ValueError(f"design {design.name!r} = {design.expression!r} cannot be paid here: {error}") from error


def score(
    config: TrainConfig, designs: Sequence[Design], episodes: int, design: str | None, model: str | None
) -> Scores:
    """Let a policy play `episodes` held-out examples, chosen and sampled by the config's seed, all in one batch.

    Args:
        config: of the run: env, prompts, sampling, seed. design: what the policy was trained on.
        model: the policy, a name as for `load_model`; None is the untrained model.
    """
    env = make_env(config, episodes, "eval", _panel(designs))
    dtype = getattr(torch, config.dtype)
    assert env.model is not None  # make_env has seen to it
    lm = load_model(model or env.model, device=env.device, dtype=dtype, fresh=True).requires_grad_(False)
    untrained = load_model(env.model, device=env.device, dtype=dtype)
    policy, reference = policy_and_reference(env, lm, untrained, config.sampling)
    examples = draw_examples(env, episodes, config.seed)
    batch = collect(env, Actor(policy, config.seed), episodes, examples=examples, seed=config.seed)
    kls = kl_of_episodes(batch, reference)
    terms = {name: _mean(paid) for name, paid in batch.reward_terms.items()}
    measures = {m.key: terms[_measure_term(m)] for m in MEASURES if m.reward is not None}
    measures |= {
        "distinct_2": _distinct_2(batch.texts),
        "diversity": _diversity(batch.texts),
        "length": _mean(batch.completion_lengths),
        "kl": _ratio(kls, batch.completion_lengths),
        "kl_episode": _mean(kls),
    }
    return Scores(
        design,
        config.seed,
        {d.name: terms[_design_term(d)] for d in designs},
        {m.key: measures[m.key] for m in MEASURES},
        tuple(zip(batch.prompts[:SAMPLES], batch.texts[:SAMPLES], strict=True)),
        tuple(recorded(batch, examples, env.model, "untrained")) if design is None else (),
    )


def _panel(designs: Sequence[Design]) -> Reward:
    """All designs and the measures that are rewards, as terms of one sum."""
    terms: list[Reward] = [Whole(_design_term(d), d.reward()) for d in designs]
    terms += [Whole(_measure_term(m), m.reward()) for m in MEASURES if m.reward is not None]
    return sum(terms[1:], terms[0])


def _design_term(design: Design) -> str:
    return f"design {design.name}"


def _measure_term(measure: Measure) -> str:
    return f"measure {measure.key}"


def _mean(values: Tensor) -> Score:
    """Of values (N,)."""
    return _ratio(values, torch.ones_like(values))


def _ratio(numerators: Tensor, denominators: Tensor) -> Score:
    """Σ a / Σ b, for (N,) of each."""
    a, b = (tensor.double().numpy(force=True) for tensor in (numerators, denominators))
    return Score(float(a.sum() / b.sum()), (a.sum() - a) / (b.sum() - b))


def _diversity(texts: Sequence[str]) -> Score:
    """Distinct bigrams among so many that are drawn at random, two for each text: longer texts do not lower it."""
    counts = [ngram_counts(text, 2) for text in texts]
    whole = Counter(gram for own in counts for gram in own.elements())
    often, size, without = Counter(whole.values()), 2 * len(texts), []
    for own in counts:
        rest = often.copy()
        for gram, n in own.items():
            rest[whole[gram]] -= 1
            rest[whole[gram] - n] += 1  # of those that stand there no more, none is found
        without.append(rarefied(rest, size))
    return Score(rarefied(often, size), np.array(without))


def _distinct_2(texts: Sequence[str]) -> Score:
    texts = list(texts)
    without = [distinct_n(texts[:i] + texts[i + 1 :], 2) for i in range(len(texts))]
    return Score(distinct_n(texts, 2), np.array(without))
