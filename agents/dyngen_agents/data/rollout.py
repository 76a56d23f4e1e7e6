"""Playing episodes: `collect(env, actor, episodes)`.

Which row plays how many episodes is fixed beforehand. Taking the first episodes that finish would favour short ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from dyngen_agents.data.playing import Act, Player, TokenByToken, player
from dyngen_agents.data.segments import Columns, CutEpisodes, Starts
from dyngen_agents.data.trajectories import Trajectories, join
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.mdp.rules import ended_by_agent
from dyngen_env.scoring.people import played_by
from dyngen_env.types import Example


def collect(
    env: TextGenVectorEnv,
    actor: Act,
    episodes: int,
    *,
    seed: int | Sequence[int] | None = None,
    examples: list[Example] | None = None,
    bootstrap: Callable[[Tensor, Tensor], Tensor] | None = None,
    on_token: Callable[[int], None] | None = None,
    steps: int | None = None,
) -> Trajectories:
    """Play whole episodes and return them, in the order of rows. Where the env takes tokens out of contexts, an episode
    is all of its token rows, one behind the other (`data.segments`).

    Args:
        env: `output="torch"`, `autoreset_mode="same_step"`, tokens as observations.
        actor: (tokens (B, L), lengths (B,)) -> Action.
        episodes: how many; row i plays its fixed share of them.
        seed: reseeds the env's rows, by one int or one for each row; None goes on, where rows that have played their
            share have played on in the meantime, which depends on the actor. With `examples`, a list has one seed
            for each of them: episodes of equal seed and example meet the same user, who draws the same chances.
        examples: play these, one an episode, instead of drawing.
        bootstrap: V (R,) of the last states (tokens (R, L), lengths (R,)) of episodes that were cut
            off before their last turn was paid (truncated and not terminated); None means 0.
        on_token: told after each step, or several, how many tokens were chosen for episodes that count.
        steps: how many tokens a row may be given before the host looks which rows have ended; the episodes do not
            depend on it. None: one on a CPU, on a GPU as many as pay (`playing.player`).

    Raises:
        ValueError: the env is set up otherwise, or the numbers do not divide.
    """
    _check(env, episodes, examples, seed)
    playing = player(env, actor, steps)

    def play(shares: Tensor, **reset: Any) -> Trajectories:
        return _play(env, playing, shares, partial(_reset, env, **reset), bootstrap=bootstrap, on_token=on_token)

    if examples is None:
        parts = [play(quota(episodes, env.num_envs), seed=seed)]
    else:
        parts = []
        for start in range(0, episodes, env.num_envs):
            chosen = examples[start : start + env.num_envs]
            idle = env.num_envs - len(chosen)
            ones = torch.tensor([1] * len(chosen) + [0] * idle)
            options = {"prompt": chosen + [chosen[-1]] * idle}
            if isinstance(seed, Sequence):
                parts.append(play(ones, seed=[*seed[start : start + len(chosen)], *[None] * idle], options=options))
            else:
                parts.append(play(ones, seed=seed, options=options))
                seed = None
    return _with_ends(env, join(parts))


def play_on(env: TextGenVectorEnv, actor: Act, *, steps: int | None = None) -> Trajectories:
    """Play to its end the episode that each row of an env is amid, such as those of `env.fork`, in the order of rows.

    What stood in a row before is context: `completion_mask`, log-probs and rewards are those of the tokens that `actor`
    chooses from now on. `reward_terms` are those of whole episodes. What follows a truncation counts as nothing.

    Args:
        env, actor, steps: as for `collect`.
    """
    # Who gives rows several tokens counts an episode's steps by itself, from its beginning on.
    playing = TokenByToken(env, actor) if env.options.max_episode_steps else player(env, actor, steps)
    ones = torch.ones(env.num_envs, dtype=torch.int64)
    return _with_ends(env, _play(env, playing, ones, lambda: env.state.tokens, bootstrap=None, on_token=None))


def _with_ends(env: TextGenVectorEnv, batch: Trajectories) -> Trajectories:
    """Episodes of which it is told whether the agent has ended the last turn itself; each is a group of its own."""
    ended = ended_by_agent(batch.tokens, batch.completion_mask, env.rules).tolist()
    stops = [stop and reason != "illegal" for stop, reason in zip(ended, batch.finish_reasons, strict=True)]
    return replace(batch, groups=torch.arange(len(batch), device=env.device), stops=stops)


def _reset(env: TextGenVectorEnv, **arguments: Any) -> Tensor:
    """Begin new episodes in all rows; their tokens (B, L)."""
    tokens, _ = env.reset(**arguments)
    return tokens


def _play(
    env: TextGenVectorEnv,
    player: Player,
    shares: Tensor,
    begin: Callable[[], Tensor],
    *,
    bootstrap: Callable[[Tensor, Tensor], Tensor] | None,
    on_token: Callable[[int], None] | None,
) -> Trajectories:
    """Row i plays shares[i] episodes. Rows that have played theirs go on unheeded, which keeps the batch's shape.

    Args:
        begin: lets the rows begin, and gives the tokens (B, L) that stand in them then.
    """
    left = shares.numpy().copy()
    with played_by(logprobs=lambda: player.logprobs, counted=lambda: left > 0):
        return _play_until_done(env, player, left, begin(), bootstrap=bootstrap, on_token=on_token)


def _play_until_done(
    env: TextGenVectorEnv,
    player: Player,
    left: np.ndarray,
    tokens: Tensor,
    *,
    bootstrap: Callable[[Tensor, Tensor], Tensor] | None,
    on_token: Callable[[int], None] | None,
) -> Trajectories:
    """Row i, in which tokens[i] (L,) stand, has left[i] episodes to play, which becomes 0."""
    prompts = [example.prompt for example in env.examples]
    rewards = torch.zeros(tokens.shape, device=tokens.device)
    began = np.zeros_like(left)  # when each row's episode began, in steps of the batch,
    busy = np.zeros_like(left)  # and how many tokens it has been given
    clock = 0
    finished: list[tuple[Tensor, Trajectories]] = []
    cuts = CutEpisodes()
    last_of_row: dict[
        int, tuple[list[int], int, int]
    ] = {}  # where the waiting of a row's last episode stands, and since when
    player.begin(tokens)
    while (left > 0).any():
        given, steps, outcome = player.play(left)
        clock += steps
        busy += given
        if on_token is not None:
            on_token(int(given[left > 0].sum()))
        if outcome is None:
            continue
        rewards.scatter_(1, outcome.at, outcome.rewards.unsqueeze(1))
        infos, truncated = outcome.infos, outcome.truncated
        if "segment" in infos:
            lost = infos["_segment"].nonzero().squeeze(1)
            before = Columns(infos["segment"], player.chosen, player.logprobs, player.values, rewards)
            counted = lost[torch.from_numpy(left > 0).to(lost.device)[lost]]
            cuts.cut(counted, before, player.notes_of(counted))
            player.cut(lost)
            rewards[lost] = 0
        if "final_obs" not in infos:
            continue
        ended = (outcome.terminated | truncated).nonzero().squeeze(1)
        counts = torch.from_numpy(left > 0).to(ended.device)
        counted = ended[counts[ended]]
        if len(counted):
            final, info = infos["final_obs"][counted], infos["final_info"]
            rows = counted.tolist()
            last = torch.zeros(len(rows), device=tokens.device)
            cut = (truncated & ~outcome.terminated)[counted]
            if bootstrap is not None and bool(cut.any()):
                last = torch.where(cut, bootstrap(final, (final >= 0).sum(1)), 0.0)
            talks = info.get("dialogue", [None] * env.num_envs)
            terms = {k: v[counted].float() for k, v in info["reward_terms"].items() if not k.startswith("_")}
            waited = (clock - began - busy)[rows].tolist()
            seen = Columns(final, *(x[counted] for x in (player.chosen, player.logprobs, player.values, rewards)))
            starts, notes = list[Starts](), player.notes_of(counted)
            if can_be_cut(env):
                seen, starts, notes = cuts.whole(counted, seen, notes)
            part = Trajectories(
                **seen._asdict(),
                starts=starts,
                bootstrap=last,
                groups=counted,
                prompts=[prompts[row] for row in rows],
                tasks=[info["task"][row] for row in rows] if "task" in info else [],
                texts=[info["text"][row] for row in rows],
                finish_reasons=[info["finish_reason"][row] for row in rows],
                reward_terms=terms,
                dialogues=[talks[row] for row in rows],
                notes=notes,
                waited=waited,
                media=[info["media"][row] for row in rows] if "media" in info else (),
            )
            finished.append((counted, part))
            left[rows] -= 1
            last_of_row |= {row: (waited, i, clock) for i, row in enumerate(rows)}
        rewards[ended] = 0
        player.clear(ended)
        every = ended.tolist()
        cuts.forget(every)
        began[every], busy[every] = clock, 0
        examples = env.examples
        for row in every:
            prompts[row] = examples[row].prompt
    player.finish()
    for waited, i, since in last_of_row.values():
        waited[i] += clock - since
    # By row, and in a row by time: the order does not depend on which episode was short.
    rows_of = torch.cat([rows for rows, _ in finished])
    return join([part for _, part in finished]).take(rows_of.argsort(stable=True))


def can_be_cut(env: TextGenVectorEnv) -> bool:
    """Whether the env takes tokens out of contexts, so that an episode has several token rows (`data.segments`)."""
    return env.options.context_overflow == "drop_oldest" or env.options.drafts == "hidden"


def quota(episodes: int, rows: int) -> Tensor:
    """(B,) int64: how many of the episodes each row plays."""
    return torch.tensor([episodes // rows + (row < episodes % rows) for row in range(rows)])


def _check(
    env: TextGenVectorEnv, episodes: int, examples: list[Example] | None, seed: int | Sequence[int] | None
) -> None:
    if env.output != "torch" or env.autoreset_mode != AutoresetMode.SAME_STEP:
        raise ValueError(
            'collect needs an env with output="torch" and autoreset_mode="same_step", got '
            f"output={env.output!r}, autoreset_mode={env.autoreset_mode.value!r}"
        )
    if episodes < 1:
        raise ValueError(f"episodes={episodes} must be positive")
    if examples is not None and len(examples) != episodes:
        raise ValueError(f"{len(examples)} examples for {episodes} episodes: give one each")
    if examples is not None and isinstance(seed, Sequence) and len(seed) != episodes:
        raise ValueError(f"{len(seed)} seeds for {episodes} examples: give one each")
