"""`make test-vm`: run the tests for stock kernels in one guest. Exit status: pytest's, and a failure if no test ran.

What comes out besides pytest's report is in build/vm: results.xml, and with COVERAGE=1 the coverage data.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from xml.etree import ElementTree

from . import kernel, run

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "vm"
RESULTS = "results.xml"

TESTS = (
    "tests/vm",
    # the floor of what is supported (Linux 6.1) does what the development machine's kernel does
    "tests/kernel/test_conformance.py",
    "tests/kernel/test_shaping_conformance.py",
    "tests/kernel/test_tables.py::test_a_copied_table_is_listed_as_the_one_that_nft_made",
    "tests/kernel/test_manifests.py::test_an_example_works_is_idempotent_and_goes_without_a_trace[isolation]",
)

COVERAGE = bool(os.environ.get("COVERAGE"))
"""Whether to measure which lines of netapply run. All takes several times as long then."""

BRIEF = bool(os.environ.get("VM_BRIEF"))
"""Whether to leave out what is marked as thorough."""

LIMIT = 3600 if COVERAGE else 600 if BRIEF else 1200
"""Seconds for all of it, unless VM_LIMIT says otherwise."""

LEFT_FOR_REPORT = 40
"""Seconds before the limit at which pytest is interrupted, so that it says which test it was in."""

LONG = 100
"""Seconds after which a test's stack is printed, while it goes on."""

NOTHING_RAN = 5
"""pytest's own exit status for that, and here also when every test was skipped."""


def main(tests: Sequence[str]) -> int:
    """Run TESTS, or those that are given as pytest's arguments. Returns the exit status; 124 past the limit."""
    limit = max(1, int(os.environ.get("VM_LIMIT") or LIMIT))
    started = time.monotonic()
    run.heed_termination()
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(limit)
    os.chdir(ROOT)
    try:
        OUT.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="vm-", dir=OUT.parent) as folder:
            status = _compile(tests or TESTS) or _run(tests or TESTS, Path(folder, "new"), started + limit)
    except KeyboardInterrupt:
        return 130
    except (OSError, subprocess.SubprocessError) as failure:
        return run.say(failure)
    signal.alarm(0)
    print(f"vm: {time.monotonic() - started:.0f} s in all, exit status {status}", flush=True)
    return status


def _run(tests: Sequence[str], out: Path, deadline: float) -> int:
    """Run the tests in a guest, which writes to `out`; that takes the place of OUT afterwards. Returns the status."""
    out.mkdir()
    version = os.environ.get("VM_KERNEL", "")
    kernel.prepare(version)  # before it is clear how much time is left
    cpus = min(max(os.cpu_count() or 2, 2), 4)
    left = deadline - time.monotonic()
    environ = {**os.environ, "NETAPPLY_VM": "1", "COVERAGE_FILE": str(out / "coverage")}
    status = run.run(run.Task(_pytest(tests, out, cpus, left), environ, [out], version, cpus, timeout=left))
    if COVERAGE:
        for words in (["combine", "--quiet"], ["report", "--skip-covered"]):
            subprocess.run([sys.executable, "-m", "coverage", *words], env=environ, check=False)
    if status == 0 and executed(out / RESULTS) == 0:
        print("vm: no test was executed", file=sys.stderr)
        status = NOTHING_RAN
    shutil.rmtree(OUT, ignore_errors=True)
    out.rename(OUT)
    print(f"vm: results are in {OUT.relative_to(ROOT)}")
    return status


def executed(results: Path) -> int:
    """Return how many tests were executed, by a JUnit file: those that were skipped don't count. 0 without a file."""
    if not results.exists():
        return 0
    suites = ElementTree.parse(results).getroot().iter("testsuite")
    return sum(int(suite.get("tests", 0)) - int(suite.get("skipped", 0)) for suite in suites)


def _compile(tests: Sequence[str]) -> int:
    """Have byte code of all that will be imported, since the guest's own is lost; returns pytest's exit status.

    Collecting compiles test modules as pytest rewrites them, and finds their errors before anything is booted.
    """
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for folder in ("reconciler", "tests"):
        subprocess.run([sys.executable, "-m", "compileall", "-q", folder], env=environ, check=False)
    collecting = [sys.executable, "-m", "pytest", "--collect-only", "-q", *tests]
    done = subprocess.run(collecting, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="", file=sys.stderr)
    return done.returncode


def _pytest(tests: Sequence[str], out: Path, cpus: int, seconds: float) -> list[str]:
    """Return the command for the guest, which has so many seconds."""
    within = max(1, round(seconds - LEFT_FOR_REPORT))
    bounded = ["timeout", "--foreground", "--signal=INT", "--kill-after=20", str(within)]
    measured = ["coverage", "run", "-m"] if COVERAGE else []
    options = ["-v", "-p", "no:cacheprovider", "-o", f"faulthandler_timeout={LONG}", f"--junitxml={out / RESULTS}"]
    options += ["-n", str(cpus), "--dist", "load", "--maxschedchunk", "1"]
    options += ["-m", "not thorough"] if BRIEF else []
    options += ["--color=yes"] if sys.stdout.isatty() else []
    return [*bounded, sys.executable, "-m", *measured, "pytest", *options, *tests]


def _late(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("past the limit for all of it (VM_LIMIT)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
