"""The resolv.conf of containers, where their kind of sandbox keeps one: for a named namespace /etc/netns/NAME.

A file is netapply's by its first line. One that somebody else made is never changed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from ...errors import OperationFailed
from ...resources import ResolvConf
from ..namespaces import Trap
from ..observing import Inventory
from . import NETNS_FILES

_MARK = "# netapply:"
_NOTE = " (made by netapply, which puts it back when it is edited)"


class Found(NamedTuple):
    """A file: its namespace, whose it is ("" for a stranger's), the host that made it, and its lines."""

    name: str
    project: str
    container: str
    host: int
    lines: tuple[str, ...]


def path_of(reference: str) -> str:
    """Return the file for a sandbox, given as `Netns.reference` has it."""
    kind, _, name = reference.partition(":")
    if kind != "netns":
        raise OperationFailed(f"a sandbox {reference} has no resolv.conf of its own", errno.EOPNOTSUPP)
    return f"{NETNS_FILES}/{name}/resolv.conf"


def found() -> Iterator[Found]:
    """Yield all such files, whoever made them."""
    try:
        names = sorted(os.listdir(NETNS_FILES))
    except OSError:
        return
    for name in names:
        path = path_of(f"netns:{name}")
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read(65536).splitlines()
        except OSError:
            if os.path.lexists(path):
                yield Found(name, "", "", 0, ())
            continue
        project, container, host = marked(lines[0] if lines else "")
        yield Found(name, project, container, host, tuple(lines[1:]))


def first_line(inventory: Inventory, container: str) -> str:
    """Return the mark: whose file it is, and which host has made it."""
    return f"{_MARK}{inventory.project}/{container};host={inventory.host}{_NOTE}"


def marked(line: str) -> tuple[str, str, int]:
    """Return what a first line says: project, container, and the cookie of the host that made it."""
    if line.startswith(_MARK) and line.endswith(_NOTE):
        whose, _, host = line[len(_MARK) : -len(_NOTE)].partition(";host=")
        project, slash, container = whose.partition("/")
        if slash and host.isdecimal():
            return project, container, int(host)
    return "", "", 0


def write(one: ResolvConf, inventory: Inventory, trap: Trap, new: bool) -> None:
    """Write it; a new one only where there is none. Raises OSError, OperationFailed."""
    from .jobs import place

    path = path_of(one.reference)
    if os.path.lexists(path) is new:
        number = errno.EEXIST if new else errno.ENOENT
        raise OperationFailed(f"{path}: {os.strerror(number)} ({errno.errorcode[number]})", number)
    trap(f"write {path}")
    place(path, "".join(f"{line}\n" for line in (first_line(inventory, one.sandbox), *one.lines)))


def remove(one: ResolvConf, inventory: Inventory, trap: Trap) -> None:
    """Remove it, and the folder if nothing else is in it."""
    path = path_of(one.reference)
    trap(f"remove {path}")
    os.unlink(path)
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))
