"""`make bench`: measure, print a table with targets and peers, and write bench.json. docs/performance.md explains it.

A target that is missed is shown and does not fail the run: the machine may be busy. `--gate` makes it fail. `cpu` is
user and system time together: on a busy machine it is what can be compared.
"""

from __future__ import annotations

import compileall
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator

from tests.isolation import isolated, lacks

from . import cases, names, overlay, ports, services, table
from .cases import Row

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
    os.chdir(table.ROOT)
    # as pip does when it installs; an editable install does not
    compileall.compile_dir(table.ROOT / "reconciler", quiet=1)
    wanted = (cases.growth,) if "--growth" in arguments else WHOLE
    return table.fill(measured(wanted), "bench.json", "--gate" in arguments)


def measured(wanted: Iterable[Callable[[], Iterator[Row]]]) -> Generator[Row, None, None]:
    with isolated():
        for case in wanted:
            yield from case()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
