"""`dyngen bench rewards`: reward designs compared."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console
from tyro.conf import Positional

from dyngen_agents.cli.hints import mention_idle_gpu
from dyngen_agents.cli.options import Command
from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.reward_bench import RewardBench, bench_rewards
from dyngen_agents.reward_bench.outcome import RESULTS
from dyngen_agents.reward_bench.terminal import outcome_table
from dyngen_agents.training.progress import console

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Bench(Command):
    """Compare reward designs: train the same agent under each, and measure each agent by all of them and by more."""

    common = (
        "what", "designs", "seeds", "updates", "minutes", "quick", "out", "model", "prompts", "max_new_tokens",
        "workers", "device", "json", "quiet",
    )  # fmt: skip

    not_offered = ("reward",)  # the designs are the rewards

    what: Positional[Literal["rewards"]]
    """What is compared."""
    bench: RewardBench = field(default_factory=RewardBench)
    json: bool = False
    """Print one JSON object, the content of results.json, to standard output."""

    def execute(self) -> int:
        """Run the bench and show the matrix."""
        mention_idle_gpu(self.bench.device)
        stop = StopRequest()
        out = bench_rewards(self.bench, stop)
        if stop.signal is not None:
            log.info("not all runs are finished. Go on: the same command with --out %s", out)
            return 128 + stop.signal
        log.info("see %s: report.md, matrix.png, curves.png, results.json", out)
        results = json.loads((out / RESULTS).read_text(encoding="utf-8"))
        if not (self.json and self.quiet):
            (console if self.json else Console()).print(outcome_table(results))
        if self.json:
            print(json.dumps(results))
        return 0
