"""`dyngen export FILE --format preference`: people's feedback as a data set for TRL and others."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from dyngen_agents.cli.options import Command
from dyngen_agents.feedback.exchange import export_rows, write_rows
from dyngen_agents.feedback.store import FeedbackStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """People's feedback as a data set in the columns that TRL's trainers read. `dyngen import` is the way back."""

    file: Positional[str]
    """The store, a file that `dyngen serve --store FILE` has written."""
    format: Literal["preference", "unpaired", "prompt-completion", "stepwise", "trajectories"] = "preference"
    """For DPO and reward models; KTO; SFT; process rewards; or all that there is, a dialogue a row."""
    out: str | None = None
    """The file to write, .jsonl or .parquet. By default beside the store, named by the format."""
    json: bool = False
    """Print one JSON object, {"file", "rows", "left_out"}, to standard output."""

    def execute(self) -> int:
        """Write the rows, and say how many."""
        with FeedbackStore(self.file, create=False) as store:
            rows, left_out = export_rows(store, self.format)
            default = Path(store.path).with_suffix(f".{self.format}.jsonl")
        out = default if self.out is None else Path(self.out).expanduser()
        if out.absolute() == Path(self.file).expanduser().absolute():
            raise ValueError(f"{out} is the store itself: name another file with --out")
        write_rows(out, rows)
        log.info("%d rows in %s", len(rows), out)
        if left_out:
            log.info("%d did not fit this format; --format trajectories holds all that people said", left_out)
        if self.json:
            print(json.dumps({"file": str(out), "rows": len(rows), "left_out": left_out}))
        return 0
