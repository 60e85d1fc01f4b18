"""What the files in containers tell their programs of names, as far as they can be seen from here."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress

from .. import Told
from ..namespaces import NAMES, Place
from . import NETNS_FILES
from .made import reached, text
from .mounted import pid_of

_HOSTS, _RESOLV, _HOSTNAME = "hosts", "resolv.conf", "hostname"
_MOST = 1 << 24
_MOST_WITHIN = 65536
"""How much `text` reads."""


def told(places: Mapping[str, Place | None]) -> dict[str, Told]:
    """Return what the files of containers say, by their names; None stands for the host itself.

    A named namespace has those of the host, but for what `ip netns exec` puts in their place (ip-netns(8)); a container
    of a runtime those that its process sees.
    """
    found: dict[str, Told] = {}
    for name, place in places.items():
        if place is None:
            found[name] = _of_host("")
        elif (pid := pid_of(place)) is not None:
            found[name] = _of_process(pid)
        elif os.path.dirname(place.path) == NAMES:
            found[name] = _of_host(f"{NETNS_FILES}/{os.path.basename(place.path)}")
    return found


def _of_host(instead: str) -> Told:
    """Return what the host's files say, with those in a folder instead where there are such."""
    at = {name: f"{instead}/{name}" for name in (_HOSTS, _RESOLV) if instead and os.path.exists(f"{instead}/{name}")}
    hosts, resolv = (_read(at.get(name, f"/etc/{name}")) for name in (_HOSTS, _RESOLV))
    return Told(hosts, resolv, at.get(_HOSTS, "the host's /etc/hosts"), _domain(os.uname().nodename))


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MOST)
    except FileNotFoundError:
        return ""
    except OSError:
        return None


def _of_process(pid: int) -> Told:
    with suppress(OSError):
        if os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat("/")) and _is_ours(pid, "mnt"):
            return _of_host("")
    with reached(pid) as both:
        if both is None:
            return Told(None, None)
        texts = {name: _within(both[1], name) for name in (_HOSTS, _RESOLV, _HOSTNAME)}
    own = os.uname().nodename if _is_ours(pid, "uts") else texts[_HOSTNAME] or ""
    return Told(texts[_HOSTS], texts[_RESOLV], domain=_domain(own))


def _is_ours(pid: int, kind: str) -> bool:
    """Whether a process is in a namespace of that kind of our own."""
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/thread-self/ns/{kind}")
    return False


def _within(etc: int, name: str) -> str | None:
    """Return what is in a file of a container's /etc, "" where there is none; None where it is no file, but somebody's
    link to elsewhere or a device, which is not opened."""
    try:
        found = os.stat(name, dir_fd=etc, follow_symlinks=False)
    except FileNotFoundError:
        return ""
    except OSError:
        return None
    readable = stat.S_ISREG(found.st_mode) and found.st_size <= _MOST_WITHIN
    return text(etc, name, mounted=True) if readable else None


def _domain(host: str) -> str:
    """Return the domain of a host name, which is searched where a resolv.conf names none."""
    return host.strip().partition(".")[2]
