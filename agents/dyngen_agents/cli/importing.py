"""`dyngen import FILE --store STORE`: data sets of other tools, and our own exports, into a store of feedback."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from tyro.conf import Positional

from dyngen_agents.cli.options import Command
from dyngen_agents.feedback.exchange import import_rows, read_rows
from dyngen_agents.feedback.store import filling

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Import(Command):
    """Put a data set of feedback into a store: what `dyngen export` wrote, with every field, or others' in TRL's types.

    Also comparisons in the form of OpenAI's summarize-from-feedback. The same file imported again adds nothing.
    """

    file: Positional[str]
    """A .jsonl or .parquet file."""
    store: str
    """The store; it is made if there is none."""
    person: str = "imported"
    """Who has said it, where the rows do not tell."""
    json: bool = False
    """Print one JSON object, {"dialogues", "turns", "feedback"}, to standard output: what is new."""

    def execute(self) -> int:
        """Import all rows or none, and say what is new. Where nothing could be imported, no store is made."""
        rows = read_rows(self.file)
        with filling(self.store) as store:
            added = import_rows(store, rows, self.person, self.file)
        log.info(
            "%d rows: %d dialogues, %d turns and %d pieces of feedback are new in %s",
            len(rows), *added, self.store,
        )  # fmt: skip
        if self.json:
            print(json.dumps(added._asdict()))
        return 0
