"""`python -m benchmarks.modalities PART [options]`: runs the `main` of `benchmarks/modalities/PART.py`."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks.modalities


def main() -> None:
    parts = sorted(part.name for part in pkgutil.iter_modules(benchmarks.modalities.__path__) if part.name[0] != "_")
    if len(sys.argv) < 2 or sys.argv[1] not in parts:
        sys.exit(f"usage: python -m benchmarks.modalities PART [options]; the parts are {', '.join(parts)}")
    part = sys.argv.pop(1)
    sys.argv[0] = f"python -m benchmarks.modalities {part}"
    importlib.import_module(f"benchmarks.modalities.{part}").main()


if __name__ == "__main__":
    main()
