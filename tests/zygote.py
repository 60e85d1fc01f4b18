"""A process that has loaded all of netapply and forks for each run: `python -m tests.zygote CONTROL`.

CONTROL is a socket, by its number, on which `tests.warm` asks for runs. Each message comes with HANDLES: the socket on
which to say how the run ended, a file with what is wanted, the namespaces and the streams. A run whose socket is closed
before is killed. When CONTROL is closed, the process ends.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

import typer.main

import reconciler.__main__
import reconciler.cli

from .isolation import enter

MANIFEST = Path(__file__).parents[1] / "manifests/voting-app.yaml"

HANDLES = ("answer", "request", "net", "mnt", "stdin", "stdout", "stderr")


class Run(NamedTuple):
    """A run that goes on. `process` is a descriptor of it."""

    pid: int
    process: int
    answer: socket.socket


def load() -> None:
    """Load all modules of netapply, and make what each run would make anew from nothing but its code."""
    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not module.name.startswith("reconciler.conformance"):  # a plugin of pytest's
            importlib.import_module(module.name)
    typer.main.get_command = functools.cache(typer.main.get_command)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        reconciler.cli.run(["validate", str(MANIFEST)])  # so that the checks of manifests are compiled


def serve(control: socket.socket) -> None:
    """Start runs and say how they ended, until the other end is closed."""
    runs: list[Run] = []
    while True:
        watched: list[int | socket.socket] = [control]
        watched += [one for run in runs for one in (run.process, run.answer)]
        ready, _, _ = select.select(watched, [], [])
        for run in list(runs):
            if run.process in ready:
                _report(run)
                runs.remove(run)
            elif run.answer in ready:  # nothing is ever sent on it: it was closed
                os.kill(run.pid, signal.SIGKILL)
        if control in ready:
            message, handles, _, _ = socket.recv_fds(control, 1, len(HANDLES))
            if not message:
                return
            runs.append(_start(handles))


def _report(run: Run) -> None:
    """Send the exit code, minus a signal's number if that ended it."""
    status = os.waitstatus_to_exitcode(os.waitpid(run.pid, 0)[1])
    with suppress(BrokenPipeError):
        run.answer.send(str(status).encode())
    run.answer.close()
    os.close(run.process)


def _start(handles: Sequence[int]) -> Run:
    pid = os.fork()
    if pid == 0:
        _become(handles)
    for handle in handles[1:]:
        os.close(handle)
    return Run(pid, os.pidfd_open(pid), socket.socket(fileno=handles[0]))


def _become(handles: Sequence[int]) -> NoReturn:
    """Be the command, as a new interpreter would be."""
    try:
        _, request, net, mnt, *streams = handles
        with open(request) as file:
            wanted = json.load(file)
        enter(net, mnt)
        os.chdir(wanted["directory"])
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, max(handles) + 1)
        sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(wanted["environ"])
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        sys.argv = ["netapply", *wanted["arguments"]]
        reconciler.__main__.main()
    except SystemExit as left:
        sys.stdout.flush()
        os._exit(int(left.code or 0))
    except BaseException:  # noqa: BLE001 - nothing may get back to serving
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(70)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then end this
    load()
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        serve(inherited)
