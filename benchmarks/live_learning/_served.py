"""`dyngen serve` in a process of its own, and a simulated person's side of its HTTP interface."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dyngen_agents.feedback.live import LiveConfig
from dyngen_agents.feedback.page.client import PageClient

NEW_TOKENS = 20  # of a turn, as in dyngen/Dialogue-v0
PATIENCE = 300.0  # seconds that an update may take
EVERY = LiveConfig.every


class Served:
    """A model that learns from those who talk with it, behind the real server. Persons come one after the other.

    Args:
        model: a name, or the folder of a run. learn: as `dyngen serve --learn`.
    """

    def __init__(self, model: str, learn: str):
        self.learn, self.rated = learn, 0
        self._folder = tempfile.TemporaryDirectory()
        self._log = (Path(self._folder.name) / "server.log").open("w")
        command = ["serve", model, "--learn", learn, "--temperature", "1", "--threads", "1", "--port", "0", "--json"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dyngen_agents.cli", *command, "--store", f"{self._folder.name}/people.db"],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError(Path(self._log.name).read_text())
        self.url, self.client, self.person = json.loads(said)["url"], PageClient("http://localhost"), ""
        self._unsaid = ""  # what the person has not said yet

    def begin(self, person: str, opening: str) -> None:
        """A new dialogue of a person, who says first what is left to say to the turn before."""
        self._say_words()
        if person != self.person:
            self.client.close()
            self.client, self.person = PageClient(self.url, timeout=PATIENCE), person
            self.client.login(person)
        self.client.begin()
        self._unsaid = opening

    def write(self) -> str:
        """The agent's answer to what was said last."""
        self.turn = self.client.say(self._unsaid, max_new_tokens=NEW_TOKENS)
        self._unsaid = ""
        return self.turn["text"]

    def answer(self, rating: float, words: str) -> None:
        """Rate the turn. Where that makes an update due, wait for its version: people read and write for longer."""
        self.client.feedback("rating", [self.turn["turn"]], rating)
        self._unsaid, self.rated = words, self.rated + 1
        if self.learn in ("weights", "both") and self.rated % EVERY == 0:
            self._wait()

    def forget(self) -> None:
        """Unlearn everything."""
        self._say_words()
        self.rated = 0
        if self.person and self.learn != "off":
            self.client.post("/api/versions/reset", {})

    def kl(self) -> float:
        """Nats per token between the model that serves and the one that it was at first."""
        learner = self.client.get("/api/board")["learner"]
        return 0.0 if learner is None else _current(learner)["kl"]

    def close(self) -> None:
        """End the server, and remove what it kept."""
        self.client.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def _say_words(self) -> None:
        """Say to the last turn of a dialogue what would otherwise have been the next message."""
        if self._unsaid:
            self.client.feedback("words", [self.turn["turn"]], self._unsaid)
            self._unsaid = ""

    def _wait(self) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE:
            learner = self.client.get("/api/board")["learner"]
            if learner["problem"]:
                raise RuntimeError(learner["problem"])
            if _taken_in(learner) >= self.rated:
                return
            time.sleep(0.1)
        raise RuntimeError(f"no new version {PATIENCE:.0f} s after a rating")


def _current(learner: dict[str, Any]) -> dict[str, Any]:
    return next(version for version in learner["versions"] if version["name"] == learner["current"])


def _taken_in(learner: dict[str, Any]) -> int:
    """How many rated turns the current version has learned from, those of the versions before it included."""
    by_name, name, count = {version["name"]: version for version in learner["versions"]}, learner["current"], 0
    while name:
        count += by_name[name]["turns"]
        name = by_name[name]["before"]
    return count
