"""`dyngen inspect RUN`: a page on which every token tells its numbers."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from dyngen_agents.cli.options import Command
from dyngen_agents.inspection.inspect_run import inspect_run
from dyngen_agents.inspection.page import write_page
from dyngen_agents.runs.folder import find_run

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Inspect(Command):
    """Why did it write that? Play some episodes and make a page on which every token tells its numbers."""

    run: Positional[str]
    """A run's folder, its name in runs/, or "latest"."""
    episodes: int = 8
    """How many completions."""
    seed: int = 0
    """Of the choice of prompts and of the sampling."""
    split: Literal["train", "tune", "eval"] = "eval"
    """Which part of the prompts; those of "eval" were not trained on."""
    prompt: tuple[str, ...] = ()
    """Texts to begin with instead."""
    out: str | None = None
    """The page. By default inspection.html in the run's folder."""
    device: str | None = None
    """Where models run, such as "cuda". By default the run's own device."""
    json: bool = False
    """Print the page's data as one JSON object to standard output, and all else to standard error."""

    def execute(self) -> int:
        """Write the page and say where it is."""
        run = find_run(self.run)
        data = inspect_run(run, self.episodes, self.seed, split=self.split, prompts=self.prompt, device=self.device)
        page = Path(self.out).expanduser() if self.out else run / "inspection.html"
        write_page(data, page)
        log.info("see %s", page)
        if self.json:
            print(json.dumps(data))
        return 0
