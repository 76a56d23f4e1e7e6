"""Pictures of a batch of states: text for terminals, images for everything that films environments."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dyngen_env.structs import FINISH_REASONS, TokenState
from dyngen_env.tokenizer import Tokenizer, decode

RENDER_MODES = ("ansi", "human", "rgb_array")
WIDTH, HEIGHT, FONT_SIZE = 640, 360, 16
BACKGROUND, GIVEN, CHOSEN, NOTE = (250, 250, 247), (110, 110, 110), (20, 60, 160), (150, 90, 20)
COLUMNS, LINES = 62, 15


class Renderer:
    """Draws rows: what was given in grey, what the agent chose in blue, and below it how the episode stands."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    def frames(self, mode: str, state: TokenState, returns: torch.Tensor) -> tuple[Any, ...] | None:
        """A frame for each row; returns (B,) are the rewards so far."""
        rows = [self._spans(state, row) for row in range(len(state.length))]
        notes = [
            f"{int(n)} tokens, return {float(r):+.2f}" + (f", ended: {FINISH_REASONS[int(f)]}" if int(f) else "")
            for n, r, f in zip(state.length, returns, state.finish, strict=True)
        ]
        if mode == "rgb_array":
            return tuple(_image(spans, note) for spans, note in zip(rows, notes, strict=True))
        texts = tuple(_ansi(spans, note) for spans, note in zip(rows, notes, strict=True))
        if mode == "human":
            sys.stdout.write("\n".join(texts) + "\n")
            sys.stdout.flush()
            return None
        return texts

    def _spans(self, state: TokenState, row: int) -> list[tuple[str, bool]]:
        """The row's text as runs of (text, chosen by the agent)."""
        tokens, chosen = state.tokens[row].tolist(), state.completion_mask[row].tolist()
        runs: list[tuple[list[int], bool]] = []
        for token, mine in zip(tokens[: int(state.length[row])], chosen, strict=False):
            if not runs or runs[-1][1] != mine:
                runs.append(([], mine))
            runs[-1][0].append(token)
        return [(_printable(decode(self.tokenizer, ids)), mine) for ids, mine in runs]


def _printable(text: str) -> str:
    """Text that cannot command a terminal: what an untrained agent writes may be anything."""
    return "".join(c if c.isprintable() or c == "\n" else " " if c.isspace() else "\ufffd" for c in text)


def _ansi(spans: list[tuple[str, bool]], note: str) -> str:
    body = "".join(f"\x1b[34m{text}\x1b[0m" if mine else text for text, mine in spans)
    return f"{body}\n[{note}]"


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which matplotlib brings: Pillow's own font has no "é". Found without importing matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    file = Path(spec.origin if spec and spec.origin else "").parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(file, FONT_SIZE) if file.is_file() else ImageFont.load_default(FONT_SIZE)


def _image(spans: list[tuple[str, bool]], note: str) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8; of a long text the last lines."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw, font = ImageDraw.Draw(picture), _font()
    text = "".join(part for part, _ in spans)
    owner = [mine for part, mine in spans for _ in part]
    lines, at = [], 0
    for paragraph in text.split("\n"):
        for line in textwrap.wrap(paragraph, COLUMNS, drop_whitespace=False) or [""]:
            lines.append((line, owner[at : at + len(line)]))
            at += len(line)
        at += 1
    y = 16.0
    for line, mine in lines[-LINES:]:
        x = 16.0
        for char, own in zip(line, mine, strict=True):
            draw.text((x, y), char, fill=CHOSEN if own else GIVEN, font=font)
            x += draw.textlength(char, font=font)
        y += FONT_SIZE * 1.3
    draw.text((16, HEIGHT - 32), note, fill=NOTE, font=font)
    return np.array(picture)
