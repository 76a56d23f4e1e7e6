"""A rollout that processes share: each plays every P-th row of the batch that one process would play.

Rows draw their prompts and users from their own seeds, and the actor's uniforms are a hash of seed, row and step. So
the episodes are those of one process, but for the last bits of sums in batches of another size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dyngen_agents.data.reward_scale import UNSCALED, RewardScale, scaled_rewards
from dyngen_agents.data.rollout import Act, collect, quota
from dyngen_agents.data.trajectories import Trajectories, join
from dyngen_agents.distributed.interrupt import Stopped
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.types import Example


def collect_together(
    env: TextGenVectorEnv,
    actor: Callable[[int], Act],
    episodes: int,
    *,
    seed: int,
    actor_seed: int,
    group_size: int = 1,
    bootstrap: Callable[[Tensor, Tensor], Tensor] | None = None,
    on_token: Callable[[int], None] | None = None,
    processes: Processes = SINGLE_PROCESS,
) -> Trajectories:
    """Play whole episodes and return all of them in every process, in the order of rows.

    Args:
        env: this process's rows; row i of it is row rank + i P of the batch. Otherwise as for `rollout.collect`.
        actor: gives the behaviour policy of a seed; it knows which rows it plays.
        episodes: of all processes; a multiple of P and of `group_size`.
        seed: row i of the batch is seeded seed + i, but a group's rows alike. actor_seed: of the sampling.
        group_size: G > 1 plays each example G times, in adjacent episodes that share a number in `groups`. All of a
            group meet the same user with the same persona, who draws the same chances: what tells their returns apart
            is the agent's doing, so that the others of the group are a baseline.
        bootstrap, on_token: as for `collect`, told of this process's rows.

    Raises:
        Stopped: `on_token` raised it, here or in another process.
        ProcessFailed: the rollout failed in another process.
        ValueError: as `collect`, or the numbers do not divide.
    """
    for name, number in (("the number of processes", processes.world_size), ("group_size", group_size)):
        if episodes < 1 or number < 1 or episodes % number:
            raise ValueError(f"episodes={episodes} must be a positive multiple of {name}, {number}")
    rows = env.num_envs * processes.world_size

    def seeds(part: int, count: int) -> list[int]:
        episodes_of_part = range(part * rows + processes.rank, (part + 1) * rows, processes.world_size)
        return [seed + episode // group_size for episode in episodes_of_part[:count]]

    def play(part: int, count: int, examples: list[Example] | None) -> Trajectories:
        of_rows = seeds(part, env.num_envs if examples is None else count)
        return collect(
            env, actor(actor_seed + part), count,
            seed=of_rows, examples=examples, bootstrap=bootstrap, on_token=on_token,
        )  # fmt: skip

    def mine() -> Trajectories | None:
        try:
            if group_size == 1:
                return play(0, episodes // processes.world_size, None).to("cpu")
            examples = repeated_examples(env, episodes // group_size, group_size, seed)
            starts = range(0, episodes, rows)
            chosen = [examples[start : start + rows][processes.rank :: processes.world_size] for start in starts]
            parts = [play(part, len(some), some) for part, some in enumerate(chosen)]
            return join(parts).to("cpu")
        except Stopped:
            return None

    parts = processes.gather(mine)
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        raise Stopped
    # Where each episode stands in the batch of one process: by its row if rows play on, by its number if they do not.
    numbers = torch.arange(episodes)
    if group_size == 1:
        numbers = torch.arange(rows).repeat_interleave(quota(episodes, rows))
    order = torch.cat([numbers[numbers % processes.world_size == rank] for rank in range(processes.world_size)])
    batch = join(whole).take(order.argsort(stable=True)).to(env.device)
    return replace(batch, groups=torch.arange(episodes, device=env.device) // group_size)


@dataclass(frozen=True)
class EnvPlay:
    """`collect_together` with everything said but who plays: what an algorithm is given to play with."""

    env: TextGenVectorEnv
    episodes: int
    seed: int
    actor_seed: int
    on_token: Callable[[int], None] | None = None
    processes: Processes = SINGLE_PROCESS
    reward_scale: RewardScale = UNSCALED
    missing_eos_penalty: float = 0.0

    def learned_rewards(self, batch: Trajectories) -> Tensor:
        """The rewards (N, L) of episodes as the learner learns from them."""
        return scaled_rewards(batch, self.reward_scale, self.missing_eos_penalty)

    def __call__(
        self,
        actor: Callable[[int], Act],
        *,
        group_size: int = 1,
        bootstrap: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Trajectories:
        """The episodes. Arguments and errors are those of `collect_together`."""
        return collect_together(
            self.env,
            actor,
            self.episodes,
            seed=self.seed,
            actor_seed=self.actor_seed,
            group_size=group_size,
            bootstrap=bootstrap,
            on_token=self.on_token,
            processes=self.processes,
        )


def repeated_examples(env: TextGenVectorEnv, count: int, group_size: int, seed: int) -> list[Example]:
    """`count` examples, each `group_size` times in a row; the i-th is what a row seeded seed + i draws."""
    drawn: list[Example] = []
    while len(drawn) < count:
        env.reset(seed=seed + len(drawn))
        drawn.extend(env.examples)
    return [example for example in drawn[:count] for _ in range(group_size)]
