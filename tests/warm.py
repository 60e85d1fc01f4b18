"""`netapply` in a fork of this process: what it needs is loaded already, which takes seconds where Python is slow.

Streams, environment, signals and exit code are those of the command. Start-up is not: tests that look at that start a
process.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import IO, NoReturn

import yaml  # noqa: F401 - see below

import reconciler.__main__

from .isolation import join

for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):  # once, for all forks
    if not module.name.startswith("reconciler.conformance"):  # a plugin of pytest's, which has loaded it
        importlib.import_module(module.name)


def netapply(
    arguments: Sequence[str],
    *,
    stdin: str | None,
    timeout: float,
    environ: Mapping[str, str],
    beside: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command, with `environ` added to the environment. After so many seconds it is killed: TimeoutExpired.

    `beside` is a process in whose network and mount namespaces it runs.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        given.write((stdin or "").encode())
        given.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns when there are other threads
            child = os.fork()
        if child == 0:
            _become(arguments, (given, output, errors), environ, beside)
        status = _ended(child, timeout)
        if status is None:
            raise subprocess.TimeoutExpired(["netapply", *arguments], timeout)
        return subprocess.CompletedProcess(["netapply", *arguments], status, _read(output), _read(errors))


def _become(
    arguments: Sequence[str], streams: Sequence[IO[bytes]], environ: Mapping[str, str], beside: int | None
) -> NoReturn:
    try:
        if beside is not None:
            join(beside)
        for number, stream in enumerate(streams):
            os.dup2(stream.fileno(), number)
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(environ)
        sys.argv = ["netapply", *arguments]
        reconciler.__main__.main()
    except BaseException:  # noqa: BLE001 - nothing may get back to the test, of which this would be a second run
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(70)


def _ended(child: int, timeout: float) -> int | None:
    """Return the exit code, minus a signal's number if that ended it; None if it had to be killed."""
    handle = os.pidfd_open(child)
    try:
        ended = bool(select.select([handle], [], [], timeout)[0])
    finally:
        os.close(handle)
    if not ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if ended else None


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()
