"""`dyngen rescore RUN|FILE --reward ...`: what recorded episodes would have earned under other rewards."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from tyro.conf import Positional

from dyngen_agents.cli.options import Command
from dyngen_agents.cli.tables import audit_table, rescored_table
from dyngen_agents.data.episodes import EPISODES, Episode, line_of, read_episodes
from dyngen_agents.evaluation.intervals import half_interval
from dyngen_agents.evaluation.rescore import Rescored, rescore
from dyngen_agents.reward_bench.audit import LEAST, audit
from dyngen_agents.reward_bench.designs import Design, read_designs
from dyngen_agents.runs.folder import find_run

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Rescore(Command):
    """What recorded episodes would have earned under other rewards, without generation; several are compared.

    RUN is a run that was evaluated, FILE has a JSON object a line: {"prompt": ..., "text": ...}.
    """

    source: Positional[str]
    """A run's folder, its name in runs/, "latest", or a .jsonl file of episodes."""
    reward: tuple[str, ...] = ()
    """One or more rewards, as for training: "sentiment + 0.1*fluency"."""
    designs: str | None = None
    """A .toml or .json file of names and rewards, like that of the bench, or "defaults" for five."""
    model: str | None = None
    """The language model that fluency and similarity ask. By default the run's, or the one that wrote the file."""
    device: str = "cpu"
    """Where models run, such as "cuda"."""
    out: str | None = None
    """A .jsonl file for the episodes with what each has earned, by reward."""
    json: bool = False
    """Print one JSON object, {"episodes", "model", "rewards", "audit"}, to standard output."""

    def execute(self) -> int:
        """Rescore; show means, how the rewards agree, and which of them look as if they could be hacked."""
        designs, file = self._designs(), self._file()
        episodes = sorted(read_episodes(file), key=lambda episode: episode.policy)
        model = self.model or next((e.tokens.model for e in episodes if e.tokens is not None), None)
        log.info("%d episodes of %s", len(episodes), file)
        found = {d.name: rescore(episodes, d.reward(), model=model, device=self.device) for d in designs}
        rows = {name: [i for i, e in enumerate(episodes) if e.policy == name] for name in {e.policy for e in episodes}}
        begun_with = "untrained" if "untrained" in rows else episodes[0].policy
        audited = None
        if len(these := rows[begun_with]) >= LEAST:
            paid = {name: rescored.returns[these] for name, rescored in found.items()}
            audited = audit(designs, [episodes[i] for i in these], model, self.device, paid)
        figures = {
            name: {policy or "all": _figures(rescored, rows[policy], episodes) for policy in sorted(rows)}
            for name, rescored in found.items()
        }
        if self.out is not None:
            _write(Path(self.out).expanduser(), episodes, found)
        if self.json:
            known = audited and audited.as_json()
            print(json.dumps({"episodes": len(episodes), "model": model, "rewards": figures, "audit": known}))
            return 0
        console = Console()
        console.print(rescored_table(figures))
        if audited is not None:
            title = f"{audited.episodes} episodes{f' of the {begun_with} model' if begun_with else ''}"
            console.print(audit_table(audited, title))
            console.print("\n".join(audited.warnings()), markup=False, highlight=False)
        return 0

    def _designs(self) -> tuple[Design, ...]:
        """The rewards by name: those of a file by their own names, others by what they are."""
        named = read_designs(self.designs) if self.designs is not None else ()
        designs = (*named, *(Design(expression, expression) for expression in dict.fromkeys(self.reward)))
        if not designs:
            raise ValueError('no reward to score by: give --reward "sentiment - repetition", or --designs FILE')
        return designs

    def _file(self) -> Path:
        """The file of episodes.

        Raises:
            FileNotFoundError: there is none; the message says how to get one.
        """
        path = Path(self.source).expanduser()
        if path.is_file():
            return path
        run = find_run(self.source)
        if not (run / EPISODES).is_file():
            raise FileNotFoundError(f"{run} has no {EPISODES} yet: dyngen eval {self.source} writes it")
        return run / EPISODES


def _figures(rescored: Rescored, rows: Sequence[int], episodes: Sequence[Episode]) -> dict[str, Any]:
    """The mean return of some episodes, half its 95% interval, and the means of the reward's terms."""
    returns = rescored.returns[rows]
    half = half_interval(returns, [episodes[i].example.prompt for i in rows]) if len(rows) > 1 else None
    terms = {name: float(paid[rows].mean()) for name, paid in rescored.terms.items()}
    return {"mean": float(returns.mean()), "ci95": half, "terms": terms, "episodes": len(rows)}


def _write(file: Path, episodes: Sequence[Episode], found: dict[str, Rescored]) -> None:
    """The episodes as JSON lines, each with `rewards`: its returns by name."""
    returns = {name: rescored.returns.tolist() for name, rescored in found.items()}
    with file.open("w", encoding="utf-8") as lines:
        for i, episode in enumerate(episodes):
            rewards = {name: values[i] for name, values in returns.items()}
            lines.write(line_of(episode, file.parent, rewards=rewards))
    log.info("see %s", file)
