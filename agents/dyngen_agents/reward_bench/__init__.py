"""Reward designs compared: the same agent trained under each, every agent measured by all of them and by more."""

from dyngen_agents.reward_bench.bench import bench_rewards
from dyngen_agents.reward_bench.config import RewardBench

__all__ = ["RewardBench", "bench_rewards"]
