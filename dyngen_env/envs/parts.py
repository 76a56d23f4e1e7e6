"""The parts that an env is made of, built from its options: an argument that cannot work fails here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dyngen_env.arguments import usable_device
from dyngen_env.envs.asked import asked_of
from dyngen_env.envs.episode_source import EpisodeSource
from dyngen_env.envs.media import ShownMedia
from dyngen_env.envs.mixture.mixture import mixture_of
from dyngen_env.envs.observations import Observer
from dyngen_env.envs.options import EnvOptions
from dyngen_env.envs.reward_ledger import RewardLedger
from dyngen_env.envs.tokenizer_choice import choose_tokenizer
from dyngen_env.lm.modalities.places import places_of
from dyngen_env.mdp.banned import BannedWords, read_words
from dyngen_env.mdp.dynamics import Rules
from dyngen_env.mdp.rules import token_rules
from dyngen_env.rewards import RewardContext
from dyngen_env.tasks import Task
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.users.user import cuts_in


@dataclass(frozen=True)
class EnvParts:
    """What an env works with and never changes."""

    device: torch.device
    tokenizer: Tokenizer
    model: str | None  # the name of the language model, if there is one
    user: Any  # see `Asked`
    task: Task
    source: EpisodeSource  # the task's examples as tokens
    conversation: Any  # the user's answers as tokens: see `Asked`
    rules: Rules  # what each token does to an episode
    stop: tuple[bytes, ...]  # strings that end a turn
    banned: BannedWords | None
    ledger: RewardLedger
    observer: Observer
    media: ShownMedia  # what contexts may show beside words
    cuts_in: bool  # whether the user may interrupt a turn
    max_turns: int
    max_new_tokens: int
    max_context_tokens: int


def build_parts(options: EnvOptions) -> EnvParts:
    """The parts of an env with these options.

    Raises:
        ValueError: something that cannot work; the message says what, and what to do. FileNotFoundError: no such file.
        TypeError: a reward that is none.
    """
    device = usable_device(options.device)  # in a worker process this comes before the first tensor is made
    context, stop_strings, banned = options.max_context_tokens, options.stop, options.banned
    assert context and stop_strings is not None and banned is not None  # as in all EnvOptions
    tokenizer, model = choose_tokenizer(options.model, options.tokenizer, context)
    if options.rating_tokens:
        tokenizer.encode_reply("", 0, 0.0)  # raises if the tokenizer has no such tokens
    places = places_of(model)
    asked = (mixture_of if options.tasks else asked_of)(options, tokenizer, device, places)
    new = asked.max_new_tokens
    rules, stop = token_rules(tokenizer, stop_strings, new, device)
    words = read_words(banned)
    context_of_reward = RewardContext(model, tokenizer, device, asked.user.answers, asked.media.room, places)
    return EnvParts(
        device=device,
        tokenizer=tokenizer,
        model=model,
        user=asked.user,
        task=asked.task,
        source=asked.source,
        conversation=asked.conversation,
        rules=rules,
        stop=stop,
        banned=BannedWords(words, tokenizer, device) if words else None,
        ledger=RewardLedger(asked.reward, context_of_reward),
        observer=Observer(options.observation, tokenizer, context=context, max_new_tokens=new, media=asked.media),
        media=asked.media,
        cuts_in=cuts_in(asked.user),
        max_turns=asked.max_turns,
        max_new_tokens=new,
        max_context_tokens=context,
    )
