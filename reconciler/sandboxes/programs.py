"""Asking container runtimes that are programs: one run of one, with limits on time and output."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence

PATIENCE = 3.0
"""Seconds for one run."""

MOST = 16 << 20
"""Bytes that it may print."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = 400


class Silent(Exception):
    """The program gave no answer; the message says why."""


class Refused(Exception):
    """The program ended with an error; the message is what it said."""


def output(command: Sequence[str], deadline: float) -> bytes:
    """Return what a program prints. Raises Refused and Silent."""
    name, until = os.path.basename(command[0]), min(deadline, time.monotonic() + PATIENCE)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
    except OSError as failure:
        raise Silent(f"{command[0]} can't be started: {failure.strerror}") from failure
    with process:
        try:
            said, complaints = _read(process, name, until)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started, if it is a script
            raise
    if process.returncode:
        words = complaints.decode("utf-8", "replace").strip().rpartition("\n")[2][-_KEPT:]
        raise Refused("".join(sign if sign.isprintable() else " " for sign in words) or f"{name} failed")
    return said


def _read(process: subprocess.Popen[bytes], name: str, until: float) -> tuple[bytes, bytes]:
    """Return what a process prints, until it ends, to both its streams. Raises Silent."""
    assert process.stdout
    assert process.stderr
    streams = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    said, complaints = streams.values()
    waiting = select.poll()  # select(2) knows no descriptor above 1023, and each namespace kept to roll back is one
    for stream in streams:
        waiting.register(stream, select.POLLIN)
    while streams:
        ready = waiting.poll(max(0.0, until - time.monotonic()) * 1000)
        if not ready:
            raise Silent(f"{name} did not answer within {PATIENCE:g} s")
        for stream, _ in ready:
            if not (piece := os.read(stream, 1 << 16)):
                del streams[stream]
                waiting.unregister(stream)
                continue
            streams[stream] += piece
            if len(streams[stream]) > MOST:
                raise Silent(f"{name} prints more than {MOST >> 20} MiB")
    try:
        process.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise Silent(f"{name} did not end within {PATIENCE:g} s") from None
    return bytes(said), bytes(complaints)
