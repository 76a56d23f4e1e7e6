"""`python -m benchmarks.feedback_store [--quick] [PART ...]`: is anything lost, and how fast is it?"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.feedback_store.cut import cut
from benchmarks.feedback_store.full import full
from benchmarks.feedback_store.killed import killed
from benchmarks.feedback_store.raters import raters, speed
from benchmarks.feedback_store.traced import traced

Part = Callable[[Path, bool], dict[str, Any]]

PARTS: dict[str, Part] = {
    "killed": lambda folder, quick: killed(folder, kills=20 if quick else 200),
    "traced": lambda folder, quick: traced(folder, ratings=20 if quick else 200),
    "cut": lambda folder, quick: cut(folder, stride=397 if quick else 1),
    "full": lambda folder, quick: full(folder),
    "raters": lambda folder, quick: raters(folder, texts=10 if quick else 100),
    "speed": lambda folder, quick: speed(folder, seconds=2 if quick else 20),
    "beside": lambda folder, quick: speed(
        folder, seconds=2 if quick else 20, model="dialogue-lm" if quick else "smollm2"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], default=list(PARTS), help="default: all")
    parser.add_argument("--quick", action="store_true", help="a small form, a minute or two; the whole takes about ten")
    parser.add_argument("--folder", help="where the stores are made: on the disk that is to be measured")
    args = parser.parse_args()
    for name in args.part:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            start = time.monotonic()
            found = PARTS[name](Path(folder), args.quick)
            print(json.dumps({"part": name, "seconds": round(time.monotonic() - start, 1)} | found), flush=True)


if __name__ == "__main__":
    main()
