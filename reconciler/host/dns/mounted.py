"""The resolv.conf that a runtime has mounted into a container: found by the container's process, written in place.

What was in it is kept in the file itself, as comments, so that nothing can be lost by which it would be put back. Only
a regular file counts that is mounted over /etc/resolv.conf in a mount namespace of the container's own, from a folder
that bears a container's ID: that is the runtime's, for this container alone. No container can have us write to another
file by a symbolic link, and what a user has mounted there stays the user's. Where there is no file at all, one is made
(`made`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ...resources import HALF_MADE, DnsServer, ResolvConf
from .. import Unwritten
from ..facts import RESOLV_CONF, nameservers
from ..looking import Look
from ..namespaces import Place, Trap
from ..observing import Inventory, View
from . import made
from .made import mount_of, mounts
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
                if is_file and mount_of(found) != mount_of(folder) and _is_a_runtimes(pid, mount_of(found)):
                    file = within(f"/proc/thread-self/fd/{found}", os.O_RDWR)
        yield file
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _is_a_runtimes(pid: int, mount: str) -> bool:
    """Whether what is mounted there is a runtime's file."""
    paths = [words[3] for words in mounts(pid) if words[0] == mount]
    return any(_RUNTIMES.search(path) and path.endswith("/resolv.conf") for path in paths)


def _is_podmans(pid: int, file: int) -> bool:
    """Whether Podman keeps the file."""
    mount = mount_of(file)
    return any(words[3].endswith("/userdata/resolv.conf") for words in mounts(pid) if words[0] == mount)


def read(descriptor: int) -> str:
    return os.pread(descriptor, _MOST, 0).decode("utf-8", "replace")


def seen(view: View) -> Iterator[ResolvConf]:
    """Yield the containers' files that the project has written.

    A file is that of the container that it is in: what it says itself somebody in there may have written. Only where
    the manifest has none in there any more is that all that is known, and it may be what another one says, too.
    """
    left: list[tuple[str, int, tuple[str, ...]]] = []
    names: set[str] = set()
    for look, pid in (*_with_processes(view), *_others_in(view)):
        with opened(pid) as file:
            lines = (read(file) if file is not None else made.seen(pid)).splitlines()
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


def whose(view: View) -> tuple[frozenset[str], dict[str, Unwritten]]:
    """Return the containers whose file can be written, and why those of the others can't."""
    able: set[str] = set()
    unwritten: dict[str, Unwritten] = {}
    places: dict[tuple[int, int], list[str]] = {}
    for look, pid in _with_processes(view):
        if not look.containers:
            continue
        with opened(pid) as file:
            why = _refusal(look, pid, file)
            etc = made.place(pid) if file is None and not why else None
        if why:
            unwritten.update(dict.fromkeys(look.containers, why))
            continue
        able.update(look.containers)
        if etc is not None:
            places.setdefault(etc, []).append(look.containers[0])
    for some in places.values():
        if len(some) > 1:  # one file for two namespaces can't say both
            able.difference_update(some)
            unwritten.update(dict.fromkeys(some, Unwritten("shared")))
    return frozenset(able), unwritten


def _refusal(look: Look, pid: int, file: int | None) -> Unwritten | None:
    """Return why a container's file is not to be written: above all that its engine has a resolver of its own, whose
    names would be lost. Docker's is at the address of ours, too."""
    content = "\n".join(_original(read(file))) if file is not None else _readable(pid)
    servers = tuple(
        words[1] for line in (content or "").splitlines() if (words := line.split())[:1] == ["nameserver"] and words[1:]
    )
    if file is not None and content and _OWN_RESOLVER in content.splitlines():
        return Unwritten("docker", (*servers, *_asked_by_dockers(content)))
    if file is not None and content and (own := _podmans(content, servers)) and _is_podmans(pid, file):
        return Unwritten("podman", own)
    if len(look.containers) > 1:
        return Unwritten("shared", servers)
    if file is not None or made.can_be(pid):
        return None
    return Unwritten("none" if content is None else "theirs", servers)


