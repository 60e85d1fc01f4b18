"""The table that is printed, row by row, and the file that keeps it."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from .cases import Row

ROOT = Path(__file__).parents[2]

HEAD = ("what", "value", "target", "met", "measured", "peers")


INTERRUPTED = 130
"""The exit code, as shells have it: 128 and SIGINT's number."""


def fill(measured: Generator[Row, None, None], file: str, gate: bool) -> int:
    """Print rows as they are measured, keep them in a file, and return the exit code. If interrupted, keep nothing."""
    signal.signal(signal.SIGINT, _interrupt)
    rows = []
    try:
        with closing(measured):
            begin()
            for row in measured:
                rows.append(row)
                print(shown(row), flush=True)
    except KeyboardInterrupt:
        print(f"interrupted; {file} is as it was before", file=sys.stderr)
        return INTERRUPTED
    return end(rows, file, gate)


def _interrupt(number: int, _: object) -> None:
    """Interrupt once: a terminal's signal and that of `timeout` are two, and nothing must interrupt the tidying up."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def begin() -> None:
    """Print what is above the rows."""
    print(f"{platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(line(*HEAD), flush=True)


def shown(row: Row) -> str:
    value = "" if row.value is None else f"{row.value:.{0 if row.value >= 100 or row.unit == '' else 2}f} {row.unit}"
    target = "" if row.target is None else f"{'>=' if row.at_least else '<='} {row.target:g}"
    met = {True: "yes", False: "NO", None: ""}[row.met]
    return line(row.what, value, target, met, row.measured, row.peers)


def line(what: str, value: str, target: str, met: str, measured: str, peers: str) -> str:
    return f"{what:<36}{value:<18}{target:<8}{met:<5}{measured:<66} {peers}".rstrip()


def end(rows: Sequence[Row], file: str, gate: bool) -> int:
    """Keep the rows, say how many targets were missed, and return the exit code."""
    store(rows, ROOT / file)
    missed = [row.what.strip() for row in rows if row.met is False]
    print(f"\n{len(missed)} of {sum(row.met is not None for row in rows)} targets missed; {file} has the figures")
    return 1 if missed and gate else 0


def store(rows: Sequence[Row], path: Path) -> None:
    """Write the rows to a file, in the place of those of their names that an earlier run wrote."""
    machine = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }
    named = {row["what"]: row for row in (json.loads(path.read_text())["rows"] if path.exists() else [])}
    for row in rows:
        what = row.what.strip()
        named[what] = {**asdict(row), "what": what, "met": row.met, **machine}
    path.write_text(json.dumps({"rows": list(named.values())}, indent=2) + "\n")
