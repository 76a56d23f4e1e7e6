"""RESULTS.md from the benchmarks' JSON files: `python -m benchmarks.report rollout.json ... > RESULTS.md`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def report(paths: list[Path]) -> str:
    """One table a file, each with the machine and the versions it was measured on."""
    parts = [
        "# Results\n\nMedians of runs interleaved with the peer's in one process. Ratio: ours over theirs.\n"
        "No GPU was at hand: nothing here was measured on one.\n"
    ]
    for path in paths:
        data = json.loads(path.read_text())
        machine, versions = data["machine"], data["versions"]
        where = (
            machine["cuda"] or f"{machine['cpu']}, {machine['cores']} cores, {machine['torch_threads']} torch threads"
        )
        parts.append(f"\n## {path.stem}\n\n{where}; {', '.join(f'{k} {v}' for k, v in versions.items())}\n")
        parts.append("\n| measure | peer | ours | theirs | unit | ratio |\n|---|---|---|---|---|---|\n")
        for row in data["rows"]:
            ours, theirs = (f"{row[k]:,.4g}" if abs(row[k]) < 1e4 else f"{row[k]:,.0f}" for k in ("ours", "theirs"))
            parts.append(
                f"| {row['measure']} | {row['peer']} | {ours} | {theirs} | {row['unit']} | **{row['ratio']:.2f}** |\n"
            )
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(report([Path(name) for name in sys.argv[1:]]))
