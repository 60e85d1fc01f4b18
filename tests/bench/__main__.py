"""`make bench`: measure, print a table with targets and peers, and write bench.json. docs/performance.md explains it.

A target that is missed is shown and does not fail the run: the machine may be busy. `--gate` makes it fail. `cpu` is
user and system time together: on a busy machine it is what can be compared.
"""

from __future__ import annotations

import compileall
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from tests.isolation import isolated, lacks

from . import cases, names, overlay, ports, services
from .cases import Row

ROOT = Path(__file__).parents[2]

WHOLE: tuple[Callable[[], Iterator[Row]], ...] = (
    cases.start_up,
    cases.existing_namespaces,
    cases.from_clean,
    overlay.remote_endpoints,
    names.ten_thousand,
    ports.published,
    services.balanced,
)


def main(arguments: list[str]) -> int:
    """Run the benchmark. Returns the exit code."""
    unknown = set(arguments) - {"--growth", "--gate"}
    if unknown:
        print(f"usage: python -m tests.bench [--growth] [--gate], not {' '.join(sorted(unknown))}", file=sys.stderr)
        return 64
    if reason := lacks():
        print(f"the benchmark {reason}: it makes network namespaces", file=sys.stderr)
        return 77
    os.chdir(ROOT)
    compileall.compile_dir(ROOT / "reconciler", quiet=1)  # as pip does when it installs; an editable install does not
    print(f"{platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(line("what", "value", "target", "met", "measured", "peers"))
    rows = []
    with isolated():
        for case in (cases.growth,) if "--growth" in arguments else WHOLE:
            for row in case():
                rows.append(row)
                print(shown(row), flush=True)
    store(rows)
    missed = [row.what.strip() for row in rows if row.met is False]
    print(f"\n{len(missed)} of {sum(row.met is not None for row in rows)} targets missed; bench.json has the figures")
    return 1 if missed and "--gate" in arguments else 0


def shown(row: Row) -> str:
    value = "" if row.value is None else f"{row.value:.{0 if row.value >= 100 or row.unit == '' else 2}f} {row.unit}"
    target = "" if row.target is None else f"<= {row.target:g}"
    met = {True: "yes", False: "NO", None: ""}[row.met]
    return line(row.what, value, target, met, row.measured, row.peers)


def line(what: str, value: str, target: str, met: str, measured: str, peers: str) -> str:
    return f"{what:<36}{value:<18}{target:<8}{met:<5}{measured:<64}{peers}".rstrip()


def store(rows: list[Row]) -> None:
    """Write the rows to bench.json, in the place of those of their names that an earlier run wrote."""
    path = ROOT / "bench.json"
    machine = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    named = {row["what"]: row for row in (json.loads(path.read_text())["rows"] if path.exists() else [])}
    for row in rows:
        what = row.what.strip()
        named[what] = {**asdict(row), "what": what, "met": row.met, **machine}
    path.write_text(json.dumps({"rows": list(named.values())}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
