"""A person at the terminal, who reads each turn and answers it with words and a rating."""

from __future__ import annotations

import queue
import re
import sys
import threading
from collections.abc import Callable, Sequence

import numpy as np

from dyngen_env.types import Dialogue, Example, Feedback

LEAVE, AGAIN = "/leave", "/again"
_RATED = re.compile(r"\s*([+-]?[0-4])(?:\s+|$)(.*)")


class ConsoleUser:
    """A person at the terminal: it shows each turn of the agent and waits for a line such as `+2 nice, but shorter`.

    A line holds a rating from -4 to +4, words, or both. An empty line gives neither, and so does a person who does not
    answer in time. `/leave` ends the dialogue, and may carry an answer: `/leave +3 thanks`. With a rating above 0 the
    person got what they wanted (`finish_reason` "goal"), otherwise not ("user"). `/again`, alone or before an answer,
    has the turn written anew (`Feedback.revise`): `/again -2 shorter, please`.

    Args:
        timeout: how many seconds to wait for a line.
        read: is called with that number and returns the next line, or None if there was none in time. By default lines
            come from standard input.
        write: shows a text, by default on standard output.
    """

    answers = True

    def __init__(
        self,
        timeout: float = 120.0,
        read: Callable[[float], str | None] | None = None,
        write: Callable[[str], object] | None = None,
    ):
        self.timeout = timeout
        self._read, self._write = read or read_line, write or _show

    def begin(self, examples: Sequence[Example], rngs: Sequence[np.random.Generator]) -> Sequence[None]:
        return [None] * len(examples)

    def reply(self, dialogues: Sequence[Dialogue], rngs: Sequence[np.random.Generator]) -> Sequence[Feedback]:
        return [self._ask(dialogue) for dialogue in dialogues]

    def _ask(self, dialogue: Dialogue) -> Feedback:
        if len(dialogue.completions) == 1:
            self._write(f"\nyou:   {_visible(dialogue.example.prompt)}\n")
        self._write(
            f"agent: {_visible(dialogue.completions[-1])}\n[-4..+4] words, {LEAVE}, {AGAIN}, or nothing to skip > "
        )
        line = self._read(self.timeout)
        if line is None:
            self._write("(no answer)\n")
        return parse_line(line or "")


def parse_line(line: str) -> Feedback:
    """The answer that a line stands for, see `ConsoleUser`."""
    command, _, rest = line.strip().partition(" ")
    rest = rest.strip() if command in (LEAVE, AGAIN) else line.strip()
    rated = _RATED.fullmatch(rest)
    text, rating = (rated[2], float(rated[1])) if rated else (rest, None)
    happy = rating is not None and rating > 0
    return Feedback(text, rating, ("goal" if happy else True) if command == LEAVE else False, command == AGAIN)


def read_line(timeout: float) -> str | None:
    """The next line of standard input, without its line break; None if none comes within `timeout` seconds.

    Lines that were typed before the call are thrown away. At the end of the input the person has gone: "/leave".
    """
    lines = _lines()
    while not lines.empty() and lines.queue[0] is not None:
        lines.get_nowait()
    try:
        line = lines.get(timeout=timeout)
    except queue.Empty:
        return None
    if line is None:
        lines.put(None)
        return LEAVE
    return line.rstrip("\r\n")


_reader: list[queue.Queue[str | None]] = []


def _lines() -> queue.Queue[str | None]:
    """What has been typed: one thread reads for all, because a blocked read cannot be called off."""
    if not _reader:
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            for line in sys.stdin:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True, name="console user").start()
        _reader.append(lines)
    return _reader[0]


def _visible(text: str) -> str:
    """Text without the characters that would steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text.replace("\n", " "))


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
