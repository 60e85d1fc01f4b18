"""`python -m tests.vm [options] -- COMMAND...`: run a command on a stock Debian kernel. See docs/testing.md."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import run
from .kernel import PINNED


def main() -> int:
    """Returns the command's exit status; 124 if it took too long, 125 if the machine failed, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser("tests.vm", "python -m tests.vm [options] -- COMMAND...", run.__doc__)
    parser.add_argument("--kernel", default="", metavar="VERSION", help=f"a Debian kernel, such as {PINNED[0]}")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--rw", action="append", default=[], type=Path, metavar="DIR", help="what it may write to")
    parser.add_argument("--boot-timeout", type=float, default=180, metavar="SECONDS")
    parser.add_argument("--timeout", type=float, default=1800, metavar="SECONDS", help="for the command")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    run.heed_termination()
    task = run.Task(
        command=options.command,
        environ=os.environ,
        writable=[path.absolute() for path in options.rw],
        kernel=options.kernel,
        cpus=options.cpus,
        memory=options.memory,
        boot_timeout=options.boot_timeout,
        timeout=options.timeout,
    )
    try:
        return run.run(task)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
