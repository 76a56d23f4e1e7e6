"""`dyngen feedback FILE`: what is in a store of people's feedback; asks people about a run, forgets a person."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from dyngen_agents.cli.options import Command
from dyngen_agents.data.episodes import EPISODES, Episode, read_episodes
from dyngen_agents.feedback.agreement import LEVELS, agreement
from dyngen_agents.feedback.asking import ask
from dyngen_agents.feedback.store import KINDS, FeedbackStore, StoredFeedback, filling
from dyngen_agents.runs.folder import find_run

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Feedback(Command):
    """What is in a store of people's feedback: counts by kind and person, how far they agree, what waits for them."""

    file: Positional[str]
    """The store, a file that `dyngen serve --store FILE` has written."""
    ask: str | None = None
    """A run that was evaluated, or a .jsonl file of episodes: people are to rate its texts. Makes the store if there is
    none."""
    kind: Literal["rating", "thumbs", "preference", "span", "correction", "words"] = "rating"
    """What --ask asks for. "preference" compares two answers to each prompt, such as trained with untrained."""
    raters: int = 1
    """How many different people --ask asks about each text."""
    forget: str | None = None
    """Remove this person's words and feedback from the file, and list the runs that learned from them."""
    json: bool = False
    """Print one JSON object to standard output."""

    def execute(self) -> int:
        """Do what was asked, and show what is there."""
        if self.forget is not None and self.ask is not None:
            raise ValueError("--ask and --forget are two commands: give one of them")
        episodes = None if self.ask is None else _episodes_of(self.ask)  # before a store is made for nothing
        with FeedbackStore(self.file, create=False) if episodes is None else filling(self.file) as store:
            if self.forget is not None:
                return self._forget(store, self.forget)
            if episodes is not None:
                file, read = episodes
                tasks = ask(store, read, self.kind, self.raters, str(file.absolute()))
                log.info("asking for %s of %d texts of %s by %d people each", self.kind, len(tasks), file, self.raters)
            found = _contents(store)
        if self.json:
            print(json.dumps(found))
        else:
            _show(found)
        return 0

    def _forget(self, store: FeedbackStore, person: str) -> int:
        gone = store.forget(person)
        if self.json:
            print(json.dumps(asdict(gone)))
        log.info(
            "%s: removed %d dialogues with %d turns and %d pieces of feedback",
            person, gone.dialogues, gone.turns, gone.feedback,
        )  # fmt: skip
        for run in gone.runs:
            log.warning("%s has learned from them: train it anew without them, or delete it", run)
        if not gone.purged:
            log.warning(
                "another process reads %s: parts of what was removed stay in %s-wal until it has closed the file",
                store.path, store.path,
            )  # fmt: skip
        return 0 if gone.purged else 1


def _episodes_of(run: str) -> tuple[Path, list[Episode]]:
    """The file of a run's episodes, or the file itself, and what it holds. Raises FileNotFoundError, ValueError."""
    path = Path(run).expanduser()
    file = path if path.is_file() else find_run(run) / EPISODES
    return file, read_episodes(file)


def _contents(store: FeedbackStore) -> dict[str, Any]:
    """What is in a store, as JSON."""
    feedback, (dialogues, turns, _) = store.feedback(), store.size()
    counts = Counter((given.kind, given.person.name) for given in feedback)
    people = [person.name for person in store.people()]
    by_kind = {kind: {name: counts[kind, name] for name in people if counts[kind, name]} for kind in KINDS}
    return {
        "file": store.path,
        "dialogues": dialogues,
        "turns": turns,
        "people": people,
        "feedback": {kind: of_people for kind, of_people in by_kind.items() if of_people},
        "agreement": _agreement(feedback),
        "waiting": dict(Counter(task.kind for task in store.waiting())),
        "forgotten": [asdict(each) for each in store.forgotten()],
    }


def _agreement(feedback: list[StoredFeedback]) -> dict[str, Any] | None:
    """Krippendorff's alpha by kind, of those that several people gave; None where the package is missing."""
    try:
        found = {kind: agreement(feedback, kind) for kind in LEVELS}
    except ImportError as error:
        log.warning("%s", error)
        return None
    return {kind: asdict(each) for kind, each in found.items() if each.texts}


def _show(found: dict[str, Any]) -> None:
    console = Console()
    # Without edges all kinds fit into 80 columns.
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(overflow="fold")  # a long name takes lines, no heading is cut for it
    for kind in found["feedback"]:
        table.add_column(kind, justify="right", no_wrap=True, min_width=len(kind))
    for name in found["people"]:
        row = [str(of_people.get(name, "")) for of_people in found["feedback"].values()]
        if any(row):
            table.add_row(Text(name), *row)
    table.add_section()
    table.add_row("all", *(str(sum(of_people.values())) for of_people in found["feedback"].values()))
    people, dialogues, turns = len(found["people"]), found["dialogues"], found["turns"]
    console.print(f"{people} people, {dialogues} dialogues, {turns} turns", highlight=False)
    if found["feedback"]:
        console.print(table)
    for kind, each in (found["agreement"] or {}).items():
        console.print(f"agreement in {kind}: {_alpha(each)}", highlight=False)
    for kind, count in found["waiting"].items():
        console.print(f"{count} texts wait for raters ({kind})", highlight=False)
    for gone in found["forgotten"]:
        runs = f"; learned from by {', '.join(gone['runs'])}" if gone["runs"] else ""
        about = f"{gone['dialogues']} dialogues, {gone['feedback']} pieces of feedback{runs}"
        console.print(f"forgotten: {about}", markup=False, highlight=False)


def _alpha(found: dict[str, Any]) -> str:
    alpha = "undefined" if found["alpha"] is None else f"{found['alpha']:.3f}"
    return f"α = {alpha} ({found['texts']} texts by {found['people']} people)"
