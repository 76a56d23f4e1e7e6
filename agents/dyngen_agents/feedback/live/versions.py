"""The versions of a model that learns live: each is saved, has a name, and can be gone back to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from dyngen_agents.feedback.live.log import RatedTurn

BASE, RECORD = "v0", "versions.json"


@dataclass(frozen=True)
class Version:
    """What a model was at some time.

    Attributes:
        name: "v0" is the model that learning began with; then "v1" and so on, no name twice.
        when: seconds since 1970.
        turns: the rated turns that it has learned from and the version before it had not.
        feedback: the ids of what people had said of all turns that it has read, also of those that are not new.
        mean_rating: of the new turns; None if none was rated.
        kl: nats per token from the model that learning began with, mean over the turns that the update read.
        before: the name of the version that it was learned from; "" for "v0".
    """

    name: str
    when: float
    turns: tuple[int | str, ...] = ()
    feedback: tuple[int | str, ...] = ()
    mean_rating: float | None = None
    kl: float = 0.0
    before: str = ""


class Versions:
    """All versions in the order in which they were made, which of them is the current one, and what was taken back.

    Args:
        folder: where they are saved; None keeps them in memory. What a folder holds already is read, and goes on.
        base: an id of the model that learning begins with, such as its fingerprint.
        weights: those that learn, as they are in that model.
        when: seconds since 1970.

    Attributes:
        taken_back: the turns that are no longer to be learned from, though the store has them.

    Raises:
        ValueError: the folder's versions are of another model.
    """

    def __init__(self, folder: Path | None, base: str, weights: Mapping[str, Tensor], when: float):
        self.folder, self.base = folder, base
        self.all, self.current = [Version(BASE, when)], BASE
        self.taken_back: set[int | str] = set()
        self._weights = {BASE: dict(weights)}  # of a folder's only those that are likely to be asked for
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / RECORD).exists():
                self._read(folder)
            self._write()

    def named(self, name: str) -> Version:
        """The version of that name. Raises KeyError if there is none."""
        for version in self.all:
            if version.name == name:
                return version
        raise KeyError(f"no version {name!r}: there are {', '.join(version.name for version in self.all)}")

    def known_to(self, version: Version) -> list[int | str]:
        """The feedback that a version knows: its own, and that of each version that it was learned from."""
        known = dict.fromkeys(version.feedback)
        while version.before:
            version = self.named(version.before)
            known |= dict.fromkeys(version.feedback)
        return list(known)

    def next(self, new: Sequence[RatedTurn], read: Sequence[RatedTurn], kl: float) -> Version:
        """The version that is made next, from the current one, by an update that has read turns, some of which are new.

        Args:
            kl: see `Version`.
        """
        ratings = [turn.rating for turn in new if turn.rating is not None]
        return Version(
            f"v{len(self.all)}",
            time.time(),
            tuple(turn.turn for turn in new),
            tuple(dict.fromkeys(key for turn in read for key in turn.feedback)),
            sum(ratings) / len(ratings) if ratings else None,
            kl,
            self.current,
        )

    def weights(self, name: str) -> dict[str, Tensor]:
        """The weights of a version that learn. Not to be written to."""
        if name in self._weights:
            return self._weights[name]
        assert self.folder is not None
        return load_file(self.folder / f"{name}.safetensors")

    def save(self, name: str, weights: Mapping[str, Tensor]) -> None:
        """Save the weights of the version that is made next. Raises OSError if the disk does not take them."""
        if self.folder is not None:
            self._weights = {BASE: self._weights[BASE]}
            save_file({n: weight.contiguous() for n, weight in weights.items()}, self.folder / f"{name}.safetensors")
        self._weights[name] = dict(weights)

    def add(self, version: Version) -> None:
        """Make a version, whose weights are saved, the current one."""
        self.all.append(version)
        self.use(version.name)

    def use(self, name: str) -> None:
        """Make a version the current one."""
        self.current = self.named(name).name
        self._write()

    def take_back(self, turns: Iterable[int | str]) -> None:
        """Take down that turns are no longer to be learned from."""
        self.taken_back.update(turns)
        self._write()

    def _write(self) -> None:
        """The record, whole or not at all: a process that dies meanwhile leaves the old one."""
        if self.folder is None:
            return
        record = {
            "base": self.base,
            "current": self.current,
            "taken_back": sorted(self.taken_back, key=str),
            "versions": [asdict(version) for version in self.all],
        }
        draft = self.folder / (RECORD + ".new")
        draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, self.folder / RECORD)

    def _read(self, folder: Path) -> None:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["base"] != self.base:
            raise ValueError(
                f"{folder} holds versions of another model ({record['base']!r}, not {self.base!r}): serve that model, "
                "or give another folder"
            )
        self.all = [
            Version(**{**v, "turns": tuple(v["turns"]), "feedback": tuple(v["feedback"])}) for v in record["versions"]
        ]
        self.current, self.taken_back = record["current"], set(record["taken_back"])
