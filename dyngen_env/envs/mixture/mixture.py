"""What an env asks that plays several ids: the parts of each, put together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch

from dyngen_env.envs.asked import Asked, asked_of
from dyngen_env.envs.media import ShownMedia
from dyngen_env.envs.mixture.conversation import MixedConversation, UsersOfTasks
from dyngen_env.envs.mixture.ids import mixed_reward, task_ids
from dyngen_env.envs.mixture.source import MixedSource, OneTask
from dyngen_env.envs.options import OF_EACH_TASK, EnvOptions
from dyngen_env.rewards import make_reward
from dyngen_env.tasks import MixedTask, Prompts, Task
from dyngen_env.text.media import MediaRoom
from dyngen_env.text.tokenizer import Tokenizer

TRIED = 20  # prompts of a task that are tried with the tokenizer


def mixture_of(options: EnvOptions, tokenizer: Tokenizer, device: torch.device, places: Mapping[str, int]) -> Asked:
    """What an env with these options asks, in which `tasks` names several ids.

    Each row is asked what the id that it plays would ask. A reward that was given is paid instead of the ids' own, in
    all rows and without scales.

    Raises:
        ValueError: an id that cannot be part of a mixture, or of this one; or a keyword that belongs to each of them.
            The message says what to do.
    """
    given = [name for name in OF_EACH_TASK if name != "reward" and getattr(options, name) is not None]
    if given:
        raise ValueError(
            f"{given[0]}={getattr(options, given[0])!r}: in a mixture that belongs to each of the tasks. Register an "
            "id of your own with it (gym.register), and mix that, by dyngen_env.mix or dyngen/Mix-v0"
        )
    context, reserved = options.max_context_tokens, int(bool(options.task_tokens))
    assert context  # as in all EnvOptions
    ids = task_ids(options.tasks or "", options.task_scales)
    asked = {task.name: asked_of(task.options(options), tokenizer, device, places, reserved) for task in ids}
    for name, one in asked.items():
        _check_writable(tokenizer, name, one.task)
    room = reduce(MediaRoom.either, (one.media.room for one in asked.values()))
    media = ShownMedia(room, places, tokenizer)
    told = bool(options.task_tokens)
    tokens = _task_tokens(tokenizer, asked, bool(options.rating_tokens), media.placeholder) if told else {}
    mixture = MixedTask({name: one.task for name, one in asked.items()}, {task.name: task.weight for task in ids})
    parts = {name: OneTask(one.source, one.max_new_tokens, tokens.get(name)) for name, one in asked.items()}
    by_rows = options.task_choice == "rows"
    return Asked(
        task=mixture,
        source=MixedSource(mixture, parts, by_rows=by_rows, context=context, device=device),
        user=UsersOfTasks({name: one.user for name, one in asked.items()}),
        conversation=MixedConversation({name: one.conversation for name, one in asked.items()}),
        media=media,
        reward=mixed_reward(ids) if options.reward is None else make_reward(options.reward),
        max_turns=max(one.max_turns for one in asked.values()),
        max_new_tokens=max(one.max_new_tokens for one in asked.values()),
    )


def _check_writable(tokenizer: Tokenizer, name: str, task: Task) -> None:
    """Raises ValueError if the tokenizer lacks tokens for a prompt among the first of the task."""
    for example in task.examples[:TRIED] if isinstance(task, Prompts) else ():
        if not tokenizer.control_ids.isdisjoint(tokenizer.encode(example.prompt)):
            raise ValueError(
                f"tokenizer {tokenizer.name!r} cannot write the prompts of {name}, such as {example.prompt[:60]!r}: "
                "one tokenizer must write every task of a mixture; name another model"
            )


def _task_tokens(
    tokenizer: Tokenizer, asked: Mapping[str, Asked], rating_tokens: bool, placeholder: int
) -> dict[str, int]:
    """A control token for each task, of those that the tokenizer never puts around texts, by id.

    Args:
        placeholder: stands for pictures and sounds.

    Raises:
        ValueError: there are too few of them.
    """
    used = {*tokenizer.encode_prompt("a"), *tokenizer.end_ids, placeholder}
    if any(one.user.answers for one in asked.values()):
        used |= {*tokenizer.encode_opening("a"), *tokenizer.encode_reply("a", -1)}
    if rating_tokens:
        used |= {token for rating in range(-4, 5) for token in tokenizer.encode_reply("", -1, float(rating))}
    hf = getattr(tokenizer, "hf", None)
    others = {getattr(hf, f"{kind}_token_id", None) for kind in ("pad", "unk", "bos")}
    spare = sorted(tokenizer.control_ids - used - others)
    if len(spare) < len(asked):
        raise ValueError(
            f"task_tokens=True: tokenizer {tokenizer.name!r} has {len(spare)} control tokens to spare for {len(asked)} "
            "tasks: add special tokens to it and train the model to read them, or leave task_tokens out"
        )
    return dict(zip(asked, spare, strict=False))
