"""The resolv.conf that a runtime has mounted into a container: found by the container's process, written in place.

What was in it is kept in the file itself, as comments, so that nothing can be lost by which it would be put back. Only
a regular file counts that is mounted over /etc/resolv.conf in a mount namespace of the container's own, from a folder
that bears a container's ID: that is the runtime's, for this container alone. No container can have us write to another
file by a symbolic link, and what a user has mounted there stays the user's.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...errors import OperationFailed
from ...resources import HALF_MADE, ResolvConf
from ..looking import Look
from ..namespaces import Place, Trap
from ..observing import Inventory, View
from .resolvconf import first_line, marked

_KEPT = "#< "
"""How a line begins that was in the file before."""

_OWN_RESOLVER = "nameserver 127.0.0.11"
"""Docker's own, on networks of its own: whoever has it must keep it."""

_MOST = 65536

_RUNTIMES = re.compile(r"/[0-9a-f]{64}(/userdata)?/resolv\.conf")
"""How the path of a file ends that Docker, containerd's CRI or Podman keeps for a container."""


def pid_of(place: Place) -> int | None:
    """Return the process by which a namespace is entered, None where it has a name."""
    found = re.fullmatch(r"/proc/(\d+)/ns/net", place.path)
    return int(found[1]) if found else None


@contextmanager
def opened(pid: int) -> Iterator[int | None]:
    """Give a descriptor of a container's file, to read and write, None where there is none that would be its own."""
    descriptors: list[int] = []

    def within(path: str, flags: int) -> int:
        descriptors.append(os.open(path, flags | os.O_CLOEXEC, dir_fd=descriptors[-1] if descriptors else None))
        return descriptors[-1]

    try:
        file = None
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/thread-self/ns/mnt"):
                within(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
                folder = within("etc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
                found = within("resolv.conf", os.O_PATH | os.O_NOFOLLOW)  # to open a device would be to use it
                is_file = stat.S_ISREG(os.fstat(found).st_mode)
                if is_file and _mount(found) != _mount(folder) and _is_a_runtimes(pid, _mount(found)):
                    file = within(f"/proc/thread-self/fd/{found}", os.O_RDWR)
        yield file
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _mount(descriptor: int) -> str:
    """Return the number of the mount that a file was opened on (proc(5), fdinfo)."""
    with open(f"/proc/thread-self/fdinfo/{descriptor}", encoding="ascii") as file:
        return next(line.split()[1] for line in file if line.startswith("mnt_id"))


def _is_a_runtimes(pid: int, mount: str) -> bool:
    """Whether what is mounted there is a runtime's file (proc(5), mountinfo: the number first, the path fourth)."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as file:
        paths = [words[3] for line in file if (words := line.split())[0] == mount]
    return any(_RUNTIMES.search(path) and path.endswith("/resolv.conf") for path in paths)


def read(descriptor: int) -> str:
    return os.pread(descriptor, _MOST, 0).decode("utf-8", "replace")


def seen(view: View) -> Iterator[ResolvConf]:
    """Yield the containers' files that the project has written.

    A file is that of the container that it is in: what it says itself somebody in there may have written. Only where
    the manifest has none in there any more is that all that is known, and it may be what another one says, too.
    """
    left: list[tuple[str, int, tuple[str, ...]]] = []
    names: set[str] = set()
    for look, pid in _with_processes(view):
        with opened(pid) as file:
            lines = read(file).splitlines() if file is not None else []
        project, container, host = marked(lines[0] if lines else "")
        if (project, host) != (view.scope.project, view.looks.host.cookie):
            continue
        own = tuple(one for one in lines[1:] if not one.startswith(_KEPT))
        if not look.containers:
            left.append((container, pid, own))
            continue
        name = container if container in look.containers else look.containers[0]
        names.add(name)
        yield ResolvConf(name, str(view.scope.sandboxes[name]), own)
    for container, pid, own in left:
        name = f"{HALF_MADE}pid:{pid}" if container in names else container
        names.add(name)
        yield ResolvConf(name, f"pid:{pid}", own)


def whose(view: View) -> tuple[frozenset[str], frozenset[str]]:
    """Return the containers whose file can be written, which are those that have one and no resolver of Docker's, and
    those that have one of Docker's. Ours is at the same address."""
    able: set[str] = set()
    dockers: set[str] = set()
    for look, pid in _with_processes(view):
        if look.containers:
            with opened(pid) as file:
                if file is not None and _OWN_RESOLVER in _original(read(file)):
                    dockers.update(look.containers)
                elif file is not None and len(look.containers) == 1:
                    able.update(look.containers)
    return frozenset(able), frozenset(dockers)


def _with_processes(view: View) -> Iterator[tuple[Look, int]]:
    for look in view.looks.others:
        if (pid := pid_of(look.place)) is not None:
            yield look, pid


def write(one: ResolvConf, inventory: Inventory, trap: Trap) -> None:
    """Write what it should be, and below it what it was. Raises OperationFailed where there is no such file."""
    with opened(_process(one, inventory)) as file:
        if file is None:
            raise OperationFailed(f"container {one.sandbox} has no resolv.conf of its own (ENOENT)", errno.ENOENT)
        kept = [f"{_KEPT}{line}" for line in _original(read(file))]
        first = first_line(inventory, one.sandbox)
        trap(f"write the resolv.conf of {one.sandbox}")
        _replace(file, [first, *one.lines, *kept])


def remove(one: ResolvConf, inventory: Inventory, trap: Trap) -> None:
    """Put back what was there. Where the container is gone, or its runtime has written the file anew, that is done."""
    with opened(_process(one, inventory)) as file:
        text = read(file) if file is not None else ""
        project, _, host = marked(text.partition("\n")[0])
        if file is not None and (project, host) == (inventory.project, inventory.host):
            trap(f"restore the resolv.conf of {one.sandbox}")
            _replace(file, _original(text))


def _original(text: str) -> list[str]:
    lines = text.splitlines()
    if not marked(lines[0] if lines else "")[0]:
        return lines
    return [line.removeprefix(_KEPT) for line in lines if line.startswith(_KEPT)]


def _replace(descriptor: int, lines: list[str]) -> None:
    """Write the file in place: a new one would not be what is mounted. Shorter than a page, nobody reads half of it.

    Of a longer one only blank lines are left over, should this process end before it is cut.
    """
    content = "".join(f"{line}\n" for line in lines).encode()
    os.pwrite(descriptor, content.ljust(min(os.fstat(descriptor).st_size, _MOST), b"\n"), 0)
    os.ftruncate(descriptor, len(content))


def _process(one: ResolvConf, inventory: Inventory) -> int:
    """Return the process that a file belongs to: by its reference first, since the container may be another's now."""
    kind, _, number = one.reference.partition(":")
    if kind == "pid" and number.isdecimal():
        return int(number)
    place = inventory.places.get(one.sandbox)
    return (pid_of(place) if place else None) or 0
