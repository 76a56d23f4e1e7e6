"""Where this package keeps what took long to make, for one user: `$XDG_CACHE_HOME/dyngen`, or `~/.cache/dyngen`."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """The folder; it need not exist yet. The variable is read at each call."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dyngen"
