"""The settings of a bench of reward designs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.reward_bench.designs import DEFAULTS, Design, read_designs
from dyngen_agents.reward_bench.plan import Plan
from dyngen_agents.runs.config import TrainConfig, with_absolute_paths
from dyngen_env.envs.options import TaskOptions

SEEDS, UPDATES = 3, 20  # about a minute a run, 15 minutes together, on two cores
QUICK_SEEDS, QUICK_UPDATES, QUICK_DESIGNS = 1, 10, 4


def _agent() -> PPOConfig:
    """PPO's defaults for fewer updates. Returns are scaled to deviation 1: β is that of PPOConfig over VADER's 0.37."""
    return PPOConfig(learning_rate=8e-4, kl_coef=0.1)


@dataclass(frozen=True, kw_only=True)
class RewardBench(TaskOptions):
    """What is compared, in which environment, and how long each run may learn.

    What is asked of the agent are the environment's own keywords (`TaskOptions`), but for the reward.
    """

    designs: str = DEFAULTS
    """A .toml or .json file of names and rewards, like  kind = "sentiment - repetition" , or "defaults" for five."""
    seeds: int | None = None
    """Runs of each design, with seeds 0, 1, and so on. By default 3, or 1 with --quick."""
    updates: int | None = None
    """Updates of each run, the same for all. By default 20, or 10 with --quick."""
    minutes: float | None = None
    """Instead of updates: about how long a run may take. A trial before the first one finds their number."""
    quick: bool = False
    """A first look in 3 minutes: one seed, half the updates, and four of the default designs."""
    out: str | None = None
    """The folder. By default runs/<time>-rewards. With the same settings an unfinished bench there is gone on with."""
    env: str = TrainConfig.env
    """The registered environment; its own reward is not used."""
    episodes: int = 128
    """Episodes of an update, all played at a time."""
    eval_episodes: int = 256
    """Completions that each policy is measured by, all played at a time."""
    workers: int | None = None
    """Runs side by side. By default one for each core, or a single one if models are not on the CPU."""
    device: str | None = None
    """Where models run, such as "cuda". By default the CPU."""
    algorithm: PPOConfig = field(default_factory=_agent)
    """The agent, the same for all designs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reward is not None:
            raise ValueError(f"reward={self.reward!r}: a bench compares rewards, so give them as designs")
        for name, least in (("seeds", 1), ("updates", 1), ("workers", 1), ("eval_episodes", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}, expected at least {least}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes is {self.minutes}, expected more than 0")
        if self.minutes is not None and self.updates is not None:
            raise ValueError("give updates or minutes, not both: minutes say how many updates a run has")

    def plan(self) -> Plan:
        """What is to be done; with `minutes` the number of updates is open yet. Raises ValueError as `read_designs`."""
        designs: tuple[Design, ...] = read_designs(self.designs)
        if self.quick and self.designs == DEFAULTS:
            designs = designs[:QUICK_DESIGNS]
        training = TrainConfig(
            **self.given(),
            env=self.env,
            num_envs=self.episodes,
            episodes=self.episodes,
            updates=self.updates or (QUICK_UPDATES if self.quick else UPDATES),
            device=self.device,
            normalise_reward=True,
        )
        seeds = self.seeds or (QUICK_SEEDS if self.quick else SEEDS)
        return Plan(designs, seeds, with_absolute_paths(training), self.algorithm, self.eval_episodes)
