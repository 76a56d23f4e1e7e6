"""What `render` shows of a state: text with colours, frames on the terminal, or images for videos."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from dyngen_env.mdp.state import FINISH_REASONS, LIVE, STEPS, TokenState
from dyngen_env.text.tokenizer import Tokenizer, decode, spell
from dyngen_env.types import Dialogue

if TYPE_CHECKING:  # rich and Pillow load when something is drawn with them: most environments never are
    from PIL import ImageFont
    from rich.text import Text

RENDER_MODES = ("ansi", "human", "rgb_array")
READING_FPS = 8  # tokens per second of a video, some 350 words a minute: brisk reading
WIDTH, HEIGHT, FONT_SIZE = 640, 360, 16
COLUMNS, LINES = 62, 15


class Ink(NamedTuple):
    """The colour of a kind of text."""

    rgb: tuple[int, int, int]  # in images
    ansi: str  # the number of an ANSI escape sequence
    rich: str  # rich's name for it


BACKGROUND = (250, 250, 247)
GIVEN = Ink((110, 110, 110), "", "")
CHOSEN = Ink((20, 60, 160), "34", "bright_blue")
SPEAKER = Ink((60, 60, 60), "", "bold")
PLEASED = Ink((20, 120, 50), "32", "green")
DISPLEASED = Ink((180, 40, 30), "31", "red")
NOTE = Ink((150, 90, 20), "33", "yellow")

Spans = list[tuple[str, Ink]]


class Renderer:
    """Draws the rows of an env: what was given in grey, what the agent chose in blue, and below it a line that tells
    the number of tokens, the return so far and, where the episode has ended, why.

    Where a user answers, a row is drawn as a dialogue: a line for each turn, and before each answer the rating that the
    user gave to the turn it answers.
    """

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self._drawn = 0  # lines of the last frame on the terminal that the next one may replace

    def frames(
        self, mode: str, state: TokenState, returns: torch.Tensor, dialogues: Sequence[Dialogue | None]
    ) -> tuple[Any, ...] | None:
        """A frame for each row: text in mode "ansi", an array (HEIGHT, WIDTH, 3) uint8 in "rgb_array"; "human" prints.

        Args:
            returns: (B,) the sum of each episode's rewards so far.
            dialogues: (B,) the turns so far; None where nobody answers.
        """
        rows = [
            self._text(state, row) if talk is None else self._dialogue(state, row, talk)
            for row, talk in enumerate(dialogues)
        ]
        notes = [
            f"{int(n)} tokens, return {float(r):+.2f}" + (f", ended: {FINISH_REASONS[int(f)]}" if int(f) else "")
            for n, r, f in zip(state.length, returns, state.finish, strict=True)
        ]
        if mode == "rgb_array":
            return tuple(_image(spans, note) for spans, note in zip(rows, notes, strict=True))
        if mode == "human":
            self._print([_rich(spans, note) for spans, note in zip(rows, notes, strict=True)], not state.live.any())
            return None
        return tuple(_ansi(spans, note) for spans, note in zip(rows, notes, strict=True))

    def _text(self, state: TokenState, row: int) -> Spans:
        """The row's tokens as runs of text."""
        tokens, chosen = state.tokens[row].tolist(), state.completion_mask[row].tolist()
        runs: list[tuple[list[int], bool]] = []
        for token, mine in zip(tokens[: int(state.length[row])], chosen, strict=False):
            if not runs or runs[-1][1] != mine:
                runs.append(([], mine))
            runs[-1][0].append(token)
        texts = [(spell(self.tokenizer, ids).decode("utf-8", "replace"), mine) for ids, mine in runs]
        return [(_printable(text), CHOSEN if mine else GIVEN) for text, mine in texts]

    def _dialogue(self, state: TokenState, row: int, talk: Dialogue) -> Spans:
        """The row's turns, the one that is being written as well."""
        said = list(talk.completions)
        if int(state.finish[row]) in (LIVE, STEPS):
            turn = state.tokens[row, int(state.turn_start[row]) : int(state.length[row])].tolist()
            said.append(decode(self.tokenizer, turn))
        spans = [("user: ", SPEAKER), (_line(talk.example.prompt), GIVEN)]
        for i, completion in enumerate(said):
            spans += [("\nagent: ", SPEAKER), (_line(completion), CHOSEN)]
            if i < len(talk.feedback):
                answer = talk.feedback[i]
                rating = [] if answer.rating is None else [(f"({_signed(answer.rating)}) ", _ink_of(answer.rating))]
                spans += [("\nuser: ", SPEAKER), *rating, (_line(answer.text), GIVEN)]
        return [(text, ink) for text, ink in spans if text]

    def _print(self, frames: list[Text], over: bool) -> None:
        """On a terminal in place of the frame before, unless that was `over`; elsewhere one below the other, plain."""
        from rich.console import Console
        from rich.control import Control
        from rich.segment import ControlType, SegmentLines
        from rich.text import Text

        console = Console(file=sys.stdout, force_jupyter=False)
        frame = Text("\n").join(frames)
        if not console.is_terminal:
            sys.stdout.write(f"{frame.plain}\n")
            sys.stdout.flush()
            return
        lines = console.render_lines(frame, pad=False)[1 - console.height :]
        console.control(Control(*((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * self._drawn))
        console.print(SegmentLines(lines, new_lines=True), end="")
        self._drawn = 0 if over else len(lines)


def _line(text: str) -> str:
    """A turn's text on one line."""
    return _printable(text.replace("\n", " ")).strip()


def _signed(rating: float) -> str:
    """A rating as people write it: +2, 0, -1.5."""
    return f"{rating:+g}" if rating else "0"


def _ink_of(rating: float) -> Ink:
    return PLEASED if rating > 0 else DISPLEASED if rating < 0 else NOTE


def _printable(text: str) -> str:
    """Text that cannot command a terminal: what an untrained agent writes may be anything."""
    return "".join(c if c.isprintable() or c == "\n" else " " if c.isspace() else "\ufffd" for c in text)


def _ansi(spans: Spans, note: str) -> str:
    body = "".join(f"\x1b[{ink.ansi}m{text}\x1b[0m" if ink.ansi else text for text, ink in spans)
    return f"{body}\n[{note}]"


def _rich(spans: Spans, note: str) -> Text:
    from rich.text import Text

    return Text.assemble(*((text, ink.rich) for text, ink in spans), f"\n[{note}]")


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which matplotlib brings: Pillow's own font has no "é". Found without importing matplotlib."""
    from PIL import ImageFont

    spec = importlib.util.find_spec("matplotlib")
    file = Path(spec.origin if spec and spec.origin else "").parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(file, FONT_SIZE) if file.is_file() else ImageFont.load_default(FONT_SIZE)


def _image(spans: Spans, note: str) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8; of a long text the last lines."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw, font = ImageDraw.Draw(picture), _font()
    text = "".join(part for part, _ in spans)
    inks = [ink for part, ink in spans for _ in part]
    lines, at = [], 0
    for paragraph in text.split("\n"):
        for line in textwrap.wrap(paragraph, COLUMNS, drop_whitespace=False) or [""]:
            lines.append((line, inks[at : at + len(line)]))
            at += len(line)
        at += 1
    y = 16.0
    for line, of_line in lines[-LINES:]:
        x = 16.0
        for char, ink in zip(line, of_line, strict=True):
            draw.text((x, y), char, fill=ink.rgb, font=font)
            x += draw.textlength(char, font=font)
        y += FONT_SIZE * 1.3
    draw.text((16, HEIGHT - 32), note, fill=NOTE.rgb, font=font)
    return np.array(picture)
