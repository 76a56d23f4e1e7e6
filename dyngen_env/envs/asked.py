"""What the rows of an env are asked: where examples come from, who answers, what is paid, how long turns may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dyngen_env.envs.conversation import Conversation
from dyngen_env.envs.episode_source import EpisodeSource, ExampleSource, PromptLimit
from dyngen_env.envs.media import ShownMedia
from dyngen_env.envs.options import EnvOptions
from dyngen_env.rewards import Reward, make_reward
from dyngen_env.tasks import Task, make_task
from dyngen_env.text.media.room import declared_media
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.users import make_user
from dyngen_env.users.user import media_of_answer, most_drafts


@dataclass(frozen=True)
class Asked:
    """What an env asks of its agent, of one task or of several."""

    task: Task
    source: EpisodeSource  # the task's examples as tokens
    user: Any  # a `users.User`; of several tasks, what is known of all their users (`mixture.UsersOfTasks`)
    conversation: Any  # the user's answers as tokens: a `Conversation`, or one of several (`mixture.MixedConversation`)
    media: ShownMedia  # what contexts may show beside words
    reward: Reward  # not bound to the env yet
    max_turns: int
    max_new_tokens: int


def asked_of(
    options: EnvOptions, tokenizer: Tokenizer, device: torch.device, places: Mapping[str, int], reserved: int = 0
) -> Asked:
    """What an env with these options asks.

    Args:
        places: how many tokens a picture or a sound takes, by kind.
        reserved: how many tokens of the context prompts must leave free, beside those of a turn.

    Raises:
        ValueError: something that cannot work; the message says what, and what to do. FileNotFoundError: no such file.
        TypeError: a reward that is none.
    """
    new, context, turns = options.max_new_tokens, options.max_context_tokens, options.max_turns
    assert new and context and turns  # as in all EnvOptions of one task
    user, task = make_user(options.user), make_task(options.prompts, options.split)
    of_example, of_answer = declared_media(task), media_of_answer(user)
    room = of_example + of_answer.times(turns * most_drafts(user))
    media = ShownMedia(room, places, tokenizer, of_example=of_example, of_answer=of_answer)
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
    limit = PromptLimit(encode, room=context - new - reserved, truncate=truncate, media=media)
    source = ExampleSource(task, limit, context=context, device=device)
    return Asked(task, source, user, conversation, media, make_reward(options.reward), turns, new)
