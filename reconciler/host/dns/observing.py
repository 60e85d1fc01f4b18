"""What there is of names: files, processes, and what of both belongs together."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from ...resources import HALF_MADE, DnsHosts, DnsServer, Key, ResolvConf
from ..observing import View
from . import configuration, names_file, processes, resolvconf, resolvers_present, unread_file
from . import folder as folder_of
from . import inside as in_sandboxes


class Seen(NamedTuple):
    """What is the project's, and what of others stands where something of it might have to go (`Facts.taken`)."""

    resources: list[DnsHosts | DnsServer | ResolvConf]
    taken: dict[Key, str]


def seen(view: View, table: str) -> Seen:
    """Return what there is of the project's names. `table` is its nft table."""
    host, project = view.looks.host.cookie, view.scope.project
    taken: dict[Key, str] = {}
    resources: list[DnsHosts | DnsServer | ResolvConf] = [*resolv_confs(view, taken)]
    present = bool(resources or view.looks.resolvers) or resolvers_present(host, project, table)
    if present:
        resources += [*_hosts(host, project), *servers(view, inside=False), *servers(view, inside=True)]
    if present or view.scope.named:
        from . import mounted

        resources += mounted.seen(view)
    return Seen(resources, taken)


def _hosts(host: int, project: str) -> Iterator[DnsHosts]:
    inside = f"{folder_of(host, project)}/names"
    for network in _files(inside):
        with suppress(OSError), open(names_file(host, project, network), encoding="utf-8", errors="replace") as file:
            lines = tuple(file.read().splitlines())
            yield DnsHosts(network, lines, not os.path.exists(unread_file(host, project, network)))


def servers(view: View, *, inside: bool) -> Iterator[DnsServer]:
    """Yield the resolvers that there are files of, running or not, and processes whose file is broken or gone: those
    on the host, or those `inside` of sandboxes. Whose names they read is noted in the inventory.
    """
    host, project, readers = view.looks.host.cookie, view.scope.project, view.inventory.readers
    folder = in_sandboxes(host, project) if inside else configuration.resolvers(host, project)
    by_file = processes.running(folder)
    looks = {_inode(look.place.path): look for look in view.looks.others} if inside and by_file else {}
    for conf in sorted({*by_file, *(f"{folder}/{name}" for name in _files(folder))}):
        pids = view.inventory.resolvers[conf] = by_file.get(conf, [])
        content = _read(conf)
        server = configuration.parsed(content)
        if server is None or configuration.file_of(host, project, server.name) != conf:
            name = HALF_MADE + (DnsServer.INSIDE if inside else "") + os.path.basename(conf)
            yield DnsServer(name, (), (), 0, healthy=False, trouble="its file is broken or gone")
            continue
        trouble = ""
        for network in server.networks:
            readers.setdefault(network, {})[conf] = pids
        if not pids:
            trouble = "it does not run"
        elif len(pids) > 1:
            trouble = f"it runs {len(pids)} times"
        elif processes.is_stopped(pids[0]):
            trouble = "somebody has stopped it, so that it answers nobody"
        elif configuration.text(server, host, project) != content:
            trouble = "somebody has edited its file"
        elif inside and not (look := looks.get(_inode(f"/proc/{pids[0]}/ns/net"))):
            trouble = "it runs elsewhere"
        elif inside and look and server.sandbox not in look.containers:
            server = replace(server, sandbox=view.symbols[look.cookie])
        pid = pids[0] if len(pids) == 1 else None
        yield replace(server, healthy=not trouble, trouble=trouble, pid=pid)


def _inode(path: str) -> int | None:
    """Return what tells a network namespace from all others that are there now."""
    with suppress(OSError):
        return os.stat(path).st_ino
    return None


def resolv_confs(
    view: View, taken: dict[Key, str] | None = None, containers: Collection[str] | None = None
) -> Iterator[ResolvConf]:
    """Yield the containers' files that are the project's, and note those that are somebody else's."""
    host, project = view.looks.host.cookie, view.scope.project
    wanted = {
        str(reference).removeprefix("netns:"): container
        for container, reference in view.scope.sandboxes.items()
        if reference.kind == "netns"
    }
    found = list(resolvconf.found())
    own = [one for one in found if (one.project, one.host) == (project, host)]
    names = {one.container for one in own if wanted.get(one.name) == one.container}
    for one in found:
        reference = f"netns:{one.name}"
        if one in own:
            copied = wanted.get(one.name) != one.container and one.container in names
            names.add(one.container)
            if containers is None or one.container in containers:
                yield ResolvConf(HALF_MADE + one.name if copied else one.container, reference, one.lines)
        elif taken is not None and (container := wanted.get(one.name)):
            whose = f"project {one.project} made it" if one.project else "netapply did not make it"
            mend = "remove it, or write `dns: false`"
            taken[Key("resolvconf", container)] = f"{resolvconf.path_of(reference)}: {whose}; {mend}"


def _files(inside: str) -> list[str]:
    with suppress(OSError):
        return sorted(name for name in os.listdir(inside) if not name.startswith("."))
    return []


def _read(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read(1 << 20)
    return ""


_LISTENING = {"tcp": "0A", "udp": "07", "tcp6": "0A", "udp6": "07"}
"""The states of sockets that take what comes: TCP_LISTEN, and TCP_CLOSE of an UDP socket that is not connected."""


def busy_ports() -> frozenset[int]:
    """Return the ports that somebody in this thread's namespace listens on (proc(5), /proc/net/tcp)."""
    found: set[int] = set()
    for protocol, state in _LISTENING.items():
        for line in _read(f"/proc/thread-self/net/{protocol}").splitlines()[1:]:
            words = line.split()
            if len(words) > 3 and words[3] == state:
                found.add(int(words[1].rpartition(":")[2], 16))
    return frozenset(found)