def _readable(pid: int) -> str | None:
    """Return what the resolv.conf says that a container sees, whosever it is, None where there is none."""
    with made.reached(pid) as both:
        return made.text(both[1], mounted=True) if both else None


def _asked_by_dockers(content: str) -> list[str]:
    """Return whom Docker's resolver asks, as far as newer ones tell."""
    return re.findall(r"[0-9a-f.:]+", "".join(re.findall(r"(?m)^# ExtServers: \[(.*)\]", content)))


def _podmans(content: str, servers: Sequence[str]) -> tuple[str, ...]:
    """Return where Podman's own resolver is: at the host's address on one of Podman's networks, which the host itself
    does not ask. Their domain tells it, too, where that address is in a namespace of a user's."""
    from .within import SYSTEMD_RESOLVED

    own = tuple(filter(_is_the_hosts, servers))
    if own:
        asked = {*nameservers(RESOLV_CONF), *nameservers(SYSTEMD_RESOLVED)}
        own = tuple(one for one in own if one not in asked)
    return own or (tuple(servers[:1]) if re.search(r"(?m)^search .*\bdns\.podman\b", content) else ())


def _is_the_hosts(address: str) -> bool:
    """Whether an address is one of the host's, loopback ones aside: whoever sends to it from here has it, too."""
    import socket
    from ipaddress import ip_address

    with suppress(ValueError, OSError):
        one = ip_address(address)
        family = socket.AF_INET6 if one.version == 6 else socket.AF_INET
        if not (one.is_loopback or one.is_unspecified):
            with socket.socket(family, socket.SOCK_DGRAM) as sending:
                sending.connect((address, DnsServer.OWN_PORT))  # sends nothing
                return bool(sending.getsockname()[0] == str(one))
    return False


def _with_processes(view: View) -> Iterator[tuple[Look, int]]:
    for look in view.looks.others:
        if (pid := pid_of(look.place)) is not None:
            yield look, pid


def _others_in(view: View) -> Iterator[tuple[Look, int]]:
    """Yield, of namespaces that the manifest has no container in any more, a process of each other container in there:
    that by which it was found may be another's of the same pod."""
    left = {_inode(pid, "net"): look for look, pid in _with_processes(view) if not look.containers}
    passed = {0, *(_inode(pid, "mnt") for look, pid in _with_processes(view) if not look.containers)}
    for entry in os.listdir("/proc") if left else ():
        look = left.get(_inode(int(entry), "net")) if entry.isdigit() else None
        if look and (mounted_in := _inode(int(entry), "mnt")) not in passed:
            passed.add(mounted_in)
            yield look, int(entry)


def _inode(pid: int, kind: str) -> int:
    """Return what tells a process's namespace from others of its kind, 0 where it has ended."""
    with suppress(OSError):
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    return 0


def write(one: ResolvConf, inventory: Inventory, trap: Trap) -> None:
    """Write what it should be, and below it what it was, or make a file. Raises OSError, OperationFailed."""
    pid = _process(one, inventory)
    with opened(pid) as file:
        if file is None:
            made.write(pid, one.sandbox, [first_line(inventory, one.sandbox), *one.lines], trap)
            return
        kept = [f"{_KEPT}{line}" for line in _original(read(file))]
        first = first_line(inventory, one.sandbox)
        trap(f"write the resolv.conf of {one.sandbox}")
        _replace(file, [first, *one.lines, *kept])


def remove(one: ResolvConf, inventory: Inventory, trap: Trap) -> None:
    """Put back what was there. Where the container is gone, or its runtime has written the file anew, that is done."""
    pid = _process(one, inventory)
    with opened(pid) as file:
        if file is None:
            made.remove(pid, one.sandbox, (inventory.project, inventory.host), trap)
            return
        text = read(file)
        project, _, host = marked(text.partition("\n")[0])
        if (project, host) == (inventory.project, inventory.host):
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
