"""The parts that an env is made of, built from its options: an argument that cannot work fails here."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dyngen_env.arguments import usable_device
from dyngen_env.envs.conversation import Conversation
from dyngen_env.envs.episode_source import ExampleSource, PromptLimit
from dyngen_env.envs.media import ShownMedia
from dyngen_env.envs.observations import Observer
from dyngen_env.envs.options import EnvOptions
from dyngen_env.envs.reward_ledger import RewardLedger
from dyngen_env.envs.tokenizer_choice import choose_tokenizer
from dyngen_env.lm.modalities.places import places_of
from dyngen_env.mdp.banned import BannedWords, read_words
from dyngen_env.mdp.dynamics import Rules
from dyngen_env.mdp.rules import token_rules
from dyngen_env.rewards import RewardContext, make_reward
from dyngen_env.tasks import Task, make_task
from dyngen_env.text.media import NO_MEDIA
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.users import User, make_user
from dyngen_env.users.user import cuts_in, media_of_dialogue


@dataclass(frozen=True)
class EnvParts:
    """What an env works with and never changes."""

    device: torch.device
    tokenizer: Tokenizer
    model: str | None  # the name of the language model, if there is one
    user: User
    task: Task
    source: ExampleSource  # the task's examples as tokens
    conversation: Conversation  # the user's answers as tokens
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
    new, context, turns = options.max_new_tokens, options.max_context_tokens, options.max_turns
    stop_strings, banned = options.stop, options.banned
    assert new and context and turns and stop_strings is not None and banned is not None  # as in all EnvOptions
    tokenizer, model = choose_tokenizer(options.model, options.tokenizer, context)
    user, task = make_user(options.user), make_task(options.prompts, options.split)
    if options.rating_tokens:
        tokenizer.encode_reply("", 0, 0.0)  # raises if the tokenizer has no such tokens
    room = getattr(task, "media", NO_MEDIA) + media_of_dialogue(user, turns)
    media = ShownMedia(room, places_of(model), tokenizer)
    conversation = Conversation(
        user,
        tokenizer,
        max_turns=turns,
        rating_tokens=bool(options.rating_tokens),
        words_in_context=bool(options.words_in_context),
        reserve_tokens=new if options.context_overflow == "drop_oldest" else None,
        hide_drafts=options.drafts == "hidden",
        media=media,
    )
    if new >= context:
        raise ValueError(
            f"max_new_tokens={new} leaves no room for a prompt in max_context_tokens={context}: raise "
            "max_context_tokens or lower max_new_tokens"
        )
    encode = tokenizer.encode_opening if user.answers else tokenizer.encode_prompt
    encode("")  # raises if the tokenizer cannot write a dialogue, or begin a text
    truncate = options.prompt_overflow == "truncate_left"
    limit = PromptLimit(encode, room=context - new, truncate=truncate, media=media)
    rules, stop = token_rules(tokenizer, stop_strings, new, device)
    words = read_words(banned)
    return EnvParts(
        device=device,
        tokenizer=tokenizer,
        model=model,
        user=user,
        task=task,
        source=ExampleSource(task, limit, context=context, device=device),
        conversation=conversation,
        rules=rules,
        stop=stop,
        banned=BannedWords(words, tokenizer, device) if words else None,
        ledger=RewardLedger(make_reward(options.reward), RewardContext(model, tokenizer, device, user.answers)),
        observer=Observer(options.observation, tokenizer, context=context, max_new_tokens=new, media=media),
        media=media,
        cuts_in=cuts_in(user),
        max_turns=turns,
        max_new_tokens=new,
        max_context_tokens=context,
    )
