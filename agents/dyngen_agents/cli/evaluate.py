"""`dyngen eval RUN`: a run's model beside the untrained one."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from rich.console import Console
from tyro.conf import Positional

from dyngen_agents.cli.options import Command
from dyngen_agents.cli.tables import evaluation_table
from dyngen_agents.evaluation.best_of_n import standing
from dyngen_agents.evaluation.evaluate import evaluate
from dyngen_agents.runs.folder import find_run

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Eval(Command):
    """Compare a run's model with the untrained one, on prompts that were not trained on."""

    run: Positional[str]
    """A run's folder, its name in runs/, or "latest"."""
    episodes: int = 256
    """How many completions of each model."""
    seed: int = 0
    """Of the choice of prompts and of the sampling; both models get the same."""
    device: str | None = None
    """Where models run, such as "cuda". By default the run's own device."""
    best_of: int = 16
    """Also let the untrained model choose the best of so many completions of its own: the line to beat. 0 does not."""
    json: bool = False
    """Print one JSON object, {"trained", "untrained"}, to standard output, and all else to standard error."""

    def execute(self) -> int:
        """Evaluate and show the figures."""
        run = find_run(self.run)
        log.info("evaluating %s", run)
        evaluation = evaluate(run, self.episodes, self.seed, device=self.device, best_of=self.best_of)
        if self.json:
            print(json.dumps(evaluation))
        else:
            Console().print(evaluation_table(evaluation))
            if line := evaluation["untrained"].get("best_of_n"):
                trained = evaluation["trained"]
                print(standing(line, trained["reward_mean"], trained["kl_per_episode"]))
        return 0
