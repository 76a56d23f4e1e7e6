"""Where answers and messages go: answers to standard output, all else to standard error, on terminals of any kind."""

from __future__ import annotations

import codecs
import logging
import sys

from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from dyngen_agents.training.progress import console

# What we write ourselves beyond ASCII; a language model may write anything.
SPELLED = {
    "±": "+-", "“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "...",
    "γ": "gamma", "λ": "lambda", "β": "beta", "ε": "eps", "π": "pi",
}  # fmt: skip
SPELLING = "dyngen.spelling"


def log_to_stderr(quiet: bool) -> None:
    """Show the package's messages on standard error; the quiet way only warnings."""
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(
            console=console, show_time=False, show_path=False, show_level=False, highlighter=NullHighlighter()
        )
    else:
        handler = logging.StreamHandler()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("dyngen_agents").setLevel(logging.WARNING if quiet else logging.INFO)


def spell_what_cannot_be_shown() -> None:
    """Let no character fail on a terminal whose encoding lacks it: ± becomes +-, others a question mark."""
    codecs.register_error(SPELLING, _spelled)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors=SPELLING)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(SPELLED.get(c, "?") for c in error.object[error.start : error.end]), error.end
