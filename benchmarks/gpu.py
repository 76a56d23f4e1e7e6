"""Everything that needs a real GPU, in one run: `python -m benchmarks.gpu [--quick] [--only PART ...] [--json PATH]`.

Each part has a time limit and its own errors: one that fails prints its traceback, and the others go on. Rows are
printed as JSON lines as they come, and once more as a table at the end. `--device cpu --tiny` runs all parts in a
minute on sizes that say nothing: it shows that the script works.

The floor of a row is what the memory allows: the weights, the filled part of the cache and the logits (written and read
once, in the model's precision) over the bandwidth of a large copy, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import gpu_parts
from benchmarks.gpu_setting import Sizes, measured_bandwidth, release, sync
from benchmarks.harness import machine, versions

Row = dict[str, Any]

PARTS: tuple[tuple[str, int, int], ...] = (  # name, limit in seconds, limit of a quick run
    ("captured_equals_eager", 60, 30),
    ("logprobs_equal_evaluate", 40, 20),
    ("collect_captured", 90, 40),
    ("step_alone", 60, 30),
    ("kernels", 40, 20),
    ("one_row", 40, 20),
    ("collect_eager", 60, 12),
    ("generate_eager", 50, 10),
    ("compiled_step", 120, 45),
    ("generate_static", 120, 0),
    ("env_step_rows", 60, 12),
    ("update_rows", 90, 0),
)


class OutOfTime(BaseException):
    """A part has used up its time."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises OutOfTime after so many seconds. A call into C++ is not interrupted, but what comes after it."""

    def stop(*_: object) -> None:
        raise OutOfTime(f"{seconds} s are over")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="under 100 s: fewer sizes and repeats")
    parser.add_argument("--tiny", action="store_true", help="sizes for a look at the script itself")
    parser.add_argument("--seconds", type=int, help="of the whole run; parts that come later are left out")
    parser.add_argument("--only", nargs="+", choices=[name for name, *_ in PARTS], help="these parts alone")
    parser.add_argument("--json", type=Path, help="write the rows there as well, one a line")
    arguments = parser.parse_args()
    sizes = Sizes.tiny(arguments.device) if arguments.tiny else Sizes.full(arguments.device, arguments.quick)
    rows: list[Row] = []

    def tell(row: Row) -> None:
        rows.append(row)
        line = json.dumps(row)
        print(line, flush=True)
        if arguments.json:
            with arguments.json.open("a") as file:
                file.write(line + "\n")

    begin = time.perf_counter()
    whole = arguments.seconds or (105 if sizes.quick else 465)
    sizes.bandwidth = measured_bandwidth(arguments.device, sizes.quick)
    tell({"part": "machine", **machine(arguments.device), **versions(), **triton_version(),
          "copy_GB_per_s": round(sizes.bandwidth / 1e9)})  # fmt: skip
    for name, full, quick in PARTS:
        limit = min(quick if sizes.quick else full, int(whole - (time.perf_counter() - begin)))
        if (arguments.only and name not in arguments.only) or (sizes.quick and not quick):
            continue
        if limit < 5:
            tell({"part": name, "failed": "left out: no time"})
            continue
        print(f"\n== {name} (at most {limit} s; {time.perf_counter() - begin:.0f} s so far)", flush=True)
        start = time.perf_counter()
        try:
            with limited(limit):
                for row in getattr(gpu_parts, name)(sizes):
                    tell({"part": name, **row})
        except BaseException as error:
            traceback.print_exc(file=sys.stdout)
            tell({"part": name, "failed": f"{type(error).__name__}: {error}"[:500]})
            if isinstance(error, KeyboardInterrupt):
                break
        tell({"part": name, "seconds": round(time.perf_counter() - start, 1)})
        try:
            release(arguments.device)
        except Exception:  # a kernel has failed: the parts that follow will say so themselves
            traceback.print_exc(file=sys.stdout)
    show(rows)


def triton_version() -> Row:
    try:
        import triton
    except ImportError:
        return {"triton": "not installed"}
    return {"triton": triton.__version__}


def show(rows: list[Row]) -> None:
    """The rows that measure something, as a table."""
    head = rows[0]
    print(f"\n{head.get('cuda') or head['cpu']}; torch {head['torch']}, transformers {head['transformers']}, "
          f"Triton {head['triton']}; a copy moves {head['copy_GB_per_s']} GB/s")  # fmt: skip
    print(f"{'part':24}{'measure':58}{'value':>13} {'unit':11}{'floor':>12}{'of floor':>9}")
    for row in rows:
        if "failed" in row:
            print(f"{row['part']:24}FAILED: {row['failed']}")
        if "value" not in row:
            continue
        floor = row.get("floor")
        share = f"{row['value'] / floor:9.1%}" if floor else ""
        print(f"{row['part']:24}{row['measure']:58}{row['value']:>13,.4g} {row['unit']:11}"
              f"{f'{floor:,.0f}' if floor else '':>12}{share}")  # fmt: skip


def median_rate(work: Callable[[], float], repeats: int, device: str) -> float:
    """The median of how much `work` does per second, after one run that is not counted."""
    work()
    rates = []
    for _ in range(repeats):
        sync(device)
        start = time.perf_counter()
        amount = work()
        sync(device)
        rates.append(amount / (time.perf_counter() - start))
    return statistics.median(rates)


if __name__ == "__main__":
    main()
