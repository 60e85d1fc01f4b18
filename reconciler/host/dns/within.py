"""What a resolver would meet in containers' namespaces, and whom it could ask from there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from ...errors import OperationFailed
from ...resources import DnsServer, Key
from .. import Listener, listeners, namespaces
from ..facts import RESOLV_CONF, nameservers
from ..looking import Look
from ..observing import View
from . import inside, processes
from .processes import projects_here

SYSTEMD_RESOLVED = "/run/systemd/resolve/resolv.conf"
"""Whom systemd-resolved asks, where it is what the host asks (systemd-resolved.service(8))."""

_STUBS = ("127.0.0.53", "127.0.0.54")
_ANY = "0.0.0.0"
_DOCKERS = "Docker's own resolver is in there"


class Met(NamedTuple):
    """`resolved` are the containers that Docker has given its own resolver, in words; `taken` as in `Facts`."""

    resolved: dict[str, str]
    taken: dict[Key, str]


def met(home: int, view: View, dockers: frozenset[str]) -> Met:
    """Look at who listens where a resolver of the scope may have to. `home` is a descriptor of the host's namespace.

    `dockers` are the containers whose resolv.conf names Docker's own resolver. That one listens at our address, but at
    a port of its own, to which Docker leads what is asked at port 53.
    """
    found = Met(dict.fromkeys(dockers, _DOCKERS), {})
    asked: dict[int, Look] = {}
    for look in view.looks.others:
        if view.scope.alone.intersection(look.containers):
            with suppress(OperationFailed), namespaces.entered(look.place, home):  # or it is gone
                sockets = listeners.processes(())
                if any(one.address == DnsServer.OWN and one.port != DnsServer.OWN_PORT for one in sockets):
                    found.resolved.update(dict.fromkeys(look.containers, _DOCKERS))
                elif any(map(_is_in_the_way, sockets)):
                    asked[os.stat("/proc/thread-self/ns/net").st_ino] = look
    own = _with_resolvers(view) if asked else set()
    for inode, look in asked.items():
        if inode not in own:
            with suppress(OperationFailed), namespaces.entered(look.place, home):
                found.taken[Key("resolver", DnsServer.INSIDE + min(look.containers))] = _told()
    return found


def _is_in_the_way(one: Listener) -> bool:
    return one.port == DnsServer.OWN_PORT and one.address in (_ANY, DnsServer.OWN)


def _with_resolvers(view: View) -> set[int]:
    """Return the namespaces, as inodes, that a resolver of the project's is in: it has the address, and nobody else."""
    pids = processes.running(inside(view.looks.host.cookie, view.scope.project)).values()
    found: set[int] = set()
    for pid in (pid for some in pids for pid in some):
        with suppress(OSError):
            found.add(os.stat(f"/proc/{pid}/ns/net").st_ino)
    return found


def _told() -> str:
    """Return who has the place of a resolver in this thread's namespace, and what to do."""
    wanted = {(protocol, DnsServer.OWN_PORT) for protocol in ("udp", "tcp")}
    who = next(filter(_is_in_the_way, listeners.processes(wanted)), None)
    what = f"{who.who} listens at {who.address} port {who.port} there" if who else "somebody listens at port 53 there"
    other = next(projects_here(), "")
    mend = "write `dns: false` for the container, which then looks up names as it likes"
    return f"{what}, for project {other}; {mend}" if other else f"{what}; end it, or {mend}"


def upstreams() -> tuple[str, ...]:
    """Return whom the host asks, where others than itself can ask: no loopback address, and none of one link only."""
    said = nameservers(RESOLV_CONF)
    more = nameservers(SYSTEMD_RESOLVED) if set(_STUBS).intersection(said) else ()
    return tuple(dict.fromkeys(_reachable((*said, *more))))


def _reachable(servers: tuple[str, ...]) -> Iterator[str]:
    from ipaddress import ip_address

    for server in servers:
        try:
            address = ip_address(server)
        except ValueError:
            continue
        if not (address.is_loopback or address.is_unspecified or address.is_link_local):
            yield server
