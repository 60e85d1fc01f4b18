"""Looking into many namespaces by two processes at a time.

To look into a namespace is a dozen short system calls with a little of Python between them. Threads are slower at that
than one after the other, as they wait for one another at every call; a second process takes half of the time. It looks
into the second half and hands over what it saw, while this one looks into the first. Nothing depends on it: what it did
not hand over, is looked at here.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from ..networks import SandboxRef
from . import looking, namespaces
from .looking import Ahead, Look

MANY = 256
"""From how many namespaces on it pays: a process and what it hands over cost as much as a hundred of them."""

TIMEOUT = 10
"""Seconds after the first question that all must be handed over. It takes as long as what is done here meanwhile."""


@contextmanager
def half(home: int, sandboxes: Mapping[str, SandboxRef]) -> Iterator[Ahead | None]:
    """Have a process look into every second half of the namespaces that have names, those of the scope at first.

    `home` is a descriptor of the host's namespace. What is given answers for one that it has looked into: asked by its
    path, inode and whether the whole is wanted. None where that does not pay.
    """
    wanted = dict.fromkeys(namespaces.path_of(one.value) for one in sandboxes.values() if one.kind == "netns")
    paths = list(dict.fromkeys((*wanted, *map(namespaces.path_of, namespaces.names()))))
    if not _pays(len(paths)):
        yield None
        return
    helper = _Helper(home, paths[len(paths) // 2 :], frozenset(wanted))
    try:
        yield helper.look
    finally:
        helper.end()


def _pays(number: int) -> bool:
    """Whether a second process saves time on so many. Not beside other threads: a lock that one of them holds would be
    held in the new process for ever."""
    return number >= MANY and len(os.sched_getaffinity(0)) > 1 and threading.active_count() == 1


class _Helper:
    """A process that looks into namespaces; `whole` are those of which the whole is wanted."""

    def __init__(self, home: int, paths: Sequence[str], whole: frozenset[str]) -> None:
        import pickle

        self._paths, self._whole = frozenset(paths), whole
        self._seen: Mapping[str, tuple[int, Look]] | None = None
        self._pipe, end = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            with suppress(BaseException):  # or it would go on as if it were this process
                os.close(self._pipe)
                seen = namespaces.in_a_thread(lambda: dict(looking.each(paths, home, whole)))  # it does not live there
                with os.fdopen(end, "wb") as stream:
                    pickle.dump(seen, stream, pickle.HIGHEST_PROTOCOL)
            os._exit(0)
        os.close(end)

    def look(self, path: str, inode: int, whole: bool) -> Look | None:
        """Return what it saw in the namespace with that inode, if the path led it there. Waits for it once."""
        if path not in self._paths or whole != (path in self._whole):
            return None
        if self._seen is None:
            self._seen = self._collect()
        there, look = self._seen.get(path, (0, None))
        return look if there == inode else None

    def _collect(self) -> Mapping[str, tuple[int, Look]]:
        """Return what it hands over; nothing where it broke off, or is late."""
        import pickle

        deadline = time.monotonic() + TIMEOUT
        parts: list[bytes] = []
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            parts.append(os.read(self._pipe, 1 << 20))
            if not parts[-1]:
                break
        else:
            return {}
        try:
            seen: Mapping[str, tuple[int, Look]] = pickle.loads(b"".join(parts))
        except (EOFError, pickle.UnpicklingError):
            return {}
        return seen

    def end(self) -> None:
        """End it, if it has not done so itself."""
        os.close(self._pipe)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
