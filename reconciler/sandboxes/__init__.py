"""Sandboxes: where the network namespace of a container is, by each kind of reference.

A kind is a module of this package with `find(references, deadline)`, which answers each with Found or Pending, and asks
nobody any more past the deadline (`time.monotonic`). Kinds that know containers by processes answer with `process`.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from ..networks import SandboxRef

PATIENCE = 6.0
"""Seconds within which all runtimes together must have answered."""

_NEXT_TRY = 10.0
"""Seconds for which a runtime that did not answer is not asked again, so that one run waits for it once."""


class Found(NamedTuple):
    """Where a namespace can be opened. With a `pid`, that of a container's process, it is the container's only if the
    process is as old as the question: one that began after `asked` (clock ticks since the machine's start) has got the
    number of one that is gone.
    """

    path: str
    pid: int = 0
    asked: int = 0

    @property
    def holds(self) -> bool:
        """Whether the process is still the one that was meant. To be asked once the namespace is open."""
        return not self.pid or 0 < _born(self.pid) <= self.asked


class Pending(NamedTuple):
    """There is no namespace now, and why.

    `silent`: the runtime could not be asked, so that nobody knows. `absent`: there is no such container at all.
    """

    reason: str
    silent: bool = False
    absent: bool = False


Answers: TypeAlias = Mapping[SandboxRef, Found | Pending]

Group: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A kind and its details: those of one group are asked for together."""


def now() -> int:
    """Return the clock ticks since the machine's start, as /proc/PID/stat counts them."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def process(pid: int, asked: int) -> Found:
    """Return the namespace of a container's process, which a runtime that was asked at that tick has named."""
    return Found(f"/proc/{pid}/ns/net", pid, asked)


def user_of(path: str) -> int:
    """Return the user who can say what is at a path, as a part of it is theirs; 0 for root, and for who runs this."""
    for whole in (path, os.path.realpath(path)):
        parts = whole.split("/")
        for length in range(2, len(parts) + 1):
            with suppress(OSError):
                if (user := os.lstat("/".join(parts[:length])).st_uid) not in (0, os.geteuid()):
                    return user
    return 0


def is_believed(user: int, pid: int) -> bool:
    """Whether a user may say that a process is a container's: root of any, others of one in a namespace of their own.

    Whoever listens on a socket, or writes a runtime's files, can say it of any. What has ended is nobody's.
    """
    return not user or _owner(pid) == user or not os.path.exists(f"/proc/{pid}")


class Finder:
    """Knows where sandboxes are, and for a while which runtime does not answer.

    A runtime that falls silent between two questions does not take a container away: where its process is the same,
    the earlier answer stands.
    """

    def __init__(self) -> None:
        self._found: dict[SandboxRef, Found] = {}
        self._silent: dict[Group, tuple[float, str]] = {}

    def find(self, references: Iterable[SandboxRef]) -> Answers:
        """Return where the sandboxes are, by reference. Takes little longer than PATIENCE, and never raises."""
        deadline, answers = time.monotonic() + PATIENCE, dict[SandboxRef, Found | Pending]()
        groups: dict[Group, dict[SandboxRef, None]] = {}
        for one in references:
            groups.setdefault((one.kind, one.details), {})[one] = None
        for group, members in groups.items():
            answers |= self._ask(group, list(members), deadline)
        return answers

    def _ask(self, group: Group, members: Sequence[SandboxRef], deadline: float) -> Answers:
        kind = group[0]
        if kind == "host":
            return {}
        until, why = self._silent.get(group, (0.0, ""))
        if time.monotonic() < until:
            return {one: self._earlier(one, Pending(why, silent=True)) for one in members}
        find: Callable[[Sequence[SandboxRef], float], Answers] = importlib.import_module(f"{__name__}.{kind}").find
        answers = find(members, deadline)
        if not members[0].is_anothers:
            return answers
        reasons = [one.reason for one in answers.values() if isinstance(one, Pending) and one.silent]
        if len(reasons) == len(members):  # else it is one container that can't be told of just now
            self._silent[group] = time.monotonic() + _NEXT_TRY, reasons[0]
        result: dict[SandboxRef, Found | Pending] = {}
        for one in members:
            match answers[one]:
                case Found() as found:
                    result[one] = self._found[one] = found
                case Pending(silent=True) as pending:
                    result[one] = self._earlier(one, pending)
                case pending:
                    self._found.pop(one, None)
                    result[one] = pending
        return result

    def _earlier(self, reference: SandboxRef, pending: Pending) -> Found | Pending:
        found = self._found.get(reference)
        return found if found and found.holds else pending


def _owner(pid: int) -> int:
    """Return the user to whom the network namespace of a process belongs (ioctl_ns(2)), -1 where nobody can tell."""
    import fcntl
    import struct

    get_user_namespace, get_owner = 0xB701, 0xB704
    try:
        with (
            open(f"/proc/{pid}/ns/net", "rb") as namespace,
            open(fcntl.ioctl(namespace, get_user_namespace), "rb") as users,
        ):
            return int(struct.unpack("I", fcntl.ioctl(users, get_owner, bytes(4)))[0])
    except OSError:
        return -1


def _born(pid: int) -> int:
    """Return when a process began, in clock ticks since the machine's start; 0 where there is none (proc(5), stat)."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read(4096).rpartition(b")")[2].split()[19])
    return 0
