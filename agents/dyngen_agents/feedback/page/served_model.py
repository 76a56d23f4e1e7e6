"""The model that people talk with: a run, with all that it was trained under, or any model by name."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dyngen_agents.feedback.page.context import Frame
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.folder import find_run
from dyngen_agents.runs.opened_run import open_run
from dyngen_env import mdp
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.loading.fingerprint import fingerprint
from dyngen_env.lm.loading.models import context_window, load_model, load_tokenizer
from dyngen_env.mdp.rules import token_rules
from dyngen_env.text.huggingface import HFTokenizer, adapted
from dyngen_env.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_CONTEXT = 2048  # tokens: bounds what the cache of one dialogue takes
MAX_BANNED, MAX_BANNED_LENGTH = 50, 40  # words that one person may ban, and characters of each


@dataclass(frozen=True)
class TurnSettings:
    """How one turn is to be sampled.

    Raises:
        ValueError: more banned words, or longer ones, than a person may ask for, or no token at all.
    """

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    banned: tuple[str, ...] = ()
    """Words that the turn must not contain, beside those that the model's env bans anyhow."""
    max_new_tokens: int = 200

    def __post_init__(self) -> None:
        if len(self.banned) > MAX_BANNED or any(not 0 < len(word) <= MAX_BANNED_LENGTH for word in self.banned):
            raise ValueError(
                f"expected at most {MAX_BANNED} banned words of 1 to {MAX_BANNED_LENGTH} characters each, got "
                f"{len(self.banned)}"
            )
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}, expected at least 1")

    def record(self) -> dict[str, Any]:
        """It as values that JSON can hold, for the store."""
        s = self.sampling
        return {
            "temperature": s.temperature,
            "top_k": s.top_k,
            "top_p": s.top_p,
            "banned": list(self.banned),
            "max_new_tokens": self.max_new_tokens,
        }


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A language model, the policy that acts by it, and the rules of its turns.

    Attributes:
        name: what it was called on the command line. fingerprint: of its files (`dyngen_env.lm.loading.fingerprint`).
        reference: the model before training, which the page compares the policy with.
        settings: the turns' unless somebody wants others.
        stop: strings that end a turn. banned: words that nobody may write.
    """

    name: str
    fingerprint: str
    policy: CausalLMPolicy
    reference: Reference
    frame: Frame
    settings: TurnSettings
    stop: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()
    version: str = "base"

    @property
    def lm(self) -> PreTrainedModel:
        """The language model."""
        return self.policy.lm

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return self.frame.tokenizer

    def own_tokenizer(self) -> Tokenizer:
        """A tokenizer for another thread: those of Hugging Face cannot be used by two at the same time."""
        tokenizer = self.tokenizer
        return HFTokenizer(copy.deepcopy(tokenizer.hf)) if isinstance(tokenizer, HFTokenizer) else tokenizer

    def engine(self) -> Engine:
        """A cache for one dialogue."""
        engine = Engine(self.lm)
        engine.label_embedding = self.policy.label_embedding
        return engine

    def distribution(self, settings: TurnSettings) -> TokenDistribution:
        """What may be drawn in a turn. Raises ValueError if a banned word cannot be banned."""
        return _distribution(self, settings.banned).with_sampling(settings.sampling)

    def rules(self, settings: TurnSettings) -> tuple[mdp.Rules, tuple[bytes, ...]]:
        """What ends a turn, and the stop strings in UTF-8."""
        return _rules(self, settings.max_new_tokens)


@lru_cache(maxsize=64)
def _distribution(model: ServedModel, banned: tuple[str, ...]) -> TokenDistribution:
    words = tuple(dict.fromkeys((*model.banned, *banned)))
    return TokenDistribution.of(model.tokenizer, banned=words, device=model.lm.device)


@lru_cache(maxsize=64)
def _rules(model: ServedModel, max_new_tokens: int) -> tuple[mdp.Rules, tuple[bytes, ...]]:
    return token_rules(model.tokenizer, model.stop, max_new_tokens, model.lm.device)


def serve_model(name: str, *, device: str = "cpu", temperature: float | None = None) -> ServedModel:
    """The model of a run, by its folder, its name in runs/ or "latest", or any model by name.

    Args:
        temperature: of turns, unless a person chooses another; None: the run's own, or 0.7.

    Raises:
        FileNotFoundError, ValueError: there is no such model, or it cannot be used.
    """
    try:
        find_run(name)
    except FileNotFoundError:
        if name == "latest":
            raise
        return _plain(name, device, 0.7 if temperature is None else temperature)
    return _of_run(name, device, temperature)


def _plain(name: str, device: str, temperature: float) -> ServedModel:
    lm, tokenizer = load_model(name, device=device), adapted(load_tokenizer(name))
    sampling = SamplingConfig(temperature)
    distribution = TokenDistribution.of(tokenizer, sampling, device=lm.device)
    frame = Frame(tokenizer, min(MAX_CONTEXT, context_window(lm.config)))
    frame.tokenizer.encode_opening("")  # raises ValueError if nobody can talk with this model
    settings = TurnSettings(sampling, max_new_tokens=min(200, frame.max_context_tokens // 4))
    policy, reference = CausalLMPolicy(lm, distribution), Reference(lm, distribution)
    return ServedModel(name, fingerprint(name), policy, reference, frame, settings)


def _of_run(name: str, device: str, temperature: float | None) -> ServedModel:
    run = open_run(name, num_envs=1, device=device)
    env, options = run.env, run.env.options
    sampling = run.config.sampling
    if temperature is not None:
        sampling = replace(sampling, temperature=temperature)
    frame = Frame(env.tokenizer, env.max_context_tokens, bool(options.rating_tokens), bool(options.words_in_context))
    return ServedModel(
        name=str(run.folder),
        fingerprint=fingerprint(str(run.folder)),
        policy=run.policy,
        reference=run.reference,
        frame=frame,
        settings=TurnSettings(sampling, max_new_tokens=env.max_new_tokens),
        stop=_strings(options.stop),
        banned=_strings(run.banned),
    )


def _strings(words: str | Sequence[str] | None) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words or ())
