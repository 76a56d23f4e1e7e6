"""Recorded episodes as something to learn from: a folder that `record` writes, or a file of JSON lines of one's own.

    recording.json    the env and its keywords, the model, its vocabulary, who played
    episodes.jsonl    an episode a line (see `data.episodes`), as `dyngen eval` writes and `dyngen rescore` reads them
    media/            the pictures and sounds that they show (see `text.media.folder`)

Why not Minari, whose datasets open in other offline-RL tools: a Minari dataset holds every observation, and an
observation here is the whole context so far. Measured with minari 0.5.4 on dyngen/Dialogue-v0, an episode of 64 tokens
takes 120 kB, for either of its storage formats, where a line here takes 2; it has no place for the log-probs of the
behaviour policy, and `pip install "minari[create,hdf5]"` brings jax and h5py, 500 MB. Who wants such a dataset needs no
code of ours: `minari.DataCollector(gym.make("dyngen/Dialogue-v0"))` records our envs as it does any other. Why not a
binary file of tokens: JSON lines are read at a million tokens in a second, and people can read them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dyngen_agents.data.encoding import encoded_anew
from dyngen_agents.data.episode_store import EpisodeStore, StoredEpisode
from dyngen_agents.data.episodes import EPISODES, Episode, EpisodeTokens, line_of, read_episodes, recorded
from dyngen_agents.data.forbidden_tokens import ForbiddenTokens
from dyngen_agents.data.rollout import Act, can_be_cut, collect
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.loading.models import context_window, load_config, load_tokenizer
from dyngen_env.text.huggingface import adapted
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Example

RECORDING = "recording.json"

log = logging.getLogger(__name__)


def record(
    env: TextGenVectorEnv,
    actor: Callable[[int], Act],
    examples: Sequence[Example],
    folder: Path,
    about: dict[str, Any],
    *,
    seed: int = 0,
    policy: str = "",
    on_token: Callable[[int], None] | None = None,
) -> list[float]:
    """Play an episode of each example and write all of them to a folder, some at a time: a kill costs the last ones.

    Args:
        env: as for `collect`. actor: gives the behaviour policy of a seed.
        about: what recording.json says beside the vocabulary: the env's id and keywords.
        seed: of the users and of the sampling. policy: who plays, as each episode will say.

    Returns:
        the episodes' returns.

    Raises:
        FileExistsError: the folder has something in it.
        ValueError: as `collect`, or two turns of the agent have nothing between them.
    """
    if can_be_cut(env):
        raise ValueError(
            "a recording keeps an episode as one row of tokens, and this env takes tokens out of contexts: record with "
            'context_overflow="end" and drafts="visible", and a larger max_context_tokens'
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty: choose another folder for the recording")
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {"vocabulary": len(env.tokenizer), "tokenizer": tokenizer_fingerprint(env.tokenizer)}
    header = {"format": 1, **about, "model": env.model, **vocabulary, "policy": policy, "seed": seed}
    (folder / RECORDING).write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
    returns: list[float] = []
    with (folder / EPISODES).open("w", encoding="utf-8") as lines:
        for start in range(0, len(examples), env.num_envs):
            some = list(examples[start : start + env.num_envs])
            seeds = [seed + start + i for i in range(len(some))]
            batch = collect(env, actor(seed + start), len(some), examples=some, seed=seeds, on_token=on_token)
            for episode in recorded(batch, some, env.model or env.tokenizer.name, policy):
                if episode.tokens is None:
                    raise ValueError("two turns of the agent have nothing between them, so they cannot be told apart")
                lines.write(line_of(episode, folder))
            lines.flush()
            returns += batch.episode_returns.tolist()
    return returns


def recording_of(data: str | Path) -> dict[str, Any]:
    """What the recording.json in a folder says; empty for a file of lines.

    Raises:
        FileNotFoundError: there are no episodes. ValueError: a recording of another version.
    """
    header = _episodes_file(Path(data)).parent / RECORDING
    if Path(data).is_file() or not header.is_file():
        return {}
    about = json.loads(header.read_text(encoding="utf-8"))
    if about.get("format") != 1:
        raise ValueError(f"{header} has format {about.get('format')!r}, expected 1: record again with this version")
    return about


def read_recorded(data: str | Path, env: TextGenVectorEnv) -> EpisodeStore:
    """Recorded episodes in the vocabulary of an env.

    Tokens that were recorded are taken as they are; other texts are encoded, with what ends a turn. Episodes that are
    too long, or that the agent of this env could not have written, are left out, with a warning. What was paid for each
    token is what was recorded of it; else `reward` is paid at the end; else every rating of a user with the last
    token of the turn that was rated; else nothing.

    Args:
        data: a folder that `record` has written, or any with an episodes.jsonl; or a file of such lines.

    Raises:
        FileNotFoundError: there are no episodes. ValueError: a line is no episode, the tokens are of another
            vocabulary, or every episode would be left out; the message says what to do.
    """
    file, about = _episodes_file(Path(data)), recording_of(data)
    episodes = read_episodes(file)
    if about:
        _check_vocabulary(file.parent, about["model"], about["vocabulary"], about["tokenizer"], env)
    stop = env.options.stop or ()
    store, too_long = [], 0
    window = (
        min(env.max_context_tokens, context_window(load_config(env.model))) if env.model else env.max_context_tokens
    )
    for episode in episodes:
        tokens = episode.tokens
        if tokens is None:
            tokens = encoded_anew(
                episode,
                env.tokenizer,
                env.model or "",
                ended=True,
                stop=(stop,) if isinstance(stop, str) else stop,
                rating_tokens=bool(env.options.rating_tokens),
                places=env.media.places,
            )
        elif not about and tokens.model != env.model:
            check_vocabulary(file, tokens.model, env)
        if len(tokens.ids) > window:
            too_long += 1
        else:
            store.append(_stored(episode, tokens, env.tokenizer))
    if not store:
        raise ValueError(
            f"every episode of {file} has more than the {window} tokens that env and model can hold: raise "
            "max_context_tokens, or choose a model with a larger window"
        )
    if too_long:
        log.warning(
            "%s: %d of %d episodes have more than %d tokens and are left out", file, too_long, len(episodes), window
        )
    forbidden = ForbiddenTokens(env)
    writable = forbidden.without(store)
    if forbidden.episodes:
        left_out = (
            f"{file}: of {len(store)} episodes, {forbidden} are left out: train without the bans, or on other data"
        )
        if not writable:
            raise ValueError(left_out)
        log.warning("%s", left_out)
    return EpisodeStore(writable)


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """A string that is equal for vocabularies in which every id means the same."""
    meaning = (tuple(tokenizer.token_bytes), sorted(tokenizer.end_ids), sorted(tokenizer.control_ids))
    return "sha256:" + hashlib.sha256(repr(meaning).encode()).hexdigest()


def _episodes_file(data: Path) -> Path:
    """The file of lines. Raises FileNotFoundError if there is none; the message says how to get one."""
    file = data.expanduser()
    file = file if file.is_file() else file / EPISODES
    if not file.is_file():
        what = "holds no episodes" if data.is_dir() else "is not there"
        raise FileNotFoundError(
            f"data {str(data)!r} {what}: dyngen record --episodes 1000 --out {data} makes some, and a .jsonl file of "
            '{"prompt": "...", "completion": "...", "reward": 1.0} will do, too'
        )
    return file


def _stored(episode: Episode, tokens: EpisodeTokens, tokenizer: Tokenizer) -> StoredEpisode:
    chosen = [False] * len(tokens.ids)
    for start, end in tokens.turns:
        chosen[start:end] = [True] * (end - start)
    mask, logprobs = torch.tensor(chosen), torch.zeros(len(chosen))
    if tokens.logprobs is not None:
        logprobs[mask] = torch.tensor(tokens.logprobs, dtype=torch.float32)
    return StoredEpisode(
        torch.tensor(tokens.ids, dtype=torch.int64),
        mask,
        _paid(mask, episode, tokens),
        logprobs,
        prompt=episode.example.prompt,
        text=episode.completions[-1],
        finish_reason=episode.finish_reason,
        stopped=tokens.ids[-1] in tokenizer.end_ids or episode.finish_reason == "stop",
        media=episode.media,
    )


def _paid(mask: Tensor, episode: Episode, tokens: EpisodeTokens) -> Tensor:
    """What each of the ids was paid, (T,), as `read_recorded` explains. mask: (T,) bool, the agent's."""
    rewards = [0.0] * len(mask)
    if tokens.rewards is not None:
        return torch.zeros(len(mask)).masked_scatter(mask, torch.tensor(tokens.rewards, dtype=torch.float32))
    if episode.reward is not None:
        rewards[-1] = float(episode.reward)
    else:
        for (_, end), answer in zip(tokens.turns, episode.feedback, strict=False):
            rewards[end - 1] = float(answer.rating or 0.0)
    return torch.tensor(rewards)


def check_vocabulary(where: Path, model: str, env: TextGenVectorEnv) -> None:
    """Raises ValueError unless tokens of `model` mean the same in the env. where: what holds them, for the message."""
    _check_vocabulary(where, model, *_vocabulary_of(model), env)


def _check_vocabulary(where: Path, model: str, size: int, fingerprint: str, env: TextGenVectorEnv) -> None:
    """Raises ValueError unless tokens of `model` mean the same in the env."""
    if fingerprint != tokenizer_fingerprint(env.tokenizer):
        raise ValueError(
            f"{where} holds tokens of {model!r}, whose vocabulary has {size}, and the env's model {env.model!r} has "
            f"{len(env.tokenizer)} or others: train with model={model!r}, or give lines without `tokens`, which are "
            "encoded anew"
        )


@cache
def _vocabulary_of(model: str) -> tuple[int, str]:
    """Size and fingerprint of a model's vocabulary; of one that cannot be found, 0 and nothing."""
    try:
        tokenizer = adapted(load_tokenizer(model))
    except (OSError, ValueError):
        return 0, ""
    return len(tokenizer), tokenizer_fingerprint(tokenizer)
