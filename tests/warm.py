"""`netapply` without its start-up, which is most of what a run takes: a fork of a process that has all modules loaded.

Streams, environment, signals and exit code are those of the command, and nothing of the test's process gets into it.
Start-up is not the command's: tests that look at that start a process. Two such processes take turns, since in each of
them sets are in an order of their own, and runs that follow each other must agree nevertheless.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from .machine import IN_VM

ROOT = Path(__file__).parents[1]

PROCESSES = 1 if IN_VM else 2  # there, each takes seconds to load


class Zygote:
    """The process that forks, from this end. It lives in the namespaces that the caller is in, and dies with them."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.zygote", str(theirs.fileno())]
        with theirs:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], cwd=ROOT)
        atexit.register(self.end)

    def start(self, handles: Sequence[int]) -> None:
        socket.send_fds(self.control, [b"."], handles)

    def end(self) -> None:
        self.control.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        atexit.unregister(self.end)


_zygotes: list[Zygote] = []


def begin() -> None:
    """Have the processes load, so that they are ready when they are needed, and outlive the hosts of single tests."""
    while len(_zygotes) < PROCESSES:
        _zygotes.append(Zygote())


def netapply(
    arguments: Sequence[str],
    *,
    stdin: str | None,
    timeout: float,
    environ: Mapping[str, str],
    beside: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command, with `environ` added to the environment. After so many seconds it is killed: TimeoutExpired.

    `beside` is a process in whose network and mount namespaces it runs, rather than in the caller's.
    """
    command, until = ["netapply", *arguments], time.monotonic() + timeout
    request = {"arguments": arguments, "environ": {**os.environ, **environ}, "directory": os.getcwd()}
    with ExitStack() as opened:
        where = "thread-self" if beside is None else str(beside)
        net, mnt = (opened.enter_context(open(f"/proc/{where}/ns/{kind}")) for kind in ("net", "mnt"))
        wanted = opened.enter_context(tempfile.TemporaryFile("w+"))
        json.dump(request, wanted)
        wanted.seek(0)
        given = opened.enter_context(_given(stdin))
        answer, theirs = map(opened.enter_context, socket.socketpair())
        output, written = map(opened.enter_context, _pipe())
        errors, complained = map(opened.enter_context, _pipe())
        _start([one.fileno() for one in (theirs, wanted, net, mnt, given, written, complained)])
        for one in (theirs, written, complained):
            one.close()
        told = _until_closed((answer, output, errors), until)
        if told is None:
            raise subprocess.TimeoutExpired(command, timeout)
    status, out, err = told
    if not status:
        raise AssertionError(f"{command}: what it was a fork of has died")
    return subprocess.CompletedProcess(command, int(status), out.decode(), err.decode())


def _start(handles: Sequence[int]) -> None:
    """Start a run in the process whose turn it is, in a new one if it was killed with the host that it lived in."""
    begin()
    zygote = _zygotes.pop(0)
    try:
        zygote.start(handles)
    except (BrokenPipeError, ConnectionResetError):
        zygote.end()
        zygote = Zygote()
        zygote.start(handles)
    _zygotes.append(zygote)


def _until_closed(streams: Sequence[IO[bytes] | socket.socket], until: float) -> list[bytes] | None:
    """Return what comes from each of them until all are closed at their other end; None if that takes longer."""
    told = dict.fromkeys(streams, b"")
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                return None
            for key, _ in ready:
                got = os.read(key.fd, 1 << 16)
                told[key.fileobj] += got  # type: ignore[index]
                if not got:
                    selector.unregister(key.fileobj)
    return list(told.values())


def _given(stdin: str | None) -> IO[bytes]:
    """Return the standard input: a pipe in which all is already, or nothing."""
    if stdin is None:
        return open(os.devnull, "rb")
    reading, writing = _pipe()
    with writing:
        content = stdin.encode()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, max(len(content), 4096))
        writing.write(content)
    return reading


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    return open(reading, "rb"), open(writing, "wb")
